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
FAIL = "Let the WebSocket library close the connection with {code}; do not switch its checks off."
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
    check(holds, message, expected="a complete reply", got=describe(reply))


@case(
    "ws.version",
    MUST,
    "A handshake with an unsupported version is refused, and the response names the supported version.",
    source="RFC 6455, section 4.2.2",
    remedy="Answer 426 (or 400) with `Sec-WebSocket-Version: 13`.",
    defect="any-websocket-version",
    needs=WEBSOCKET,
)
async def version(trial: Trial) -> None:
    """Connect with version 12.

    A status of 400 or more, with Sec-WebSocket-Version: 13.
    """
    status, headers = _answer(await _handshake(trial, {"sec-websocket-version": "12"}))
    check(status >= 400, "an unsupported version is accepted", expected="426", got=str(status))
    told = headers.get("sec-websocket-version", "")
    check(
        "13" in told.replace(" ", "").split(","),
        "the response names no version",
        expected="Sec-WebSocket-Version: 13",
        got=told,
    )


@case(
    "ws.key",
    MUST,
    "A handshake without a key is refused.",
    source="RFC 6455, section 4.2.1",
    remedy="Leave the handshake to the WebSocket library: the key keeps caches and scripts from opening sockets.",
    defect="any-websocket-key",
    needs=WEBSOCKET,
)
async def key(trial: Trial) -> None:
    """Connect without Sec-WebSocket-Key.

    A status of 400 or more.
    """
    status, _ = _answer(await _handshake(trial, {"sec-websocket-key": None}))
    check(status >= 400, "a handshake without a key is accepted", expected="400", got=str(status))


@case(
    "ws.subprotocol",
    MUST,
    "The server selects only a subprotocol that the client offered.",
    source="RFC 6455, section 4.2.2",
    remedy="Answer with one of the offered subprotocols or none: otherwise browsers close the connection.",
    defect="foreign-subprotocol",
    needs=WEBSOCKET,
)
async def subprotocol(trial: Trial) -> None:
    """Connect and offer streambench-a and streambench-b.

    Sec-WebSocket-Protocol is one of them, or absent.
    """
    _, headers = _answer(await _handshake(trial, {"sec-websocket-protocol": OFFERED}))
    chosen = headers.get("sec-websocket-protocol")
    holds = chosen is None or chosen in OFFERED.split(", ")
    check(holds, "a different subprotocol is selected", expected=OFFERED, got=chosen or "")


@case(
    "ws.fragments",
    MUST,
    "A prompt sent in fragments is one message.",
    source="RFC 6455, section 5.4",
    remedy="Reassemble fragments before you parse a message: proxies may split messages at any byte.",
    defect="loses-fragments",
    needs=WEBSOCKET,
)
async def fragments(trial: Trial) -> None:
    """Ask in three fragments.

    The reply is complete.
    """
    async with trial.client.connected() as socket:
        _whole(await _asked_with(socket, *_fragments(_question(trial, socket))), "a prompt in fragments is lost")


@case(
    "ws.empty-fragment",
    MUST,
    "An empty fragment does not end a message.",
    source="RFC 6455, section 5.4",
    remedy="Leave fragments to the WebSocket library: only FIN ends a message.",
    defect="empty-fragment-ends",
    needs=WEBSOCKET,
)
async def empty_fragment(trial: Trial) -> None:
    """Ask in three fragments, with an empty one between them.

    The reply is complete.
    """
    async with trial.client.connected() as socket:
        first, second, third = _question(trial, socket)
        asked = await _asked_with(socket, *_fragments([first, b"", second, third]))
        _whole(asked, "a prompt with an empty fragment is lost")


