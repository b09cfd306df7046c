"""Hostile servers, one line each: what they send, and how a stream from them must end.

A body is what follows a good head, and runs over every transport that can carry it. An item of a body is bytes to
write, or a number of seconds to wait. Floods have no end: the server writes until the client leaves.
"""

from __future__ import annotations

import itertools
import json
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

Item = bytes | float
Body = Callable[[], Iterable[Item]]

CONTENT = {
    "sse": b'data: {"content":"a"}\n\n',
    "ndjson": b'{"model":"m","created_at":"t","message":{"role":"assistant","content":"a"},"done":false}\n',
}
DONE = {
    "sse": b'data: {"done":true}\n\n',
    "ndjson": b'{"model":"m","created_at":"t","message":{"role":"assistant","content":""},"done":true}\n',
}
BLOCK = 1 << 16
WORDS_FOR_TERMINALS = (
    "\x1b[2J\x1b]0;owned\x07\x1b]8;;http://evil.example\x07\u202egnp.exe\u2066\x9b31m<script>alert(1)</script>"
)

# How a stream ends: an error class, or `completed`. Where a race decides which of two comes first, both are named.
FLOOD = ("flood", "oversize")
COMPLETE = ("completed", "empty")  # the latter where nothing of it was text


@dataclass(frozen=True)
class Hostile:
    """A server that misbehaves. `over` are the transports, `ends` the ways in which a stream from it may end."""

    name: str
    body: Body
    ends: tuple[str, ...]
    over: tuple[str, ...]
    headers: tuple[tuple[str, str], ...] = ()
    asks: tuple[tuple[str, str], ...] = field(default=())  # headers of the request, such as an offer to compress


def once(*items: Item) -> Body:
    return lambda: items


