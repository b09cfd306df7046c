"""Sockets: connections that outlive a reply, and what a client may do on them."""

from __future__ import annotations

import asyncio

from streambench.conformance.case import Keyword, Need, case
from streambench.conformance.client import QUESTION, SECOND, SHORT_S, unique_word
from streambench.conformance.exchange import Manner
from streambench.conformance.frames import Opcode, frame_bytes
from streambench.conformance.judging import check, describe
from streambench.conformance.reply import Reply
from streambench.conformance.subject import with_value
from streambench.conformance.trial import Trial
from streambench.dialects import RenderedRequest

MUST, SHOULD, MAY = Keyword
SOCKET = (Need.SOCKET,)
WEBSOCKET = (Need.WEBSOCKET,)
SLOWLY = {"name": "fixed", "ttft_ms": 50, "gap_ms": 50}
CANCELLED_WITHIN_S = 3.0
SEEN_S = 1.0
PING = b"streambench"


def _whole(trial: Trial, reply: Reply, message: str) -> None:
    holds = reply.complete and not reply.interrupted and bool(reply.text)
    check(holds, message, expected="a whole reply", got=describe(reply))


@case(
    "socket.plain-request",
    MUST,
    "A plain request to a socket's route is refused, and does not make the server fail.",
    source="RFC 9110, section 15.5.22; RFC 6455, section 4.2.1",
    remedy="Answer 426 with `Upgrade: websocket`, or 400.",
    defect="fails-without-upgrade",
    needs=WEBSOCKET,
)
async def plain_request(trial: Trial) -> None:
    """Send GET without an upgrade.

    400 or 426.
    """
    _, url = trial.subject.route({})
    reply = await trial.client.send("GET", url)
    expected = "400 or 426"
    check(reply.status in (400, 426), "it is answered otherwise", expected=expected, got=describe(reply))


@case(
    "socket.foreign-origin",
    MUST,
    "A page of another origin cannot open a socket as the user.",
    source="RFC 6455, section 10.2",
    remedy="Compare Origin with a list at the handshake: browsers send cookies along, and ask nobody.",
    defect="any-socket-origin",
    needs=(*SOCKET, Need.AUTH),
)
async def foreign_origin(trial: Trial) -> None:
    """Connect as a page of https://evil.example would.

    The handshake is refused.
    """
    socket = trial.client.socket(headers={"origin": "https://evil.example"})
    try:
        let_in = await socket.open()
    finally:
        await socket.close()
    check(not let_in, "another origin is let in", expected="403", got="an open socket")


@case(
    "socket.ping",
    MUST,
    "A ping is answered by a pong with the same payload.",
    source="RFC 6455, section 5.5.3",
    remedy="Let the WebSocket library answer pings, and keep its reading loop free.",
    defect="no-pong",
    needs=WEBSOCKET,
)
async def ping(trial: Trial) -> None:
    """Connect, and send a ping.

    Within 2 s there is a pong with its payload.
    """
    async with trial.client.connected() as socket:
        socket.write(frame_bytes(Opcode.PING, PING))
        for _ in range(40):
            frames = socket.exchange.logs[-1].frames(sent=False)
            if any(frame.opcode == Opcode.PONG and frame.payload == PING for frame in frames):
                return
            await asyncio.sleep(0.05)
    check(False, "the ping is not answered", expected="a pong", got=", ".join(map(str, frames)))


@case(
    "socket.close",
    MUST,
    "A close is answered by a close.",
    source="RFC 6455, section 5.5.1",
    remedy="Answer the close frame before the connection is ended: without it clients report an abnormal end (1006).",
    defect="no-close-answer",
    needs=WEBSOCKET,
)
async def close(trial: Trial) -> None:
    """Connect, and close as the protocol asks for it.

    A close frame comes back within a second.
    """
    async with trial.client.connected() as socket:
        pass
    frames = socket.exchange.logs[-1].frames(sent=False)
    closed = any(frame.opcode == Opcode.CLOSE for frame in frames)
    check(closed, "the close is not answered", expected="a close frame", got=", ".join(map(str, frames[-3:])))


@case(
    "socket.second-question",
    MUST,
    "A connection serves one question after the other.",
    source="the dialect: replies are messages on a connection that stays",
    remedy="Keep the connection and its state after a reply.",
    defect="one-question-a-socket",
    needs=SOCKET,
)
async def second_question(trial: Trial) -> None:
    """Ask twice on one connection.

    Both replies are whole.
    """
    async with trial.client.connected() as socket:
        _whole(trial, await trial.ask_on(socket), "the first reply is not whole")
        _whole(trial, await trial.ask_on(socket), "the second reply is not whole")


@case(
    "socket.unknown-event",
    MUST,
    "A message of an unknown kind does not end the connection.",
    source="RFC 9413, section 4",
    remedy="Answer with an error, or ignore it, so that newer clients work with older servers.",
    defect="dies-on-unknown",
    needs=SOCKET,
)
async def unknown_event(trial: Trial) -> None:
    """Send a message of an unknown kind, then ask.

    The reply is whole.
    """
    async with trial.client.connected() as socket:
        strange = '{"type":"streambench_unknown","data":{}}'
        emit = ("streambench-unknown", ({"streambench": True},))
        socket.link.send(RenderedRequest(send=(strange,), emit=emit))
        await asyncio.sleep(0.1)  # what it answers is no part of the reply
        check(socket.is_open, "the connection is closed", expected="an error, or nothing")
        _whole(trial, await trial.ask_on(socket), "the next question is not answered")