@case(
    "ws.control-between",
    MUST,
    "A ping between two fragments is answered, and the message stays intact.",
    source="RFC 6455, section 5.4",
    remedy="Answer control frames at once, even while a message is being received.",
    defect="control-breaks-message",
    needs=WEBSOCKET,
)
async def control_between(trial: Trial) -> None:
    """Ask in three fragments, with a ping before the second one.

    There is a pong, and the reply is complete.
    """
    async with trial.client.connected() as socket:
        first, second, third = _fragments(_question(trial, socket))
        reply = await _asked_with(socket, first, frame_bytes(Opcode.PING, PING), second, third)
        came = socket.exchange.logs[-1].frames(sent=False)
    _whole(reply, "a ping between fragments loses the prompt")
    answered = any(frame.opcode == Opcode.PONG and frame.payload == PING for frame in came)
    check(answered, "a ping between fragments is not answered", expected="a pong", got=", ".join(map(str, came[:3])))


@case(
    "ws.split-character",
    MUST,
    "A character may be split across two fragments.",
    source="RFC 6455, section 5.6",
    remedy="Decode a text message only once all of its fragments have arrived.",
    defect="decodes-fragments",
    needs=(*WEBSOCKET, Need.TWO_SIDED),
)
async def split_character(trial: Trial) -> None:
    """Ask in fragments, one of which ends in the middle of a character.

    The upstream gets the character intact.
    """
    mark = await trial.upstream.plan(tokens=2)
    async with trial.client.connected() as socket:
        text = trial.client.question(socket, f"Was ist ein 😀? [[sb:{mark}]]").send[-1]
        data = text.encode()
        at = data.find("😀".encode()) + 2
        check(at > 2, "the prompt is escaped", expected="UTF-8")
        _whole(await _asked_with(socket, *_fragments([data[:at], data[at:]])), "a split character loses the prompt")
    entries = await trial.upstream.settled(mark)
    asked = str(entries[0]["request"].get("messages", "")) if entries else ""
    check("😀" in asked, "the character was changed", expected="😀", got=asked[-80:])


def _ends_case(name: str, requirement: str, what: str, frame: bytes, *, section: str, code: int, defect: str) -> None:
    """A case for a frame that nobody may send; `what` it is."""

    async def judge(trial: Trial) -> None:
        async with trial.client.connected() as socket:
            socket.write(frame)
            ended = await socket.is_closed(ANSWERED_S)
        check(ended, f"{what} is accepted", expected="the connection ends", got="it stays open")

    judge.__doc__ = f"""Connect, and send {what}.

    The connection is closed within 2 s.
    """
    source, remedy = f"RFC 6455, section {section}", FAIL.format(code=code)
    case(f"ws.{name}", MUST, requirement, source=source, remedy=remedy, defect=defect, needs=SOCKET)(judge)


_ends_case(
    "stray-continuation",
    "A continuation frame without a message to continue closes the connection.",
    "a continuation frame without a message to continue",
    frame_bytes(Opcode.CONTINUATION, b"more"),
    section="5.4",
    code=1002,
    defect="ignores-stray-continuations",
)
_ends_case(
    "bad-utf8",
    "A text message that is not UTF-8 closes the connection.",
    "a text message with half a character",
    frame_bytes(Opcode.TEXT, b'{"type": "\xc3\x28"}'),
    section="8.1",
    code=1007,
    defect="reads-any-utf8",
)
_ends_case(
    "reserved-bits",
    "A frame with reserved bits set that were not negotiated closes the connection.",
    "a ping with all three reserved bits set",
    bytes([frame_bytes(Opcode.PING)[0] | RESERVED]) + frame_bytes(Opcode.PING)[1:],
    section="5.2",
    code=1002,
    defect="ignores-reserved-bits",
)
_ends_case(
    "unknown-opcode",
    "A frame with an unknown opcode closes the connection.",
    "a frame with opcode 3",
    frame_bytes(UNKNOWN_OPCODE, b"?"),
    section="5.2",
    code=1002,
    defect="ignores-unknown-opcodes",
)
_ends_case(
    "long-control",
    "A control frame of more than 125 bytes closes the connection.",
    "a ping of 126 bytes",
    frame_bytes(Opcode.PING, b"x" * 126),
    section="5.5",
    code=1002,
    defect="cuts-long-controls",
)
_ends_case(
    "fragmented-control",
    "A fragmented control frame closes the connection.",
    "a ping without FIN",
    frame_bytes(Opcode.PING, b"x", final=False),
    section="5.5",
    code=1002,
    defect="joins-controls",
)