def forever(block: bytes, before: bytes = b"", wait: float = 0.0) -> Body:
    """`block` again and again; small ones are joined, so that the server is fast."""
    joined = block if wait else block * max(1, BLOCK // len(block))

    def items() -> Iterator[Item]:
        yield before
        while True:
            yield joined
            if wait:
                yield wait

    return items


def bomb(block: bytes, mebibytes: int = 4096) -> Body:
    """One gzip member of `block` over and over, sent without an end: one kilobyte is one mebibyte."""

    def items() -> Iterator[Item]:
        yield b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
        compress = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        piece = compress.compress(block * ((1 << 20) // len(block))) + compress.flush(zlib.Z_FULL_FLUSH)
        for _ in range(mebibytes // 64):
            yield piece * 64

    return items


def bomb_in_members(block: bytes, mebibytes: int = 4096) -> Body:
    """The same as many gzip members, one after the other."""
    compress = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    piece = compress.compress(block * ((1 << 20) // len(block))) + compress.flush()
    return lambda: itertools.repeat(piece * 64, mebibytes // 64)


def twice_compressed(block: bytes) -> Body:
    """A gzip bomb in gzip: one kilobyte is a gibibyte."""

    def items() -> Iterator[Item]:
        outer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        for piece in bomb(block)():
            assert isinstance(piece, bytes)
            yield outer.compress(piece) + outer.flush(zlib.Z_SYNC_FLUSH)

    return items


def brotli(block: bytes) -> Body:
    def items() -> Iterator[Item]:
        import brotli as library

        yield library.compress(block * ((256 << 20) // len(block)), quality=1)

    return items


def zstd(block: bytes) -> Body:
    def items() -> Iterator[Item]:
        import zstandard

        yield from itertools.repeat(zstandard.ZstdCompressor(level=3).compress(block * ((64 << 20) // len(block))), 64)

    return items


def event(data: str, wire: str = "sse") -> bytes:
    return (f"data: {data}\n\n" if wire == "sse" else f"{data}\n").encode("utf-8", "surrogatepass")


# --- Bodies of a response -------------------------------------------------------------------------------------------

HTTP_SSE = ("h1+sse", "h2+sse", "tls+sse")
HTTP_NDJSON = ("h1+ndjson", "h2+ndjson")
H1_SSE = ("h1+sse",)
GZIP = (("content-encoding", "gzip"),)
GZIP2 = (("content-encoding", "gzip, gzip"),)
BR = (("content-encoding", "br"),)
ZSTD = (("content-encoding", "zstd"),)

SSE = CONTENT["sse"]
LINE = CONTENT["ndjson"]
DEEP = "[" * 300 + "]" * 300
ABYSS = "[" * 100_000 + "]" * 100_000
HALF = '"\\ud83d"'
MILLION = "1," * 1_000_000 + "1"

BODIES = [
    Hostile("comments", forever(b":\n", SSE), FLOOD, HTTP_SSE),
    Hostile("empty-lines", forever(b"\n", SSE), FLOOD, HTTP_SSE),
    Hostile("bare-carriage-returns", forever(b"\r", SSE), FLOOD, HTTP_SSE),
    Hostile("fields-that-mean-nothing", forever(b"a\n", SSE), FLOOD, HTTP_SSE),
    Hostile("retry-fields", forever(b"retry: 1\n", SSE), FLOOD, H1_SSE),
    Hostile("empty-data", forever(b"data:\n\n", SSE), FLOOD, HTTP_SSE),
    Hostile("tiny-events", forever(SSE), FLOOD, HTTP_SSE),
    Hostile("broken-events", forever(b"data: {\n\n"), FLOOD, HTTP_SSE),
    Hostile("thousands-of-broken-events", once(event("{") * 5000, DONE["sse"]), (*COMPLETE, *FLOOD), H1_SSE),
    Hostile("strange-events", forever(event('{"content":"a","x":1}')), FLOOD, H1_SSE),
    Hostile("event-without-end", forever(b"data: a\n", SSE), FLOOD, HTTP_SSE),
    Hostile("line-without-end", forever(b"a", b"data: "), FLOOD, HTTP_SSE),
    Hostile("events-after-the-end", forever(SSE, SSE + DONE["sse"]), (*COMPLETE, *FLOOD), HTTP_SSE),
    Hostile("bomb-of-comments", bomb(b":\n"), FLOOD, HTTP_SSE, GZIP),
    Hostile("bomb-of-empty-lines", bomb(b"\n"), FLOOD, HTTP_SSE, GZIP),
    Hostile("bomb-of-events", bomb(SSE), FLOOD, H1_SSE, GZIP),
    Hostile("bomb-of-one-line", bomb(b"a"), FLOOD, HTTP_SSE, GZIP),
    Hostile("bomb-in-members", bomb_in_members(b":\n"), FLOOD, HTTP_SSE, GZIP),
    Hostile("bomb-in-a-bomb", twice_compressed(b":\n"), FLOOD, H1_SSE, GZIP2),
    Hostile("brotli-bomb", brotli(b":\n"), FLOOD, H1_SSE, BR),
    Hostile("zstd-bomb", zstd(b":\n"), FLOOD, H1_SSE, ZSTD),
    Hostile("not-gzip", once(b"not gzip at all" * 100), ("protocol",), HTTP_SSE, GZIP),
    Hostile("half-a-character", once(event(f'{{"content":{HALF}}}'), DONE["sse"]), COMPLETE, HTTP_SSE),
    Hostile(
        "half-a-character-too-many",
        once(event(f'{{"content":{HALF},"x":{HALF}}}'), DONE["sse"]),
        COMPLETE,
        HTTP_SSE,
    ),
    Hostile("half-a-character-as-a-name", once(event('{"\\ud83d":1}'), DONE["sse"]), COMPLETE, H1_SSE),
    Hostile("half-a-character-as-an-error", once(event(f'{{"error":{HALF}}}')), ("error_event",), HTTP_SSE),
    Hostile("deep-data", once(event(f'{{"content":"a","x":{DEEP}}}'), DONE["sse"]), COMPLETE, HTTP_SSE),
    Hostile("deep-content", once(event(f'{{"content":{DEEP}}}'), DONE["sse"]), COMPLETE, H1_SSE),
    Hostile("deep-error", once(event(f'{{"error":{DEEP}}}')), ("error_event",), H1_SSE),
    Hostile("abyss", once(event(f'{{"content":{ABYSS}}}'), DONE["sse"]), COMPLETE, HTTP_SSE),
    Hostile("million-values", once(event(f'{{"content":[{MILLION}]}}'), DONE["sse"]), COMPLETE, HTTP_SSE),
    Hostile(
        "mistakes-by-thousands", once(event(f'{{"content":[{MILLION[:99_001]}]}}') * 20, DONE["sse"]), COMPLETE, H1_SSE
    ),
    Hostile("huge-number", once(event('{"content":' + "1" * 5000 + "}"), DONE["sse"]), COMPLETE, H1_SSE),
    Hostile("huge-exponent", once(event('{"content":1e400}'), DONE["sse"]), COMPLETE, H1_SSE),
    Hostile("bytes-that-are-no-text", once(b'data: {"content":"\xff\xfe\0"}\n\n', DONE["sse"]), COMPLETE, HTTP_SSE),
    Hostile("words-for-terminals", once(event(json.dumps({"error": WORDS_FOR_TERMINALS}))), ("error_event",), HTTP_SSE),
    Hostile("names-for-terminals", once(event(json.dumps({WORDS_FOR_TERMINALS: 1})), DONE["sse"]), COMPLETE, H1_SSE),
    Hostile("drip", forever(b"d", wait=0.2), ("timeout_first_chunk", "timeout_total"), H1_SSE),
    Hostile("drip-of-events", forever(SSE, wait=0.2), ("timeout_total",), HTTP_SSE),
    Hostile("silence", once(60.0), ("timeout_first_chunk",), HTTP_SSE),
    Hostile("nothing", once(), ("disconnect",), HTTP_SSE),
    Hostile("empty-lines", forever(b"\n", LINE), FLOOD, HTTP_NDJSON),
    Hostile("tiny-events", forever(LINE), FLOOD, HTTP_NDJSON),
    Hostile("numbers", forever(b"1\n"), FLOOD, HTTP_NDJSON),
    Hostile("line-without-end", forever(b"a"), FLOOD, HTTP_NDJSON),
    Hostile("bomb-of-empty-lines", bomb(b"\n"), FLOOD, HTTP_NDJSON, GZIP),
    Hostile("bomb-of-numbers", bomb(b"1\n"), FLOOD, HTTP_NDJSON, GZIP),
    Hostile(
        "endless-usage",
        once(DONE["ndjson"].replace(b'"done"', b'"eval_count":1' + b"0" * 400 + b',"done"')),
        COMPLETE,
        HTTP_NDJSON,
    ),
    Hostile("half-a-character", once(LINE.replace(b'"a"', b'"\\ud83d"'), DONE["ndjson"]), COMPLETE, HTTP_NDJSON),
]

# --- Whole answers over HTTP/1.1, from the status line on --------------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\n"
STREAM = OK + b"Content-Type: text/event-stream\r\n"
CHUNKED = STREAM + b"Transfer-Encoding: chunked\r\n\r\n"
RAW = ("h1",)


def status(line: str, body: str = "", **headers: str) -> Body:
    data = body.encode("utf-8", "surrogatepass")
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return once(f"HTTP/1.1 {line}\r\n{head}Content-Length: {len(data)}\r\n\r\n".encode("latin-1", "replace") + data)


ANSWERS = [
    Hostile("header-without-end", forever(b"a", OK + b"X: "), ("oversize", "protocol"), RAW),
    Hostile("headers-without-end", forever(b"X: y\r\n", OK), ("oversize", "protocol"), RAW),
    Hostile("reason-without-end", forever(b"a", b"HTTP/1.1 200 "), ("oversize", "protocol"), RAW),
    Hostile("continue-without-end", forever(b"HTTP/1.1 100 Continue\r\n\r\n"), FLOOD, RAW),
    Hostile("chunk-extension-without-end", forever(b"a", CHUNKED + b"5;"), ("oversize", "protocol"), RAW),
    Hostile("trailers-without-end", forever(b"X: y\r\n", CHUNKED + b"0\r\n"), ("oversize", "protocol"), RAW),
    Hostile("chunks-of-one-byte", forever(b"1\r\n:\r\n1\r\n\n\r\n", CHUNKED), FLOOD, RAW),
    Hostile("status-in-letters", status("abc OK"), ("protocol",), RAW),
    Hostile("status-in-five-digits", status("99999 OK"), ("protocol",), RAW),
    Hostile("status-below-zero", status("-1 OK"), ("protocol",), RAW),
    Hostile("no-http", once(b"SSH-2.0-OpenSSH_9.6\r\n"), ("protocol",), RAW),
    Hostile("chunk-of-exabytes", once(CHUNKED + b"FFFFFFFFFFFFFFFFF\r\n"), ("protocol",), RAW),
    Hostile("chunk-below-zero", once(CHUNKED + b"-1\r\n"), ("protocol",), RAW),
    Hostile("length-below-zero", once(STREAM + b"Content-Length: -1\r\n\r\n"), ("protocol",), RAW),
    Hostile("length-in-200-digits", once(STREAM + b"Content-Length: " + b"9" * 200 + b"\r\n\r\n"), ("protocol",), RAW),
    Hostile("two-lengths", once(STREAM + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"), ("protocol",), RAW),
    Hostile("upgrade", status("101 Switching Protocols", Upgrade="x", Connection="upgrade"), ("protocol",), RAW),
    Hostile("unknown-encoding", once(STREAM + b"Content-Encoding: x\r\n\r\n"), ("protocol",), RAW),
    Hostile(
        "many-encodings", once(STREAM + b"Content-Encoding: " + b"gzip," * 50 + b"gzip\r\n\r\n"), ("protocol",), RAW
    ),
    Hostile("unauthorized", status("401 No", WORDS_FOR_TERMINALS), ("http_401",), RAW),
    Hostile("broken", status("500 No", json.dumps({"error": {"message": WORDS_FOR_TERMINALS}})), ("http_500",), RAW),
    Hostile("broken-half", status("500 No", '{"error": "\\ud83d"}'), ("http_500",), RAW),
    Hostile("broken-deep", status("500 No", ABYSS), ("http_500",), RAW),
    Hostile("redirect-to-nowhere", status("302 Found", Location="http://169.254.169.254/"), ("http_302",), RAW),
    Hostile("redirect-to-a-file", status("302 Found", Location="file:///etc/passwd"), ("http_302",), RAW),
    Hostile("redirect-to-another-server", status("307 Go", Location="gopher://127.0.0.1:1/"), ("http_307",), RAW),
    Hostile("come-back-in-30-years", status("429 No", **{"Retry-After": "1000000000"}), ("http_429",), RAW),
    Hostile("come-back-at-1e9", status("503 No", **{"Retry-After": "1e9"}), ("http_503",), RAW),
    Hostile("web-page", once(OK + b"Content-Type: text/html\r\n\r\n<h1>hi</h1>"), ("protocol",), RAW),
    Hostile(
        "type-for-terminals",
        once(OK + b"Content-Type: \x1b[2J\x07\r\n\r\n" + SSE + DONE["sse"]),
        (*COMPLETE, "protocol"),
        RAW,
    ),
    Hostile(
        "cookies-for-terminals",
        once(STREAM + b"Set-Cookie: a\x1b[2J=b\r\n\r\n" + SSE + DONE["sse"]),
        (*COMPLETE, "protocol"),
        RAW,
    ),
    Hostile("hang-up", once(), ("disconnect",), RAW),
]

# What is fair to do, and what browsers do not let a user notice: the second request on a connection is never answered.
KEPT = [
    Hostile(
        "forgotten",
        once(STREAM + f"Content-Length: {len(SSE + DONE['sse'])}\r\n\r\n".encode() + SSE + DONE["sse"]),
        ("completed",),
        ("h1-again",),
    ),
]

# --- HTTP/2 frames after the settings ----------------------------------------------------------------------------------

H2 = ("h2",)


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A header field without Huffman coding and without the dynamic table."""
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
GOOD_HEADERS = frame(HEADERS, 4, 1, b"\x88" + literal(b"content-type", b"text/event-stream"))

FRAMES_2 = [
    Hostile(
        "no-more-streams",
        once(GOOD_HEADERS + frame(SETTINGS, 0, 0, b"\0\3\0\0\0\0") + frame(DATA, 1, 1, DONE["sse"]), 60.0),
        (*COMPLETE, "protocol"),
        ("h2-again",),
    ),
    Hostile("settings", forever(frame(SETTINGS), GOOD_HEADERS), FLOOD, H2),
    Hostile("settings-that-change", forever(frame(SETTINGS, 0, 0, b"\0\4\0\0\1\0"), GOOD_HEADERS), FLOOD, H2),
    Hostile("pings", forever(frame(PING, 0, 0, b"12345678"), GOOD_HEADERS), FLOOD, H2),
    Hostile("pongs", forever(frame(PING, 1, 0, b"12345678"), GOOD_HEADERS), FLOOD, H2),
    Hostile("empty-data-frames", forever(frame(DATA, 0, 1), GOOD_HEADERS), FLOOD, H2),
    Hostile("padded-data-frames", forever(frame(DATA, 8, 1, b"\xff" + b"\0" * 255), GOOD_HEADERS), FLOOD, H2),
    Hostile("window-updates", forever(frame(WINDOW, 0, 0, b"\0\0\0\1"), GOOD_HEADERS), ("protocol", *FLOOD), H2),
    Hostile("priorities", forever(frame(PRIORITY, 0, 1, b"\0\0\0\3\x10"), GOOD_HEADERS), FLOOD, H2),
    Hostile("unknown-frames", forever(frame(77, 0, 1, b"x"), GOOD_HEADERS), FLOOD, H2),
    Hostile("resets-of-others", forever(frame(RST, 0, 3, b"\0\0\0\0"), GOOD_HEADERS), ("protocol", *FLOOD), H2),
    Hostile(
        "continuations",
        forever(frame(CONTINUATION, 0, 1, b"\0\1a\1b"), frame(HEADERS, 0, 1, b"\x88")),
        ("protocol", *FLOOD),
        H2,
    ),
    Hostile(
        "header-bomb",
        once(frame(HEADERS, 4, 1, b"\x88" + b"\x40\1a\x7f\x81\x1f" + b"b" * 4000 + b"\xbe" * 12000)),
        ("protocol", "oversize"),
        H2,
    ),
    Hostile("informational", forever(frame(HEADERS, 4, 1, literal(b":status", b"103"))), ("protocol", *FLOOD), H2),
    Hostile("status-in-letters", once(frame(HEADERS, 4, 1, literal(b":status", b"abc")), 60.0), ("protocol",), H2),
    Hostile(
        "status-for-terminals", once(frame(HEADERS, 4, 1, literal(b":status", b"\x1b[2J")), 60.0), ("protocol",), H2
    ),
    Hostile("status-of-50-digits", once(frame(HEADERS, 4, 1, literal(b":status", b"2" * 50)), 60.0), ("protocol",), H2),
    Hostile("no-status", once(frame(HEADERS, 4, 1, literal(b"a", b"b")), 60.0), ("protocol",), H2),
    Hostile("data-before-headers", once(frame(DATA, 0, 1, SSE), 60.0), ("protocol",), H2),
    Hostile("a-promise", once(GOOD_HEADERS + frame(PUSH, 4, 1, b"\0\0\0\2\x82"), 60.0), ("protocol",), H2),
    Hostile("frame-of-16-megabytes", forever(b"a" * 1000, b"\xff\xff\xff\0\0\0\0\0\1"), ("protocol", "oversize"), H2),
    Hostile("reset", once(GOOD_HEADERS + frame(RST, 0, 1, b"\0\0\0\2")), ("reset",), H2),
    Hostile("goodbye", once(frame(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\1words")), ("disconnect", "reset"), H2),
    Hostile("hang-up", once(), ("disconnect", "protocol"), H2),
]

# --- WebSocket frames after the upgrade --------------------------------------------------------------------------------

WS = ("ws", "wss")
WS1 = ("ws",)
OFFER = (("Sec-WebSocket-Extensions", "permessage-deflate"),)
ACCEPTED = (("Sec-WebSocket-Extensions", "permessage-deflate"),)


def ws(opcode: int, payload: bytes = b"", *, fin: bool = True, bits: int = 0, mask: bool = False) -> bytes:
    size = len(payload)
    head = bytes((0x80 * fin | bits | opcode,))
    masked = 0x80 * mask
    if size < 126:
        head += bytes((masked | size,))
    elif size < 1 << 16:
        head += bytes((masked | 126,)) + struct.pack(">H", size)
    else:
        head += bytes((masked | 127,)) + struct.pack(">Q", size)
    return head + (b"\0\0\0\0" if mask else b"") + payload


def deflated(data: bytes) -> bytes:
    compress = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return (compress.compress(data) + compress.flush(zlib.Z_SYNC_FLUSH))[:-4]


TEXT, BINARY, CLOSE, WS_PING, WS_PONG = 1, 2, 8, 9, 10
DELTA = b'{"type":"delta","text":"a"}'
WS_DONE = b'{"type":"done"}'

SOCKETS = [
    Hostile("pings", forever(ws(WS_PING)), FLOOD, WS),
    Hostile("pongs", forever(ws(WS_PONG)), FLOOD, WS),
    Hostile("empty-messages", forever(ws(TEXT)), FLOOD, WS),
    Hostile("empty-binary-messages", forever(ws(BINARY)), FLOOD, WS1),
    Hostile("tiny-messages", forever(ws(TEXT, DELTA)), FLOOD, WS),
    Hostile("numbers", forever(ws(TEXT, b"1")), FLOOD, WS1),
    Hostile("fragments-of-nothing", forever(ws(0, fin=False), ws(TEXT, fin=False)), FLOOD, WS),
    Hostile("message-without-end", forever(ws(0, b"a" * 1000, fin=False), ws(TEXT, b"a", fin=False)), FLOOD, WS),
    Hostile("frame-of-exabytes", once(b"\x81\x7f\x7f" + b"\xff" * 7, 60.0), ("oversize", "protocol"), WS),
    Hostile("masked", once(ws(TEXT, DELTA, mask=True), 60.0), ("protocol",), WS1),
    Hostile("reserved-bits", once(ws(TEXT, DELTA, bits=0x70), 60.0), ("protocol",), WS1),
    Hostile("unknown-opcode", once(ws(3, DELTA), 60.0), ("protocol",), WS1),
    Hostile("fragmented-ping", once(ws(WS_PING, b"a", fin=False), 60.0), ("protocol",), WS1),
    Hostile("long-ping", once(ws(WS_PING, b"a" * 200), 60.0), ("protocol",), WS1),
    Hostile("not-text", once(ws(TEXT, b"\xff\xfe"), 60.0), ("protocol",), WS1),
    Hostile(
        "half-a-character",
        once(ws(TEXT, b'{"type":"delta","text":"\\ud83d"}'), ws(TEXT, WS_DONE), 60.0),
        COMPLETE,
        WS1,
    ),
    Hostile(
        "deep",
        once(ws(TEXT, b'{"type":"delta","text":"a","x":' + DEEP.encode() + b"}"), ws(TEXT, WS_DONE), 60.0),
        COMPLETE,
        WS1,
    ),
    Hostile("abyss", once(ws(TEXT, ABYSS.encode()), ws(TEXT, WS_DONE), 60.0), COMPLETE, WS1),
    Hostile("close-of-one-byte", once(ws(CLOSE, b"a"), 60.0), ("protocol",), WS1),
    Hostile("close-with-no-such-code", once(ws(CLOSE, b"\0\1"), 60.0), ("protocol",), WS1),
    Hostile(
        "close-for-terminals",
        once(ws(CLOSE, b"\x0f\xa0" + WORDS_FOR_TERMINALS.encode()[:100]), 60.0),
        ("disconnect",),
        WS1,
    ),
    Hostile(
        "words-for-terminals",
        once(ws(TEXT, json.dumps({"type": "error", "text": WORDS_FOR_TERMINALS}).encode()), 60.0),
        ("error_event",),
        WS,
    ),
    Hostile(
        "deflate-bomb", forever(ws(TEXT, deflated(b"a" * (64 << 20)), bits=0x40)), ("oversize",), WS1, ACCEPTED, OFFER
    ),
    Hostile("deflated-empty-messages", forever(ws(TEXT, deflated(b""), bits=0x40)), FLOOD, WS1, ACCEPTED, OFFER),
    Hostile("deflated-spaces", forever(ws(TEXT, deflated(b" " * (1 << 20)), bits=0x40)), FLOOD, WS1, ACCEPTED, OFFER),
    Hostile("not-deflate", once(ws(TEXT, b"\xff\xff\xff", bits=0x40), 60.0), ("protocol",), WS1, ACCEPTED, OFFER),
    Hostile("silence", once(60.0), ("timeout_first_chunk",), WS1),
    Hostile("hang-up", once(), ("disconnect",), WS),
]

# --- Engine.IO packets; the first is the handshake -----------------------------------------------------------------------


def handshake(**changes: object) -> bytes:
    values = {"sid": "s", "upgrades": [], "pingInterval": 25000, "pingTimeout": 20000, "maxPayload": 1000000, **changes}
    return b"0" + json.dumps(values).encode()


# A packet is a text; `forever` takes packets, and each transport frames them in its own way.
EIO = ("eio-ws", "eio-polling")
EIO_WS = ("eio-ws",)
JOIN = b'40{"sid":"n"}'
SIO_DELTA = b'42["delta",{"text":"a"}]'


def packets(*first: Item, flood: bytes | None = None) -> Body:
    def items() -> Iterator[Item]:
        yield from first
        while flood is not None:
            yield flood

    return items


PACKETS = [
    Hostile(
        "half-a-session",
        packets(handshake(sid="\ud83d"), JOIN, 60.0),
        ("setup", "protocol", "http_400", "timeout_connect", "timeout_first_chunk"),
        EIO,
    ),
    Hostile(
        "session-for-a-header",
        packets(handshake(sid="a\r\nX: y"), JOIN, 60.0),
        ("setup", "protocol", "timeout_connect", "timeout_first_chunk"),
        EIO,
    ),
    Hostile(
        "session-of-a-megabyte",
        packets(handshake(sid="s" * (1 << 20)), JOIN, 60.0),
        ("setup", "protocol", "oversize", "timeout_connect", "timeout_first_chunk"),
        EIO,
    ),
    Hostile("handshake-is-no-json", packets(b"0{"), ("protocol", "setup"), EIO),
    Hostile("handshake-is-deep", packets(b"0" + ABYSS.encode()), ("protocol", "setup"), EIO),
    Hostile(
        "interval-of-nothing",
        packets(handshake(pingInterval=0, pingTimeout=0), JOIN, 60.0),
        ("timeout_idle", "timeout_connect", "setup", "protocol", "timeout_first_chunk"),
        EIO,
    ),
    Hostile(
        "interval-below-zero",
        packets(handshake(pingInterval=-1, pingTimeout=-1), JOIN, 60.0),
        ("timeout_idle", "timeout_connect", "setup", "protocol"),
        EIO,
    ),
    Hostile(
        "interval-of-ages",
        packets(b'0{"sid":"s","upgrades":[],"pingInterval":1' + b"0" * 400 + b',"pingTimeout":1}', JOIN, 60.0),
        ("setup", "protocol", "timeout_connect", "timeout_first_chunk"),
        EIO,
    ),
    Hostile(
        "payload-of-nothing",
        packets(handshake(maxPayload=0), JOIN, 60.0),
        ("setup", "protocol", "timeout_first_chunk", "timeout_connect"),
        EIO,
    ),
    Hostile("no-ops", packets(handshake(), JOIN, flood=b"6"), FLOOD, EIO),
    Hostile("pings", packets(handshake(), JOIN, flood=b"2"), FLOOD, EIO),
    Hostile("pongs", packets(handshake(), JOIN, flood=b"3"), ("protocol", *FLOOD), EIO),
    Hostile("empty-packets", packets(handshake(), JOIN, flood=b""), ("protocol", *FLOOD), EIO),
    Hostile("joins", packets(handshake(), JOIN, flood=JOIN), ("protocol", *FLOOD), EIO),
    Hostile("other-rooms", packets(handshake(), JOIN, flood=b'42/other,["delta",{}]'), ("protocol", *FLOOD), EIO),
    Hostile("events", packets(handshake(), JOIN, flood=SIO_DELTA), FLOOD, EIO),
    Hostile("ack-requests", packets(handshake(), JOIN, flood=b'421["ask"]'), FLOOD, EIO),
    Hostile("acks", packets(handshake(), JOIN, flood=b"431[]"), ("protocol", *FLOOD), EIO),
    Hostile(
        "ack-in-digits",
        packets(handshake(), JOIN, b"42" + b"1" * 5000 + b'["ask"]', 60.0),
        ("protocol", "timeout_first_chunk"),
        EIO,
    ),
    Hostile(
        "attachments-in-digits",
        packets(handshake(), JOIN, b"45" + b"9" * 5000 + b'-["a"]', 60.0),
        ("protocol", "oversize"),
        EIO,
    ),
    Hostile(
        "attachments-that-never-come",
        packets(handshake(), JOIN, b'451-["delta",{"_placeholder":true,"num":0}]', 60.0),
        ("timeout_first_chunk",),
        EIO_WS,
    ),
    Hostile(
        "half-a-character",
        packets(handshake(), JOIN, b'42["delta",{"text":"\\ud83d"}]', b'42["done"]', 60.0),
        COMPLETE,
        EIO,
    ),
    Hostile(
        "deep",
        packets(handshake(), JOIN, b'42["delta",' + DEEP.encode() + b"]", b'42["done"]', 60.0),
        (*COMPLETE, "protocol"),
        EIO,
    ),
    Hostile("abyss", packets(handshake(), JOIN, b'42["delta",' + ABYSS.encode() + b"]", 60.0), ("protocol",), EIO),
    Hostile(
        "million-values",
        packets(handshake(), JOIN, f'42["delta",[{MILLION}]]'.encode(), 60.0),
        ("oversize", "protocol"),
        EIO,
    ),
    Hostile(
        "refusal-for-terminals",
        packets(handshake(), b"44" + json.dumps({"message": WORDS_FOR_TERMINALS}).encode(), 60.0),
        ("setup",),
        EIO,
    ),
    Hostile(
        "words-for-terminals",
        packets(handshake(), JOIN, b"42" + json.dumps(["error", {"text": WORDS_FOR_TERMINALS}]).encode(), 60.0),
        ("error_event",),
        EIO,
    ),
    Hostile("bomb", bomb(b"6\x1e"), FLOOD, ("polling",), GZIP),
    Hostile("bomb-of-one-packet", bomb(b"6"), FLOOD, ("polling",), GZIP),
    Hostile("payload-without-end", forever(b"6\x1e"), FLOOD, ("polling",)),
    Hostile("packet-without-end", forever(b"6"), FLOOD, ("polling",)),
]

# --- TLS, and nothing above it -------------------------------------------------------------------------------------------

TLS = ("raw-tls",)
HANDSHAKES = [
    Hostile("no-tls", once(b"HTTP/1.1 400 Bad Request\r\n\r\n"), ("tls",), TLS),
    Hostile("noise", forever(b"\x16\x03\x03\x40\x00" + b"a" * 0x4000), ("tls",), TLS),
    Hostile("alerts", forever(b"\x15\x03\x03\x00\x02\x01\x00"), ("tls", "timeout_connect"), TLS),
    Hostile("half-a-record", once(b"\x16\x03\x03\x40\x00aaaa", 60.0), ("timeout_connect",), TLS),
    Hostile("hang-up", once(), ("tls", "connect", "disconnect"), TLS),
]

# --- Answers to a request of setup, whose `id` is captured into a header -------------------------------------------------

SETUP = ("setup",)
ANSWERED = OK + b"Content-Type: application/json\r\n"

STEPS = [
    Hostile("half-a-character", status("200 OK", '{"id": "\\ud83d"}'), ("setup",), SETUP),
    Hostile("line-break", status("200 OK", '{"id": "a\\r\\nX: y"}'), ("setup",), SETUP),
    Hostile("control-character", status("200 OK", '{"id": "a\\u0000b"}'), ("setup",), SETUP),
    Hostile("megabyte", status("200 OK", json.dumps({"id": "a" * 1_000_000})), ("setup",), SETUP),
    Hostile("no-text", status("200 OK", '{"id": {"a": []}}'), ("setup", "disconnect"), SETUP),
    Hostile("digits", status("200 OK", '{"id": ' + "1" * 5000 + "}"), ("setup",), SETUP),
    Hostile("abyss", status("200 OK", ABYSS), ("setup",), SETUP),
    Hostile("not-found", status("404 No", WORDS_FOR_TERMINALS), ("http_404",), SETUP),
    Hostile("redirect-to-a-file", status("302 Found", Location="file:///etc/passwd"), ("http_302",), SETUP),
    Hostile("come-back-in-30-years", status("429 No", **{"Retry-After": "1000000000"}), ("http_429",), SETUP),
    Hostile("drip", forever(b" ", ANSWERED + b"\r\n", wait=0.2), ("setup", "timeout_connect", "timeout_first_chunk"), SETUP),
    Hostile("drip-of-a-header", forever(b"x", ANSWERED + b"X: ", wait=0.2), ("setup", "timeout_connect", "timeout_first_chunk"), SETUP),
    Hostile("answer-without-end", forever(b" ", ANSWERED + b"\r\n"), ("oversize", "setup"), SETUP),
    Hostile("headers-without-end", forever(b"X: y\r\n", ANSWERED), ("setup", "oversize"), SETUP),
    Hostile("bomb", lambda: [ANSWERED + b"Content-Encoding: gzip\r\n\r\n", *bomb(b" ", 1024)()], ("oversize", "setup"), SETUP),
    Hostile("bomb-in-a-bomb", lambda: [ANSWERED + b"Content-Encoding: gzip, gzip\r\n\r\n", *itertools.islice(twice_compressed(b" ")(), 16)], ("oversize", "setup"), SETUP),
]  # fmt: skip

# Whoever serves these cannot wait for a path: each has a port of its own.
UNASKED = ("raw-tls",)
ALL = [*BODIES, *ANSWERS, *KEPT, *FRAMES_2, *SOCKETS, *PACKETS, *HANDSHAKES, *STEPS]


@dataclass(frozen=True)
class Case:
    """A hostile server over one transport; `path` is where it is found on the servers of `serve.py`."""

    transport: str
    hostile: Hostile

    @property
    def id(self) -> str:
        return f"{self.transport}/{self.hostile.name}"


CASES = {case.id: case for case in (Case(transport, hostile) for hostile in ALL for transport in hostile.over)}
