"""Fuzz every parser of what a server sends: `python benchmarks/fuzz_wire.py --seconds 60`.

For each input the property is: no exception but WireError, the same reading however the bytes are split, no more
memory kept than the limits allow, and no second of CPU for a few kilobytes. Inputs are made by mutating a corpus, with
pieces of the protocols as a vocabulary. An input that makes a parser behave in a new way (another sequence of packet
types, another finding, another error at another size) joins the corpus; `--engine atheris` takes coverage of the code
as the guide instead (`pip install atheris`). With `--corpus DIR` the corpus is read from and written to DIR, one folder
a parser. An input that breaks the property is added to the seeds of the tests, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import functools
import hashlib
import itertools
import random
import re
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

from streambench.dialects import load_dialect
from streambench.endings import Ending
from streambench.record.decoding import Progress, ResponseDecoding
from streambench.record.model import StreamRecord
from streambench.record.recorder import Recorder
from streambench.transport.arrivals import Arrival, Data, Ended, Failed
from streambench.transport.http1 import Http1Connection
from streambench.transport.http2 import Http2Connection
from streambench.transport.polling import PacketReader
from streambench.transport.requests import Request
from streambench.transport.target import Endpoint, locate
from streambench.transport.websocket import WebSocketConnection
from streambench.wire import engineio, socketio
from streambench.wire.engineio_session import EngineSession, SessionState
from streambench.wire.framings import capture_decoder
from streambench.wire.limits import WireError, WireLimits
from streambench.wire.socketio_session import SocketSession

SEEDS = Path(__file__).parent.parent / "tests" / "streambench" / "wire" / "seeds"

# Small, so that inputs of a few hundred bytes reach them.
LIMITS = WireLimits(max_event_bytes=512, max_line_bytes=256, max_attachments=4)
# What a parser may keep: a few times the event limit (text, its decoded form, Python's own overhead).
MAX_KEPT_BYTES = 32 << 10
SOAK_ROUNDS = 64
SOAK_ONE_IN = 8
MAX_INPUT_BYTES = 2 << 10
MAX_CPU_S = 1.0
FRAME_END = b"\xfe"  # occurs in no UTF-8: between the frames of an input for a parser of frames

HANDSHAKE = '0{"sid":"s","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000}'

Reading = tuple[tuple[Any, ...], ...]


class Broken(AssertionError):
    """An input that breaks the property."""


class ByteParser:
    """A decoder of bytes; the input is its stream."""

    def __init__(self, open_decoder: Callable[[], Any]) -> None:
        self._open = open_decoder

    def pieces(self, data: bytes, cuts: Iterable[int]) -> list[Any]:
        marks = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        return [data[start:end] for start, end in itertools.pairwise(marks)]

    def read(self, pieces: Iterable[bytes]) -> Reading:
        decoder = self._open()
        messages: list[Any] = []
        findings: list[Any] = []
        failure: tuple[Any, ...] = ()
        try:
            for piece in pieces:
                messages += decoder.feed(piece)
                findings += decoder.take_findings()
            last = decoder.finish()
            messages += last if isinstance(last, list) else [last]
        except WireError as error:
            failure = (type(error).__name__, error.finding)
        findings += decoder.take_findings()
        return tuple(map(repr, messages)), tuple(sorted(map(repr, findings))), tuple(map(repr, failure))

    def soak(self, data: bytes) -> None:
        """The input again and again, as one long stream: nothing may gather."""
        decoder = self._open()
        with contextlib.suppress(WireError):
            for _ in range(SOAK_ROUNDS):
                decoder.feed(data)
                decoder.take_findings()
                expect_small(decoder)


class FrameParser:
    """The two sessions of Socket.IO, one on the other, given frames; a frame that is no UTF-8 is binary.

    An input that does not begin with a handshake of its own is given a good one, and the main namespace.
    """

    def pieces(self, data: bytes, cuts: Iterable[int]) -> list[Any]:
        frames: list[str | bytes] = [] if data.startswith(b"0") else [HANDSHAKE, '40{"sid":"a"}']
        for raw in data.split(FRAME_END):
            try:
                frames.append(raw.decode())
            except UnicodeDecodeError:
                frames.append(raw)
        return frames

    def read(self, pieces: Iterable[str | bytes]) -> Reading:
        engine, session = EngineSession(), SocketSession(LIMITS)
        session.connect("/")
        session.connect("/room", {"token": "t"})
        seen: list[str] = []
        failure: tuple[Any, ...] = ()
        try:
            for at_ns, frame in enumerate(pieces):
                packet = engineio.decode_frame(frame, offset=at_ns)
                message = engine.receive(packet, at_ns)
                if message is not None:
                    self._receive(session, message, at_ns, seen)
                if engine.state is SessionState.OPEN:
                    engine.expire(at_ns)
                engine.take_outgoing()
                session.take_outgoing()
                seen += [repr(finding) for finding in (*engine.take_findings(), *session.take_findings())]
            session.finish()
        except WireError as error:
            failure = (type(error).__name__, error.finding)
        seen += [repr(finding) for finding in session.take_findings()]
        return tuple(seen), (), tuple(map(repr, failure))

    def soak(self, data: bytes) -> None:
        """The frames again and again, on one connection: nothing may gather."""
        engine, session = EngineSession(), SocketSession(LIMITS)
        session.connect("/")
        frames = self.pieces(data, ())
        with contextlib.suppress(WireError):
            for _ in range(SOAK_ROUNDS):
                for frame in frames:
                    message = engine.receive(engineio.decode_frame(frame), 0)
                    if message is not None:
                        session.receive(message)
                    for queue in (engine, session):
                        queue.take_outgoing()
                        queue.take_findings()
                expect_small(engine, session)

    def _receive(self, session: SocketSession, message: str | bytes, at_ns: int, seen: list[str]) -> None:
        packet = session.receive(message, offset=at_ns)
        if packet is None:
            return
        seen.append(repr(packet))
        if packet.is_event:
            seen.append(repr(socketio.event_message(packet)))
            try:
                parts = socketio.encode(packet)
            except ValueError:
                if "inf" in repr(packet.data):  # 1e999 can be read, and cannot be written
                    return
                raise
            again = socketio.PacketDecoder()
            *_, last = [again.feed(part) for part in parts]
            if last is None or last.data != packet.data or last.id != packet.id:
                raise Broken(f"{packet} was written and read as {last}")
            if packet.id is not None and session.namespaces[packet.namespace].state == "connected":
                session.acknowledge(packet, packet.id)


def told(arrivals: Iterable[Arrival]) -> tuple[list[Any], tuple[Any, ...]]:
    """The messages of arrivals, and how they end; what depends on the reads is left out."""
    messages = [(arrival.data, arrival.offset) for arrival in arrivals if isinstance(arrival, Data)]
    ends = [arrival for arrival in arrivals if isinstance(arrival, Failed | Ended)]
    return messages, tuple(ends)


class LayerParser(ByteParser):
    """A protocol layer: what it makes of the bytes of a connection, without the connection."""

    def __init__(self, receive: Callable[[Iterable[bytes]], Reading], *, deflate: bool = False) -> None:
        self._receive = receive
        self._deflate = deflate

    def pieces(self, data: bytes, cuts: Iterable[int]) -> list[Any]:
        # A decompressor that meets bad data gives nothing of that call: how far a broken body is read depends on the
        # split, and that it is broken does not.
        return super().pieces(data, () if b"encoding" in data.lower() and not self._deflate else cuts)

    def read(self, pieces: Iterable[bytes]) -> Reading:
        return self._receive(pieces)

    def soak(self, data: bytes) -> None:
        """A connection ends with its first mistake; `read` has shown what it keeps until then."""


ENDPOINT = Endpoint("http://localhost/", limits=LIMITS)
WHERE = locate(ENDPOINT.url)


def upgraded(headers: Iterable[tuple[str, str]]) -> WebSocketConnection:
    """A WebSocket whose upgrade was answered; the answer depends on the request's key."""
    connection = WebSocketConnection(WHERE, headers, LIMITS)
    request = connection.upgrade({})
    key = re.search(rb"Sec-WebSocket-Key: (\S+)", request)
    assert key is not None
    accept = base64.b64encode(hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    extensions = b"Sec-WebSocket-Extensions: permessage-deflate\r\n" if b"deflate" in request else b""
    connection.receive(head + extensions + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n", 0, kernel=False)
    return connection


def receive_websocket(headers: Iterable[tuple[str, str]], pieces: Iterable[bytes]) -> Reading:
    connection = upgraded(headers)
    arrivals: list[Arrival] = []
    for piece in pieces:
        if piece and not connection.ended:
            arrivals += connection.receive(piece, 1, kernel=False)
            connection.outgoing()
    messages, ends = told([*arrivals, *connection.closed(1, reset=False)])
    return tuple(map(repr, messages)), (), tuple(map(repr, ends))


def receive_polling(pieces: Iterable[bytes]) -> Reading:
    http, reader = Http1Connection(ENDPOINT), PacketReader(LIMITS)
    http.request(WHERE, Request(), {})
    answer = reader.begin()
    arrivals: list[Arrival] = []
    for piece in pieces:
        if piece and not answer.complete and answer.failure is None:
            for some in reader.take(http.receive(piece, 1, kernel=False)):
                arrivals += some
    if not answer.complete and answer.failure is None:
        for some in reader.take(http.closed(1, reset=False)):
            arrivals += some
    messages, ends = told(arrivals)
    return tuple(map(repr, messages)), (), (*map(repr, ends), str(answer.failure))


def receive_stream(
    open_http: Callable[[Endpoint], Http1Connection | Http2Connection], pieces: Iterable[bytes]
) -> Reading:
    dialect = load_dialect("openai-chat")
    record = StreamRecord("s", "t", dialect.name, 0, 0)
    http = open_http(ENDPOINT)
    http.request(WHERE, Request(), {})
    decoding = ResponseDecoding(Recorder(record, dialect, keep_text=True), dialect.transport, LIMITS)
    for piece in pieces:
        if piece and decoding.progress < Progress.ABANDONED:
            came = http.receive(piece, 1, kernel=False)
            http.outgoing()
            if came and decoding.is_long(came):
                deque(decoding.turns(came), maxlen=0)
            elif came:
                decoding.take(came)
    if decoding.progress is Progress.ABANDONED:
        decoding.take([Ended(1, Ending.CLIENT)])
    decoding.take(http.closed(1, reset=False))
    outcome = (record.outcome, record.error, record.error_message, record.status, record.terminal_event)
    events = tuple(zip(record.events.name, record.events.chars, strict=True))
    findings = tuple(sorted(map(repr, record.findings)))
    return tuple(map(repr, events)), findings, tuple(map(repr, outcome))


DEFLATE = (("Sec-WebSocket-Extensions", "permessage-deflate"),)
PARSERS: dict[str, ByteParser | FrameParser] = {
    "sse": ByteParser(lambda: capture_decoder("sse", LIMITS)),
    "ndjson": ByteParser(lambda: capture_decoder("ndjson", LIMITS)),
    "websocket": ByteParser(lambda: capture_decoder("websocket", LIMITS)),
    "socketio": ByteParser(lambda: capture_decoder("socketio", LIMITS)),
    "polling": ByteParser(lambda: engineio.PayloadDecoder(LIMITS)),
    "frames": FrameParser(),
    "websocket-frames": LayerParser(functools.partial(receive_websocket, ())),
    "websocket-deflate": LayerParser(functools.partial(receive_websocket, DEFLATE), deflate=True),
    "http-polling": LayerParser(receive_polling),
    "http-stream": LayerParser(functools.partial(receive_stream, Http1Connection)),
    "http2-stream": LayerParser(functools.partial(receive_stream, Http2Connection)),
}

_SOCKETIO_WORDS: list[bytes] = [
    *(
        HANDSHAKE.encode(),
        b"\x1e",
        b"1",
        b"2",
        b"3probe",
        b"6",
        b"5",
        b"4",
        b"40",
        b'40{"sid":"a"}',
        b'40/room,{"sid":"b"}',
        b"41",
        b"41/room,",
    ),
    *(b'42["a"]', b'42["chat:delta",{"text":"Hi"}]', b'42/room,12["a",1]', b'430["x"]', b'44{"message":"no"}'),
    *(b'451-["a",{"_placeholder":true,"num":0}]', b'461-3[{"_placeholder":true,"num":0}]', b"452-", b"bAAEC", b"b"),
    *(b'{"_placeholder":true,"num":', b'"connect"', b"[[[[[[[[", b"]]]]]]]]", b"999999999999999", b"1e999", b"NaN"),
    *(b"\\ud83d", b'"pingInterval":', b'"maxPayload":0', b"/", b",", b"-", b'"', b"[", b"]", b"{", b"}", b":"),
]
WORDS: dict[str, list[bytes]] = {
    "sse": [
        *(b"\n", b"\r", b"\r\n", b"\n\n", b"data", b"data:", b"data: ", b"event", b"event: e", b"id", b"id: 7", b":"),
        *(b"retry: 100", b"retry:" + b"9" * 30, b"\xef\xbb\xbf", b"\0", b"data: [DONE]\n\n", b' {"a":"b"}', b": c\n"),
    ],
    "ndjson": [b"\n", b"\r\n", b"\r", b"{}", b'{"a":', b'"b"}', b"[]", b"\xef\xbb\xbf", b" ", b"\t", b"null", b"-0"],
    "frames": [*_SOCKETIO_WORDS, FRAME_END, FRAME_END + b"\xff"],
    "socketio": [*_SOCKETIO_WORDS, b"\n"],
    "polling": _SOCKETIO_WORDS,
}
WORDS["websocket"] = WORDS["ndjson"]
WORDS["websocket-frames"] = [
    *(
        b"\x81\x02hi",
        b"\x01\x01h",
        b"\x00\x01i",
        b"\x80\x01i",
        b"\x82\x02\xff\x00",
        b"\x89\x00",
        b"\x8a\x00",
        b"\x88\x00",
    ),
    *(
        b"\x88\x02\x03\xe8",
        b"\x88\x05\x03\xf3bye",
        b"\x81\x7e\x00\x80",
        b"\x81\x7f" + b"\x00" * 7,
        b"\xc1\x04\xcaH\x04\x00",
    ),
    *(
        b"\x81\x82\x00\x00\x00\x00hi",
        b"\x81\x02\xc3\xa9",
        b"\x01\x01\xc3",
        b"\x80\x01\xa9",
        b"\xc1\x07\xf2H\xcd\xc9\xc9\x07\x00",
    ),
]
WORDS["websocket-deflate"] = WORDS["websocket-frames"]
_HTTP_WORDS: list[bytes] = [
    *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 503 \r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.0 200 OK\r\n", b"\r\n"),
    *(
        b"Content-Length: 9\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"5\r\n",
        b"0\r\n\r\n",
        b"a;x=y\r\n",
    ),
    *(
        b"Content-Encoding: gzip\r\n",
        b"Content-Encoding: deflate\r\n",
        b"Content-Encoding: morse\r\n",
        b"Upgrade: h2c\r\n",
    ),
    *(
        b"HTTP/1.1 101 Switching\r\n",
        b"Set-Cookie: a=b; Path=/\r\n",
        b"ffffffffffffffff\r\n",
        b"X: " + b"y" * 200 + b"\r\n",
    ),
]
_CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
_DELTA = b'data: {"id":"a","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
WORDS["http-polling"] = [
    *_HTTP_WORDS,
    *(_CHUNKED % (b"text/plain", len(body), body) for body in (HANDSHAKE.encode(), b'42["a"]\x1e2', b"bAAEC", b"")),
]
WORDS["http-stream"] = [
    *_HTTP_WORDS,
    *(b"Content-Type: text/event-stream\r\n", b"Content-Type: text/html\r\n", _DELTA, b"data: [DONE]\n\n"),
    *(_CHUNKED % (b"text/event-stream", len(body), body) for body in (_DELTA, _DELTA * 2 + b"data: [DONE]\n\n", b"")),
]


def _frame(kind: int, flags: int, payload: bytes = b"", stream: int = 1) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


_H2_HEAD = _frame(1, 4, b"\x88\0\x0ccontent-type\x11text/event-stream")
_H2_GZIP = _frame(1, 4, b"\x88\0\x10content-encoding\x04gzip")
WORDS["http2-stream"] = [
    *(_frame(4, 0, b"", 0), _H2_HEAD, _H2_GZIP, _frame(4, 0, b"\0\3\0\0\0\0", 0), _frame(4, 1, b"", 0)),
    *(_frame(1, 5, b"\x88"), _frame(1, 4, b"\0\x07:status\x03103"), _frame(1, 0, b"\x88"), _frame(9, 4, b"\0\1a\1b")),
    *(_frame(0, 0, _DELTA), _frame(0, 1, b"data: [DONE]\n\n"), _frame(0, 0), _frame(0, 8, b"\2" + b"data" + b"\0\0")),
    *(_frame(0, 8, b"\xff\0"), _frame(0, 0, b"d", 3), _frame(3, 0, b"\0\0\0\2"), _frame(3, 0, b"\0\0\0\7")),
    *(_frame(7, 0, b"\0" * 8, 0), _frame(7, 0, b"\0\0\0\1\0\0\0\0", 0), _frame(6, 0, b"12345678", 0)),
    *(
        _frame(8, 0, b"\0\0\0\1", 0),
        _frame(8, 0, b"\x7f\xff\xff\xff"),
        _frame(2, 0, b"\0\0\0\0\1"),
        _frame(77, 0, b"x"),
    ),
    _frame(4, 0, b"", 0) + _H2_HEAD + _frame(0, 0, _DELTA) * 3 + _frame(0, 1, b"data: [DONE]\n\n"),
]
ANY_WORDS = [
    b"\xff",
    b"\xc3",
    b"\xa9",
    b"\xe2\x82\xac",
    b"\xe2\x80\xa8",
    b"\xf0\x9f\x98\x80",
    b"\xed\xa0\x80",
    b"x" * 64,
]


def expect_small(*objects: Any) -> None:
    """Raise Broken where `objects` keep more than they may; stops counting there."""
    kept = 0
    seen: set[int] = set()
    stack: list[Any] = list(objects)
    while stack:
        item = stack.pop()
        if id(item) in seen or isinstance(item, type | WireLimits):
            continue
        seen.add(id(item))
        kept += sys.getsizeof(item)
        if kept > MAX_KEPT_BYTES:
            raise Broken(f"more than {MAX_KEPT_BYTES:,} bytes are kept")
        if isinstance(item, dict):
            stack += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple | set | frozenset):
            stack += item
        elif not isinstance(item, str | bytes | bytearray | int | float | BaseException):
            slots = getattr(type(item), "__slots__", ())
            stack += [getattr(item, name) for name in slots if hasattr(item, name)]


def check(wire: str, data: bytes) -> Reading:
    """Read `data` in several ways; raises Broken, or whatever the parser raised that it must not."""
    parser = PARSERS[wire]
    started = time.process_time()
    whole = parser.read(parser.pieces(data, ()))
    if isinstance(parser, ByteParser):
        chance = random.Random(number_of(data))
        ways = [
            range(len(data)) if len(data) <= 512 else range(0, len(data), 7),
            [chance.randrange(len(data) + 1)],
            [chance.randrange(len(data) + 1) for _ in range(4)],
        ]
        for cuts in ways:
            split = parser.read(parser.pieces(data, cuts))
            if split != whole:
                raise Broken(f"split at {list(cuts)[:8]}, it reads as {split}\nwhole, it reads as {whole}")
    if number_of(data) % SOAK_ONE_IN == 0:
        parser.soak(data)
    used_s = time.process_time() - started
    if used_s > MAX_CPU_S:
        raise Broken(f"{used_s:.1f} s of CPU for {len(data)} bytes")
    return whole


def number_of(data: bytes) -> int:
    """A number that depends on `data` only, so that a seed is always split at the same places."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest())


def behaviour(reading: Reading) -> tuple[Any, ...]:
    """What kind of reading it is, coarsely: what decides whether an input joins the corpus."""
    messages, findings, failure = reading
    kinds = tuple(dict.fromkeys(_shape(message) for message in messages))
    rules = tuple(sorted({_rule(finding) for finding in findings}))
    return kinds, len(messages).bit_length(), rules, tuple(map(_rule, failure))


def _shape(text: str) -> str:
    """A message without its letters and digits: `WireMessage(data='', …, dispatched=True)` and the like."""
    head, _, _ = text.partition("(")
    flags = "".join(word for word in ("True", "None", "\\u", "\\x", "\\n", "b'", "PacketType") if word in text)
    packet_type = text.partition("PacketType.")[2].partition(":")[0]
    return f"{head} {packet_type} {flags} {len(text).bit_length()}"


def _rule(text: str) -> str:
    """The rule that a finding names; of other texts, their first letters."""
    return text.partition("rule='")[2].partition("'")[0] or re.sub(r"[^a-z_ ]", "", text[:60])


def mutated(data: bytes, others: list[bytes], words: list[bytes], chance: random.Random) -> bytes:
    """`data` after one to six changes."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3, 6))):
        at = chance.randrange(len(out) + 1)
        until = min(len(out), at + chance.choice((1, 1, 2, 4, 16, 64)))
        match chance.randrange(9):
            case 0 if out:
                out[min(at, len(out) - 1)] = chance.randrange(256)
            case 1 if out:
                out[min(at, len(out) - 1)] ^= 1 << chance.randrange(8)
            case 2:
                del out[at:until]
            case 3:
                out[at:at] = out[at:until] * chance.choice((1, 1, 2, 8, 40))
            case 4:
                del out[at:]
            case 5:
                other = chance.choice(others)
                cut = chance.randrange(len(other) + 1)
                out[at:at] = other[cut : cut + chance.choice((4, 32, 256))]
            case 6:
                out[at:until] = chance.choice(words)
            case _:
                out[at:at] = chance.choice(words)
    return bytes(out[:MAX_INPUT_BYTES])


def shorter_of(corpus: list[bytes], chance: random.Random) -> bytes:
    """One of the corpus, more often a short one: short inputs are tried faster and say more."""
    return min(chance.choice(corpus), chance.choice(corpus), key=len)


def seeds_of(wire: str) -> list[bytes]:
    """The inputs that the tests try: base64, one a line."""
    path = SEEDS / f"{wire}.txt"
    return [base64.b64decode(line) for line in path.read_text().splitlines()] if path.exists() else []


def add_seed(wire: str, data: bytes) -> None:
    """Make `data` an input of the tests."""
    known = {base64.b64encode(seed).decode() for seed in seeds_of(wire)}
    known.add(base64.b64encode(data).decode())
    SEEDS.mkdir(parents=True, exist_ok=True)
    (SEEDS / f"{wire}.txt").write_text("".join(f"{line}\n" for line in sorted(known)))


def fuzz(wire: str, seconds: float, seed: int, more: Iterable[bytes]) -> tuple[int, list[bytes], int]:
    """Fuzz one parser, beginning with the seeds and `more`.

    Returns how many inputs were tried, the corpus, and in how many places of the code the property was broken.
    """
    chance = random.Random(f"{seed} {wire}")
    words = WORDS[wire] + ANY_WORDS
    corpus: list[bytes] = []
    known: set[tuple[Any, ...]] = set()
    broken: set[str] = set()
    tried = 0
    end = time.monotonic() + seconds
    waiting = [*words, *more, *seeds_of(wire), b""]
    while time.monotonic() < end:
        data = waiting.pop() if waiting else mutated(shorter_of(corpus, chance), corpus, words, chance)
        tried += 1
        try:
            kind = behaviour(check(wire, data))
        except Exception as error:  # whatever it is, it is what is looked for
            where = "".join(traceback.format_tb(error.__traceback__)[-1:])
            if where not in broken:
                broken.add(where)
                add_seed(wire, data)
                print(f"{wire}: {type(error).__name__}: {error}\n{where}of {data!r}", flush=True)
            continue
        if kind not in known:
            known.add(kind)
            corpus.append(data)
    return tried, corpus, len(broken)


def fuzz_with_atheris(wire: str, seconds: int, seed: int, folder: Path) -> NoReturn:
    """Coverage-guided, by libFuzzer; it ends the process itself, with the first input that breaks the property."""
    import atheris

    packages = ("streambench.wire.", "streambench.transport.", "streambench.record.", "websockets.")
    for name in [name for name in sys.modules if name.startswith(packages)]:
        module = sys.modules[name]
        for value in vars(module).values():
            if getattr(value, "__module__", None) != name:
                continue
            if callable(value) and hasattr(value, "__code__"):
                atheris.instrument_func(value)
            for member in vars(value).values() if isinstance(value, type) else ():
                function = getattr(member, "__func__", member)
                if hasattr(function, "__code__"):
                    atheris.instrument_func(function)
    folder.mkdir(parents=True, exist_ok=True)
    dictionary = folder.with_suffix(".dict")
    words = WORDS[wire] + ANY_WORDS
    dictionary.write_text("".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in words))

    def check_one(data: bytes) -> None:
        try:
            check(wire, data)
        except Exception:
            add_seed(wire, data)
            raise

    atheris.Setup(
        [
            *(sys.argv[0], f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={MAX_INPUT_BYTES}"),
            *(f"-dict={dictionary}", f"-artifact_prefix={folder}-", str(folder)),
        ],
        check_one,
    )
    atheris.Fuzz()
    raise SystemExit


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--seconds", type=float, default=60, help="in all, shared by the parsers")
    options.add_argument("--wire", choices=PARSERS, action="append", help="only this parser; may be given again")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--corpus", type=Path, help="a folder to take more inputs from and leave new ones in")
    options.add_argument("--engine", choices=("mutation", "atheris"), default="mutation")
    chosen = options.parse_args()
    wires = chosen.wire or list(PARSERS)
    if chosen.engine == "atheris":
        if len(wires) != 1 or chosen.corpus is None:
            options.error("--engine atheris fuzzes one parser a process (--wire) and needs a --corpus")
        fuzz_with_atheris(wires[0], int(chosen.seconds), chosen.seed, chosen.corpus / wires[0])
    total = 0
    with contextlib.suppress(KeyboardInterrupt):
        for wire in wires:
            folder = chosen.corpus / wire if chosen.corpus else None
            more = [path.read_bytes() for path in sorted(folder.glob("*"))] if folder else []
            tried, corpus, broken = fuzz(wire, chosen.seconds / len(wires), chosen.seed, more)
            total += broken
            print(f"{wire:<10} {tried:>9,} inputs  {len(corpus):>5,} kinds of reading  {broken} broken", flush=True)
            if folder:
                folder.mkdir(parents=True, exist_ok=True)
                for data in corpus:
                    (folder / hashlib.blake2b(data, digest_size=6).hexdigest()).write_bytes(data)
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