@case(
    "socket.after-refusal",
    MUST,
    "After a refused message the connection serves the next one.",
    source="one mistake is not the end of a conversation",
    remedy="Answer the mistake with an error event, and go on reading.",
    defect="refusal-closes",
    needs=(*SOCKET, Need.JSON_PROMPT, Need.REFUSES_EMPTY),
)
async def after_refusal(trial: Trial) -> None:
    """Send an empty text, then ask on the same connection.

    The reply is whole.
    """
    async with trial.client.connected() as socket:
        empty = with_value(trial.subject.body, trial.subject.prompt_path or (), "")
        refusal = await socket.ask(trial.client.question(socket, QUESTION, empty), Manner(SHORT_S, SHORT_S))
        check(socket.is_open, "the connection is closed", expected="an error", got=describe(refusal))
        _whole(trial, await trial.ask_on(socket), "the next question is not answered")


@case(
    "socket.malformed",
    MUST,
    "A message that cannot be read harms nobody else.",
    source="one client's mistake is not everybody's",
    remedy="Catch what a message can do wrong where it is read, for this connection alone.",
    defect="malformed-ends-all",
    needs=(*SOCKET, Need.TWO_SIDED),
    alone=True,
)
async def malformed(trial: Trial) -> None:
    """Let one client ask, and another one send a message that breaks off.

    The reply to the first one is whole.
    """
    asking = asyncio.ensure_future(trial.ask(plan={"tokens": 20, "profile": SLOWLY}))
    try:
        async with trial.client.connected() as socket:
            await asyncio.sleep(0.3)
            broken = b'42["streambench",{"a' if trial.subject.has(Need.SOCKET_IO) else b'{"type": "streambench'
            socket.write(frame_bytes(Opcode.TEXT, broken))
            reply = await asking
    finally:
        asking.cancel()
    _whole(trial, reply, "the other client's reply broke off")


@case(
    "socket.reconnects",
    MUST,
    "Who has lost the connection in the middle of a reply can connect and ask again.",
    source="networks change; phones sleep",
    remedy="Give up the old connection's state when it is lost, and let the user in.",
    defect="no-reconnect",
    needs=(*SOCKET, Need.TWO_SIDED),
    alone=True,
)
async def reconnects(trial: Trial) -> None:
    """Ask, lose the connection after the first words, connect again, and ask again.

    The second reply is whole.
    """
    await trial.ask(plan={"tokens": 60, "profile": SLOWLY}, leave=lambda reply: bool(reply.contents))
    reply = await trial.ask(plan={"tokens": 4, "profile": "instant"})
    check(not reply.exchange.refused, "the user is not let in again", got=reply.exchange.refused)
    _whole(trial, reply, "the reply after it is not whole")


@case(
    "socket.interrupt",
    MUST,
    "A message that stops a reply stops the model as well.",
    source="the target's profile",
    remedy="Cancel the request to the model where the reply is stopped.",
    defect="ignores-interrupt",
    needs=(*SOCKET, Need.INTERRUPT, Need.TWO_SIDED),
)
async def interrupt(trial: Trial) -> None:
    """Ask for a reply of 5 s, and send the message that stops it after the first words.

    The upstream sees its client leave within 3 s.
    """
    async with trial.client.connected() as socket:
        stop = trial.client.stopping(socket)

        def stops(reply: Reply) -> bool:
            if len(reply.contents) == 3:
                socket.link.send(stop)
            return False

        reply = await trial.ask_on(socket, plan={"tokens": 100, "profile": SLOWLY}, leave=stops)
    entries = await trial.upstream.settled(reply.mark, CANCELLED_WITHIN_S)
    ended = entries[-1]["ended"] if entries else "never asked"
    check(ended == "cancelled", "the upstream's stream goes on", expected="cancelled", got=str(ended))


@case(
    "socket.strangers",
    MUST,
    "Nobody elsewhere hears what one user is told.",
    source="what one user is told is for nobody else",
    remedy="Send to the connections of this user and of this room, and never to all.",
    defect="tells-everybody",
    needs=(*SOCKET, Need.TWO_SIDED, Need.SECOND_USER),
    alone=True,
)
async def strangers(trial: Trial) -> None:
    """Let a second user be connected elsewhere, and the first one ask for a text.

    Nothing of the text comes to the second user.
    """
    word = unique_word()
    async with trial.client.connected(SECOND) as stranger:
        _whole(trial, await trial.ask(plan={"text": f"The word is {word}. " * 3}), "there is no reply")
        await asyncio.sleep(SEEN_S)
        heard = [event.name for event in stranger.heard if word in str(event.data)]
    check(not heard, "a stranger hears the reply", expected="nothing", got=" ".join(heard))


@case(
    "socket.heartbeat",
    SHOULD,
    "A silent connection is looked after: the server pings its client.",
    source="RFC 6455, section 5.5.2; Engine.IO protocol 4, heartbeat",
    remedy="Switch on the heartbeat of the library; without it dead clients stay, and proxies cut idle connections.",
    defect="no-heartbeat",
    needs=(*SOCKET, Need.HEARTBEAT),
    patient=True,
)
async def heartbeat(trial: Trial) -> None:
    """Connect and stay silent.

    Within one and a half times the declared interval, and a second, there is a ping.
    """
    every_s = trial.subject.profile.heartbeat_s
    assert every_s is not None
    async with trial.client.connected() as socket:
        for _ in range(round((every_s * 1.5 + 1) / 0.1)):
            frames = [frame for log in socket.exchange.logs for frame in log.frames(sent=False)]
            if any(frame.opcode == Opcode.PING or frame.payload == b"2" for frame in frames):
                return
            await asyncio.sleep(0.1)
    check(False, "no ping came", expected=f"one every {every_s:g} s", got="silence")
