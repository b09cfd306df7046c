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
    check(holds, message, expected="a complete reply", got=describe(reply))


@case(
    "socket.plain-request",
    MUST,
    "A plain HTTP request to a socket's route is refused, and causes no server error.",
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
    check(reply.status in (400, 426), "wrong answer", expected=expected, got=describe(reply))


@case(
    "socket.foreign-origin",
    MUST,
    "A page from another origin cannot open a socket as the user.",
    source="RFC 6455, section 10.2",
    remedy="Check Origin against a list in the handshake: browsers send cookies along without asking.",
    defect="any-socket-origin",
    needs=(*SOCKET, Need.AUTH),
)
async def foreign_origin(trial: Trial) -> None:
    """Connect as a page from https://evil.example would.

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
    "A ping is answered with a pong that has the same payload.",
    source="RFC 6455, section 5.5.3",
    remedy="Let the WebSocket library answer pings, and keep its reading loop free.",
    defect="no-pong",
    needs=WEBSOCKET,
)
async def ping(trial: Trial) -> None:
    """Connect, and send a ping.

    A pong with its payload arrives within 2 s.
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
    "A close frame is answered with a close frame.",
    source="RFC 6455, section 5.5.1",
    remedy="Answer the close frame before you close the connection: otherwise clients report an abnormal "
    "closure (1006).",
    defect="no-close-answer",
    needs=WEBSOCKET,
)
async def close(trial: Trial) -> None:
    """Connect, then close as the protocol requires.

    A close frame arrives within one second.
    """
    async with trial.client.connected() as socket:
        pass
    frames = socket.exchange.logs[-1].frames(sent=False)
    closed = any(frame.opcode == Opcode.CLOSE for frame in frames)
    check(closed, "the close is not answered", expected="a close frame", got=", ".join(map(str, frames[-3:])))


@case(
    "socket.second-question",
    MUST,
    "A connection serves several prompts in sequence.",
    source="the dialect: replies are messages on a persistent connection",
    remedy="Keep the connection and its state after each reply.",
    defect="one-question-a-socket",
    needs=SOCKET,
)
async def second_question(trial: Trial) -> None:
    """Ask twice on one connection.

    Both replies are complete.
    """
    async with trial.client.connected() as socket:
        _whole(trial, await trial.ask_on(socket), "the first reply is not complete")
        _whole(trial, await trial.ask_on(socket), "the second reply is not complete")


@case(
    "socket.unknown-event",
    MUST,
    "A message of an unknown type does not end the connection.",
    source="RFC 9413, section 4",
    remedy="Answer with an error or ignore it, so that newer clients work with older servers.",
    defect="dies-on-unknown",
    needs=SOCKET,
)
async def unknown_event(trial: Trial) -> None:
    """Send a message of an unknown type, then ask.

    The reply is complete.
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
    "After a refused message, the connection serves the next one.",
    source="one mistake does not end a conversation",
    remedy="Answer with an error event and keep reading.",
    defect="refusal-closes",
    needs=(*SOCKET, Need.JSON_PROMPT, Need.REFUSES_EMPTY),
)
async def after_refusal(trial: Trial) -> None:
    """Send an empty text, then ask on the same connection.

    The reply is complete.
    """
    async with trial.client.connected() as socket:
        empty = with_value(trial.subject.body, trial.subject.prompt_path or (), "")
        refusal = await socket.ask(trial.client.question(socket, QUESTION, empty), Manner(SHORT_S, SHORT_S))
        check(socket.is_open, "the connection is closed", expected="an error", got=describe(refusal))
        _whole(trial, await trial.ask_on(socket), "the next question is not answered")


@case(
    "socket.malformed",
    MUST,
    "A malformed message does not affect other clients.",
    source="one client's mistake does not affect others",
    remedy="Catch errors where a message is parsed, and handle them for this connection only.",
    defect="malformed-ends-all",
    needs=(*SOCKET, Need.TWO_SIDED),
    alone=True,
)
async def malformed(trial: Trial) -> None:
    """Let one client ask, and another one send a truncated message.

    The first client's reply is complete.
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
    _whole(trial, reply, "the other client's reply was cut off")


@case(
    "socket.reconnects",
    MUST,
    "A client that lost its connection in the middle of a reply can reconnect and ask again.",
    source="networks change; phones sleep",
    remedy="Discard the old connection's state when it is lost, and accept the user's new connection.",
    defect="no-reconnect",
    needs=(*SOCKET, Need.TWO_SIDED),
    alone=True,
)
async def reconnects(trial: Trial) -> None:
    """Ask, drop the connection after the first words, reconnect, and ask again.

    The second reply is complete.
    """
    await trial.ask(plan={"tokens": 60, "profile": SLOWLY}, leave=lambda reply: bool(reply.contents))
    reply = await trial.ask(plan={"tokens": 4, "profile": "instant"})
    check(not reply.exchange.refused, "the user cannot connect again", got=reply.exchange.refused)
    _whole(trial, reply, "the next reply is not complete")


@case(
    "socket.interrupt",
    MUST,
    "A message that stops a reply also stops the model.",
    source="the target's profile",
    remedy="Cancel the request to the model when the reply is stopped.",
    defect="ignores-interrupt",
    needs=(*SOCKET, Need.INTERRUPT, Need.TWO_SIDED),
)
async def interrupt(trial: Trial) -> None:
    """Ask for a reply that takes 5 s, and send the message that stops it after the first words.

    The upstream sees its client disconnect within 3 s.
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
    check(ended == "cancelled", "the upstream's stream continues", expected="cancelled", got=str(ended))


@case(
    "socket.strangers",
    MUST,
    "A user's reply is not sent to unrelated users.",
    source="a reply is only for the user who asked",
    remedy="Send only to the connections of this user or this room, never to all.",
    defect="tells-everybody",
    needs=(*SOCKET, Need.TWO_SIDED, Need.SECOND_USER),
    alone=True,
)
async def strangers(trial: Trial) -> None:
    """Connect a second user elsewhere, and let the first one ask.

    The second user receives none of the reply.
    """
    word = unique_word()
    async with trial.client.connected(SECOND) as stranger:
        _whole(trial, await trial.ask(plan={"text": f"The word is {word}. " * 3}), "there is no reply")
        await asyncio.sleep(SEEN_S)
        heard = [event.name for event in stranger.heard if word in str(event.data)]
    check(not heard, "another user receives the reply", expected="nothing", got=" ".join(heard))


@case(
    "socket.heartbeat",
    SHOULD,
    "The server pings idle clients.",
    source="RFC 6455, section 5.5.2; Engine.IO protocol 4, heartbeat",
    remedy="Enable the library's heartbeat: without it, dead clients linger and proxies close idle connections.",
    defect="no-heartbeat",
    needs=(*SOCKET, Need.HEARTBEAT),
    patient=True,
)
async def heartbeat(trial: Trial) -> None:
    """Connect and send nothing.

    A ping arrives within 1.5 times the declared interval plus one second.
    """
    every_s = trial.subject.profile.heartbeat_s
    assert every_s is not None
    async with trial.client.connected() as socket:
        for _ in range(round((every_s * 1.5 + 1) / 0.1)):
            frames = [frame for log in socket.exchange.logs for frame in log.frames(sent=False)]
            if any(frame.opcode == Opcode.PING or frame.payload == b"2" for frame in frames):
                return
            await asyncio.sleep(0.1)
    check(False, "no ping arrived", expected=f"one every {every_s:g} s", got="silence")
