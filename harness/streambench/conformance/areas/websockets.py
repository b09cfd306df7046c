"""WebSocket: handshakes that must be refused, and frames as clients may send them, or may not."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Mapping

from streambench.conformance.case import Keyword, Need, case
from streambench.conformance.client import QUESTION, SHORT_S
from streambench.conformance.exchange import Manner
from streambench.conformance.frames import Opcode, frame_bytes
from streambench.conformance.judging import check, describe
from streambench.conformance.reply import Reply
from streambench.conformance.socket import Socket
from streambench.conformance.trial import Trial
from streambench.dialects import RenderedRequest

MUST, SHOULD, MAY = Keyword
SOCKET = (Need.SOCKET,)
WEBSOCKET = (Need.WEBSOCKET,)
FAIL = "Let the WebSocket library end the connection with {code}; do not switch its checks off."
PING = b"in between"
ANSWERED_S = 2.0
LOOK_S = 0.02
RESERVED = 0x70
UNKNOWN_OPCODE = 3
OFFERED = "streambench-a, streambench-b"


async def _handshake(trial: Trial, changes: Mapping[str, str | None]) -> Reply:
    """The answer to a handshake with other headers; None takes one away."""
    _, url = trial.subject.route({})
    upgrade: dict[str, str | None] = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": base64.b64encode(secrets.token_bytes(16)).decode(),
    }
    return await trial.client.send("GET", url, headers={**upgrade, **changes})


def _answer(reply: Reply) -> tuple[int, dict[str, str]]:
    """Status and headers, also of an answer that leads to another protocol."""
    if not reply.exchange.logs:
        return 0, {}
    status, headers, _ = reply.exchange.logs[-1].answer()
    return status, headers


async def _asked_with(socket: Socket, *pieces: bytes) -> Reply:
    """The reply to a question that is written as these bytes."""
    asking = asyncio.ensure_future(socket.ask(RenderedRequest(), Manner(SHORT_S, SHORT_S)))
    try:
        for piece in pieces:
            await asyncio.sleep(LOOK_S)  # so that each is a read of its own
            socket.write(piece)
        return await asking
    finally:
        asking.cancel()


def _question(trial: Trial, socket: Socket) -> list[bytes]:
    """A question in three parts."""
    text = trial.client.question(socket, QUESTION).send[-1].encode()
    third = len(text) // 3
    return [text[:third], text[third : 2 * third], text[2 * third :]]


def _fragments(parts: list[bytes]) -> list[bytes]:
    opcodes = [Opcode.TEXT, *[Opcode.CONTINUATION] * (len(parts) - 1)]
    return [
        frame_bytes(opcode, part, final=number == len(parts) - 1)
        for number, (opcode, part) in enumerate(zip(opcodes, parts, strict=True))
    ]


def _whole(reply: Reply, message: str) -> None:
    holds = reply.complete and not reply.interrupted and bool(reply.text)
    check(holds, message, expected="a whole reply", got=describe(reply))


@case(
    "ws.version",
    MUST,
    "A handshake of another version is refused, and told the version that is spoken.",
    source="RFC 6455, section 4.2.2",
    remedy="Answer 426 (or 400) with `Sec-WebSocket-Version: 13`.",
    defect="any-websocket-version",
    needs=WEBSOCKET,
)
async def version(trial: Trial) -> None:
    """Connect with version 12.

    A status from 400, with Sec-WebSocket-Version: 13.
    """
    status, headers = _answer(await _handshake(trial, {"sec-websocket-version": "12"}))
    check(status >= 400, "another version is let in", expected="426", got=str(status))
    told = headers.get("sec-websocket-version", "")
    check(
        "13" in told.replace(" ", "").split(","), "no version is told", expected="Sec-WebSocket-Version: 13", got=told
    )


@case(
    "ws.key",
    MUST,
    "A handshake without a key is refused.",
    source="RFC 6455, section 4.2.1",
    remedy="Leave the handshake to the WebSocket library; the key keeps caches and scripts from opening sockets.",
    defect="any-websocket-key",
    needs=WEBSOCKET,
)
async def key(trial: Trial) -> None:
    """Connect without Sec-WebSocket-Key.

    A status from 400.
    """
    status, _ = _answer(await _handshake(trial, {"sec-websocket-key": None}))
    check(status >= 400, "a handshake without a key is let in", expected="400", got=str(status))


@case(
    "ws.subprotocol",
    MUST,
    "The server chooses no subprotocol that the client has not offered.",
    source="RFC 6455, section 4.2.2",
    remedy="Answer with one of the offered subprotocols, or with none: browsers end the connection otherwise.",
    defect="foreign-subprotocol",
    needs=WEBSOCKET,
)
async def subprotocol(trial: Trial) -> None:
    """Connect and offer streambench-a and streambench-b.

    Sec-WebSocket-Protocol is one of them, or not there.
    """
    _, headers = _answer(await _handshake(trial, {"sec-websocket-protocol": OFFERED}))
    chosen = headers.get("sec-websocket-protocol")
    holds = chosen is None or chosen in OFFERED.split(", ")
    check(holds, "another subprotocol is chosen", expected=OFFERED, got=chosen or "")


@case(
    "ws.fragments",
    MUST,
    "A question in fragments is one question.",
    source="RFC 6455, section 5.4",
    remedy="Put fragments together before a message is read; proxies may split messages at any byte.",
    defect="loses-fragments",
    needs=WEBSOCKET,
)
async def fragments(trial: Trial) -> None:
    """Ask in three fragments.

    The reply is whole.
    """
    async with trial.client.connected() as socket:
        _whole(await _asked_with(socket, *_fragments(_question(trial, socket))), "a question in fragments is lost")


@case(
    "ws.empty-fragment",
    MUST,
    "A fragment without bytes is a fragment.",
    source="RFC 6455, section 5.4",
    remedy="Leave fragments to the WebSocket library, and decide by FIN alone where a message ends.",
    defect="empty-fragment-ends",
    needs=WEBSOCKET,
)
async def empty_fragment(trial: Trial) -> None:
    """Ask in three fragments, and a fourth one without bytes between them.

    The reply is whole.
    """
    async with trial.client.connected() as socket:
        first, second, third = _question(trial, socket)
        asked = await _asked_with(socket, *_fragments([first, b"", second, third]))
        _whole(asked, "a question with an empty fragment is lost")


@case(
    "ws.control-between",
    MUST,
    "A ping between two fragments is answered, and the message stays whole.",
    source="RFC 6455, section 5.4",
    remedy="Answer control frames at once, whatever message is being received.",
    defect="control-breaks-message",
    needs=WEBSOCKET,
)
async def control_between(trial: Trial) -> None:
    """Ask in three fragments, with a ping before the second one.

    There is a pong, and the reply is whole.
    """
    async with trial.client.connected() as socket:
        first, second, third = _fragments(_question(trial, socket))
        reply = await _asked_with(socket, first, frame_bytes(Opcode.PING, PING), second, third)
        came = socket.exchange.logs[-1].frames(sent=False)
    _whole(reply, "a ping between fragments loses the question")
    answered = any(frame.opcode == Opcode.PONG and frame.payload == PING for frame in came)
    check(answered, "a ping between fragments is not answered", expected="a pong", got=", ".join(map(str, came[:3])))


@case(
    "ws.split-character",
    MUST,
    "A character may be split between two fragments.",
    source="RFC 6455, section 5.6",
    remedy="Decode a text when all of its fragments are there.",
    defect="decodes-fragments",
    needs=(*WEBSOCKET, Need.TWO_SIDED),
)
async def split_character(trial: Trial) -> None:
    """Ask in fragments, one of which ends within a character.

    The upstream gets the character.
    """
    mark = await trial.upstream.plan(tokens=2)
    async with trial.client.connected() as socket:
        text = trial.client.question(socket, f"Was ist ein 😀? [[sb:{mark}]]").send[-1]
        data = text.encode()
        at = data.find("😀".encode()) + 2
        check(at > 2, "the question is escaped", expected="UTF-8")
        _whole(await _asked_with(socket, *_fragments([data[:at], data[at:]])), "a split character loses the question")
    entries = await trial.upstream.settled(mark)
    asked = str(entries[0]["request"].get("messages", "")) if entries else ""
    check("😀" in asked, "the character is another one", expected="😀", got=asked[-80:])


def _ends_case(name: str, requirement: str, what: str, frame: bytes, *, section: str, code: int, defect: str) -> None:
    """A case for a frame that nobody may send; `what` it is."""

    async def judge(trial: Trial) -> None:
        async with trial.client.connected() as socket:
            socket.write(frame)
            ended = await socket.is_closed(ANSWERED_S)
        check(ended, f"{what} is put up with", expected="the connection ends", got="it stays open")

    judge.__doc__ = f"""Connect, and send {what}.

    Within 2 s the connection is ended.
    """
    source, remedy = f"RFC 6455, section {section}", FAIL.format(code=code)
    case(f"ws.{name}", MUST, requirement, source=source, remedy=remedy, defect=defect, needs=SOCKET)(judge)


_ends_case(
    "stray-continuation",
    "A continuation of nothing ends the connection.",
    "a continuation of nothing",
    frame_bytes(Opcode.CONTINUATION, b"more"),
    section="5.4",
    code=1002,
    defect="ignores-stray-continuations",
)
_ends_case(
    "bad-utf8",
    "A text that is not UTF-8 ends the connection.",
    "a text with half a character",
    frame_bytes(Opcode.TEXT, b'{"type": "\xc3\x28"}'),
    section="8.1",
    code=1007,
    defect="reads-any-utf8",
)
_ends_case(
    "reserved-bits",
    "A frame with reserved bits that nobody has agreed on ends the connection.",
    "a ping with all three reserved bits",
    bytes([frame_bytes(Opcode.PING)[0] | RESERVED]) + frame_bytes(Opcode.PING)[1:],
    section="5.2",
    code=1002,
    defect="ignores-reserved-bits",
)
_ends_case(
    "unknown-opcode",
    "A frame of an unknown kind ends the connection.",
    "a frame with opcode 3",
    frame_bytes(UNKNOWN_OPCODE, b"?"),
    section="5.2",
    code=1002,
    defect="ignores-unknown-opcodes",
)
_ends_case(
    "long-control",
    "A control frame of more than 125 bytes ends the connection.",
    "a ping of 126 bytes",
    frame_bytes(Opcode.PING, b"x" * 126),
    section="5.5",
    code=1002,
    defect="cuts-long-controls",
)
_ends_case(
    "fragmented-control",
    "A control frame in fragments ends the connection.",
    "a ping that says that more follows",
    frame_bytes(Opcode.PING, b"x", final=False),
    section="5.5",
    code=1002,
    defect="joins-controls",
)
