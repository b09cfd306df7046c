"""The HTTP/1.1 driver against servers that send exact bytes: every framing, every ending, every bound."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import re
import socket
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic_ns
from typing import Any

import brotli  # type: ignore[import-untyped]
import pytest
import zstandard

from streambench.dialects import load_dialect
from streambench.dialects.requests import read_setup_step
from streambench.drivers import http_user
from streambench.drivers.failures import SetupError
from streambench.drivers.target import TargetSpec
from streambench.drivers.users import UserSession, open_session
from streambench.endings import Ending, ErrorClass
from streambench.located import read_yaml
from streambench.record.decoding import Progress, ResponseDecoding
from streambench.record.model import Outcome, StreamRecord
from streambench.record.recorder import Recorder
from streambench.transport.aio.connect import open_channel
from streambench.transport.http1 import Http1Connection
from streambench.transport.requests import Request
from streambench.transport.target import Endpoint, Timeouts, locate
from streambench.wire.limits import WireLimits

MS = 1_000_000
DIALECT = load_dialect("chat-stream")
TEXT = "grüß Gott, 世界 😀"


def event(payload: object) -> bytes:
    return f"data: {json.dumps(payload, ensure_ascii=False)}\n\n".encode()


HELLO = [event({"content": word}) for word in ("grüß ", "Gott, ", "世界 ", "😀")]
DONE = event({"done": True})
BODY = b"".join(HELLO) + DONE


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def head(*headers: str, status: str = "200 OK", content_type: str = "text/event-stream") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", f"Content-Type: {content_type}", *headers, "", ""]).encode()


CHUNKED = head("Transfer-Encoding: chunked") + b"".join(map(chunk, [*HELLO, DONE])) + b"0\r\n\r\n"
SIZED = head(f"Content-Length: {len(BODY)}") + BODY
UNSIZED = head("Connection: close") + BODY


class Fin:
    """Close in order."""


class Reset:
    """Close with RST."""


class Hold:
    """Say nothing more until the client has left."""


Act = bytes | type[Fin] | type[Reset] | type[Hold] | Callable[[], Awaitable[Any]]


@dataclass
class Server:
    """Answers the n-th request of all with the n-th script; the last one stays."""

    port: int = 0
    scripts: list[Sequence[Act]] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    left: asyncio.Event = field(default_factory=asyncio.Event)  # a client closed a connection
    stop: Callable[[], None] = lambda: None  # listening

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api?mode=x"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                size = re.search(rb"content-length: (\d+)", request)
                request += await reader.readexactly(int(size[1])) if size else b""
                self.requests.append(request)
                script = self.scripts[min(len(self.requests), len(self.scripts)) - 1]
                for act in script:
                    if isinstance(act, bytes):
                        writer.write(act)
                        await writer.drain()
                    elif act is Fin or act is Reset:
                        if act is Reset:
                            linger = struct.pack("ii", 1, 0)
                            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                        writer.close()
                        return
                    elif act is Hold:
                        await reader.read()
                        self.left.set()
                        return
                    else:
                        await act()  # type: ignore[misc]
        self.left.set()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    served = Server()
    listening = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.port = listening.sockets[0].getsockname()[1]
    served.stop = listening.close
    yield served
    listening.close()


@dataclass
class User:
    """A simulated user of the server."""

    session: UserSession
    spec: TargetSpec
    stream_of: Callable[..., Awaitable[StreamRecord]]

    async def ask(self, prompt: str = "hi") -> StreamRecord:
        return await self.stream_of(self.session, self.spec, prompt)


@pytest.fixture
async def user(server: Server, stream_of: Any) -> AsyncIterator[Callable[..., User]]:
    users: list[User] = []

    def make(*scripts: Sequence[Act], **changes: Any) -> User:
        server.scripts = list(scripts)
        of_spec = {name: changes.pop(name) for name in ("dialect", "setup") if name in changes}
        spec = replace(TargetSpec("t", DIALECT, Endpoint(**{"url": server.url, **changes}), setup=()), **of_spec)
        users.append(User(open_session(spec, {}), spec, stream_of))
        return users[-1]

    yield make
    for one in users:
        await one.session.close()


MakeUser = Callable[..., User]


def assert_whole(record: StreamRecord) -> None:
    assert (record.outcome, record.error, record.error_message) == (Outcome.COMPLETED, None, None)
    assert record.text == TEXT
    assert record.events.name == ["content"] * 4 + ["done"]
    assert record.terminal_event
    assert record.violations == []


# Framings


@pytest.mark.parametrize(
    ("response", "ending"),
    [([CHUNKED], Ending.RESPONSE_END), ([SIZED], Ending.RESPONSE_END), ([UNSIZED, Fin], Ending.FIN)],
    ids=["chunked", "sized", "until close"],
)
async def test_every_framing_of_a_body(user: MakeUser, response: Sequence[Act], ending: Ending) -> None:
    record = await user(response).ask()
    assert_whole(record)
    assert record.ending is ending
    assert record.status == 200
    stamps = [record.start_ns, record.connected_ns, record.sent_ns, record.headers_ns, *record.events.at_ns]
    assert [*stamps, record.end_ns] == sorted([*stamps, record.end_ns])  # type: ignore[type-var]
    assert record.wire_bytes == sum(len(act) for act in response if isinstance(act, bytes))


async def test_a_plain_text_body_is_the_reply(user: MakeUser) -> None:
    pieces = [piece.encode() for piece in ("grüß ", "Gott, ", "世界 ", "😀")]
    body = b"".join(map(chunk, [*pieces[:2], pieces[2][:2], pieces[2][2:], pieces[3]])) + b"0\r\n\r\n"
    response = head("Transfer-Encoding: chunked", content_type="text/plain; charset=utf-8") + body
    record = await user([response], dialect=load_dialect("plain-text")).ask()
    assert (record.outcome, record.error, record.text) == (Outcome.COMPLETED, None, TEXT)
    assert set(record.events.name) == {"text"}
    assert record.violations == []


@pytest.mark.parametrize(
    ("header", "complete"), [("Transfer-Encoding: chunked", False), ("Content-Length: 99", False), ("X: y", True)]
)
async def test_a_text_that_breaks_off_is_complete_only_where_the_connection_is_its_end(
    user: MakeUser, header: str, complete: bool
) -> None:
    body = chunk(b"Hello ") if "chunked" in header else b"Hello "
    response = head(header, "Connection: close", content_type="text/plain") + body
    record = await user([response, Fin], dialect=load_dialect("plain-text")).ask()
    assert (record.text, record.ending) == ("Hello ", Ending.FIN)
    assert (record.outcome is Outcome.COMPLETED) is complete
    assert [finding.rule for finding in record.violations] == ([] if complete else ["grammar.premature-end"])
    assert record.error == (None if complete else ErrorClass.DISCONNECT)


def exchanged(pieces: Sequence[bytes], spec: TargetSpec, *, fin: bool = False) -> StreamRecord:
    """The record of a response that comes in these pieces, 1 ns apart."""
    record = StreamRecord("s", "t", "d", 0, 0)
    connection = Http1Connection(spec.endpoint)
    decoding = ResponseDecoding(
        Recorder(record, spec.dialect, keep_text=True), spec.dialect.transport, spec.endpoint.limits
    )
    connection.request(locate(spec.endpoint.url), Request(), {})
    for i, piece in enumerate(pieces):
        if decoding.take(connection.receive(piece, i, kernel=True)) >= Progress.ABANDONED:
            break
    if fin and decoding.progress < Progress.ABANDONED:
        decoding.take(connection.closed(len(pieces), reset=False))
    return record


@pytest.mark.parametrize("response", [CHUNKED, SIZED, UNSIZED], ids=["chunked", "sized", "until close"])
async def test_a_response_is_the_same_wherever_it_is_split(response: bytes) -> None:
    spec = TargetSpec("t", DIALECT, Endpoint("http://h/"))
    for cut in range(1, len(response)):
        assert_whole(exchanged([response[:cut], response[cut:]], spec, fin=True))
    record = exchanged([response[i : i + 1] for i in range(len(response))], spec, fin=True)
    assert_whole(record)
    assert record.reads == len(response)
    # An event has the stamp of the byte that completed it.
    ends = [response.index(one) + len(one) - 1 for one in [*HELLO, DONE]]
    assert list(record.events.at_ns) == list(record.events.read) == ends


@pytest.mark.parametrize("response", [CHUNKED, SIZED], ids=["chunked", "sized"])
async def test_a_response_that_breaks_off_anywhere_is_incomplete(response: bytes) -> None:
    spec = TargetSpec("t", DIALECT, Endpoint("http://h/"))
    complete = response.index(DONE) + len(DONE)
    for cut in range(complete):
        record = exchanged([response[:cut]] if cut else [], spec, fin=True)
        assert (record.outcome, record.error, record.ending) == (Outcome.FAILED, ErrorClass.DISCONNECT, Ending.FIN)
        assert not record.terminal_event
        assert TEXT.startswith(record.text or "")
    # After the terminal event nothing is missing any more.
    for cut in range(complete, len(response)):
        assert_whole(exchanged([response[:cut]], spec, fin=True))


async def test_what_came_with_one_read_shares_its_stamp_and_is_counted(user: MakeUser) -> None:
    record = await user([CHUNKED]).ask()
    assert len(set(record.events.at_ns)) == 1
    assert record.reads == record.coalesced_reads == 1


async def test_json_lines(user: MakeUser, dialect_file: Callable[[str], str]) -> None:
    dialect = load_dialect(
        dialect_file(
            "dialect: lines\nversion: 1\ntransport: ndjson\nrequest: {json: {q: '{prompt}'}}\nname: keys\n"
            "events: {text: {content: text}, done: {}}\ngrammar: text* done\n"
        )
    )
    lines = b'{"text": "one"}\n{"text": " two"}\n{"done": true}'  # the last one without its newline
    response = head(f"Content-Length: {len(lines)}", content_type="application/x-ndjson") + lines
    record = await user([response], dialect=dialect).ask()
    assert (record.outcome, record.text, record.violations) == (Outcome.COMPLETED, "one two", [])


# Requests


async def test_the_request_that_is_sent(user: MakeUser, server: Server) -> None:
    await user([CHUNKED], headers=(("X-Trace", "ä"), ("Accept", "custom/type"))).ask("Grüße")
    request = server.requests[0]
    lines, _, body = request.partition(b"\r\n\r\n")
    assert lines.startswith(b"POST /api?mode=x HTTP/1.1\r\n")
    headers = dict(line.split(": ", 1) for line in lines.decode("latin-1").split("\r\n")[1:])
    assert headers["host"] == f"127.0.0.1:{server.port}"
    assert headers["x-trace"] == "ä"
    assert headers["accept"] == "custom/type"
    assert headers["content-type"] == "application/json"
    assert headers["accept-encoding"] == "gzip, deflate, br, zstd", "what browsers ask for"
    assert int(headers["content-length"]) == len(body)
    assert json.loads(body) == {"message": "Grüße"}


async def test_a_request_larger_than_the_kernels_buffer_is_sent_whole(user: MakeUser, server: Server) -> None:
    prompt = "x" * (8 << 20)
    record = await user([CHUNKED]).ask(prompt)
    assert_whole(record)
    assert json.loads(server.requests[0].partition(b"\r\n\r\n")[2]) == {"message": prompt}
    assert record.sent_ns is not None
    assert record.sent_ns <= record.events.at_ns[0]


# Connections


async def test_a_kept_connection_is_used_again(user: MakeUser, server: Server) -> None:
    one = user([CHUNKED], [SIZED], [CHUNKED])
    records = [await one.ask() for _ in range(3)]
    for record in records:
        assert_whole(record)
    assert server.connections == 1
    assert [record.reused_connection for record in records] == [False, True, True]


async def test_a_user_may_connect_ahead(user: MakeUser, server: Server) -> None:
    one = user([CHUNKED], [CHUNKED])
    await one.session.connect()
    async with asyncio.timeout(60):
        while not server.connections:
            await asyncio.sleep(0)
    records = [await one.ask(), await one.ask()]
    for record in records:
        assert_whole(record)
    assert server.connections == 1
    assert [record.reused_connection for record in records] == [False, True]
    assert [record.connect_ahead_ns is not None for record in records] == [True, False]


async def test_who_cannot_connect_ahead_tells_it_with_the_stream(user: MakeUser) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    one = user([], url=f"http://127.0.0.1:{port}/")
    await one.session.connect()
    record = await one.ask()
    assert (record.error, record.ending, record.connect_ahead_ns) == (ErrorClass.CONNECT, Ending.NOT_CONNECTED, None)


@pytest.mark.parametrize("end", [Fin, Reset])
async def test_a_request_on_a_kept_connection_that_was_never_answered_is_sent_again(
    user: MakeUser, server: Server, end: Act
) -> None:
    one = user([CHUNKED], [end], [CHUNKED])
    await one.ask()
    record = await one.ask()
    assert_whole(record)
    assert (record.resent, record.reused_connection) == (1, False)
    assert (server.connections, server.requests[1] == server.requests[2]) == (2, True)


@pytest.mark.parametrize(
    ("scripts", "requests", "resent"),
    [
        ([[Fin]], 1, 0),
        ([[CHUNKED], [Fin], [Fin]], 3, 1),
        ([[CHUNKED], [b"HTTP/1.1 ", Fin]], 2, 0),
        ([[CHUNKED], [head("Transfer-Encoding: chunked"), Fin]], 2, 0),
    ],
    ids=["a new connection", "twice", "a byte of an answer", "a head"],
)
async def test_what_is_not_sent_again(
    user: MakeUser, server: Server, scripts: list[Sequence[Act]], requests: int, resent: int
) -> None:
    one = user(*scripts)
    for script in scripts[:2]:
        record = await one.ask()
        assert (record.outcome is Outcome.COMPLETED) == (script == [CHUNKED])
    assert (record.error, record.resent) == (ErrorClass.DISCONNECT, resent)
    assert len(server.requests) == requests


async def test_a_request_that_cannot_be_sent_again_fails_as_not_connected(user: MakeUser, server: Server) -> None:
    one = user([CHUNKED], [Fin])
    await one.ask()
    server.stop()
    record = await one.ask()
    assert (record.error, record.ending, record.resent) == (ErrorClass.CONNECT, Ending.NOT_CONNECTED, 0)


@pytest.mark.parametrize(
    "first",
    [
        [head(f"Content-Length: {len(BODY)}", "Connection: close") + BODY],
        [UNSIZED, Fin],
        [CHUNKED, Fin],
        [CHUNKED + b"HTTP/1.1 200 OK\r\n\r\n"],
        [CHUNKED + b"garbage"],
        [head("Transfer-Encoding: chunked") + chunk(BODY), Fin],
        [head(status="500 Oops") + b"no", Fin],
    ],
)
async def test_a_connection_that_is_of_no_use_any_more_is_opened_anew(
    user: MakeUser, server: Server, first: Sequence[Act]
) -> None:
    one = user(first, [CHUNKED])
    await one.ask()
    if first == [CHUNKED, Fin]:  # the FIN has to arrive before the next prompt does
        while one.session._link.open:  # type: ignore[attr-defined]
            await asyncio.sleep(0)
    record = await one.ask()
    assert_whole(record)
    assert not record.reused_connection
    assert server.connections == 2


async def test_what_follows_a_whole_response_changes_nothing(user: MakeUser) -> None:
    for more in (b"garbage", CHUNKED, SIZED, head(status="500 Oops") + b"no", b"\r\n"):
        assert_whole(exchanged([CHUNKED + more], TargetSpec("t", DIALECT, Endpoint("http://h/"))))
        assert_whole(exchanged([CHUNKED, more], TargetSpec("t", DIALECT, Endpoint("http://h/"))))


async def test_a_connection_that_died_while_it_was_handed_over(user: MakeUser, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that wants a certificate of the client says so after the handshake, and nobody listens yet."""

    async def dead(*arguments: Any) -> Any:
        channel = await open_channel(*arguments)
        channel.close()
        return channel

    monkeypatch.setattr(http_user, "open_channel", dead)
    record = await user([]).ask()
    assert (record.outcome, record.error) == (Outcome.FAILED, ErrorClass.RESET)


async def test_nobody_listens(user: MakeUser) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    record = await user([], url=f"http://127.0.0.1:{port}/").ask()
    assert (record.error, record.ending, list(record.events.at_ns)) == (ErrorClass.CONNECT, Ending.NOT_CONNECTED, [])
    assert str(port) in (record.error_message or "")


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 70 + ".test", ".leading"])
async def test_a_host_that_is_none(user: MakeUser, host: str) -> None:
    record = await user([], url=f"http://{host}/").ask()
    assert (record.error, record.ending) == (ErrorClass.CONNECT, Ending.NOT_CONNECTED)
    assert host in (record.error_message or "")


async def test_a_server_that_does_not_accept_in_time(user: MakeUser) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = []
        for _ in range(8):  # the queue of the not accepted is full after a few
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
        record = await user([], url=f"http://127.0.0.1:{port}/", timeouts=Timeouts(connect_ns=50 * MS)).ask()
        for filler in fillers:
            filler.close()
    assert (record.error, record.ending) == (ErrorClass.TIMEOUT_CONNECT, Ending.NOT_CONNECTED)


# Statuses


async def test_informational_responses_are_no_answer(user: MakeUser) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    one = user([early + CHUNKED], [early, CHUNKED], [CHUNKED])
    for _ in range(3):
        record = await one.ask()
        assert_whole(record)
        assert record.status == 200


async def test_a_protocol_upgrade_is_a_failure(user: MakeUser) -> None:
    record = await user([b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"]).ask()
    assert (record.error, record.outcome) == (ErrorClass.PROTOCOL, Outcome.FAILED)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        ("503 Unavailable", b'{"error": {"message": "overloaded"}}', "overloaded"),
        ("429 Too Many", b'{"error": "slow down"}', "slow down"),
        ("404 Not Found", b'{"detail": "no such\\nroute"}', "no such"),
        ("400 Bad Request", b'{"message": ["a", "list"]}', "list"),
        ("500 Oops", b"<html>\n  <h1>Trace</h1></html>", "<h1>Trace</h1>"),
        ("502 Bad Gateway", b"", "502"),
        ("500 Oops", b"\xff\xfe", "500"),
        ("500 Oops", b"[" * 2000, "500"),
        ("301 Moved", b"", "301"),
    ],
)
async def test_an_unwelcome_status_with_what_was_said(user: MakeUser, status: str, body: bytes, said: str) -> None:
    answer = head(f"Content-Length: {len(body)}", status=status, content_type="application/json") + body
    one = user([answer], [CHUNKED])
    record = await one.ask()
    assert (record.outcome, record.error) == (Outcome.FAILED, f"http_{status[:3]}")
    assert record.status == int(status[:3])
    assert said in (record.error_message or "")
    assert record.findings == []
    assert_whole(await one.ask())


async def test_a_status_is_told_even_if_its_body_cannot_be_read(user: MakeUser) -> None:
    for encoding, body in (("morse", b"..."), ("gzip", b"not gzip")):
        headers = (f"Content-Encoding: {encoding}", f"Content-Length: {len(body)}")
        record = await user([head(*headers, status="502 Bad Gateway") + body]).ask()
        assert record.error == "http_502", encoding


async def test_a_status_is_told_even_if_its_body_never_ends(user: MakeUser) -> None:
    tiny = Timeouts(first_chunk_ns=50 * MS)
    record = await user([head("Content-Length: 100", status="503 Busy") + b"over", Hold], timeouts=tiny).ask()
    assert (record.error, record.ending) == ("http_503", Ending.TIMEOUT)
    assert "over" in (record.error_message or "")


async def test_a_page_instead_of_a_stream(user: MakeUser) -> None:
    page = b"<html><body>Please log in</body></html>"
    record = await user([head(f"Content-Length: {len(page)}", content_type="text/html; charset=utf-8") + page]).ask()
    assert (record.outcome, record.error) == (Outcome.FAILED, ErrorClass.PROTOCOL)
    assert "text/html" in (record.error_message or "")
    assert "Please log in" in (record.error_message or "")
    assert [finding.rule for finding in record.violations] == ["http.content-type"]


@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream", ""])
async def test_a_stream_under_a_wrong_label_is_read_and_the_label_noted(user: MakeUser, content_type: str) -> None:
    label = content_type or "text/event-stream"
    response = head(f"Content-Length: {len(BODY)}", content_type=label) + BODY
    if not content_type:
        response = response.replace(b"Content-Type: text/event-stream\r\n", b"")
    record = await user([response]).ask()
    assert record.outcome is Outcome.COMPLETED
    assert record.text == TEXT
    assert [finding.rule for finding in record.violations] == ["http.content-type"]


@pytest.mark.parametrize("label", ["text/event-stream", "text/event-stream;charset=UTF-8", "Text/Event-Stream"])
async def test_the_right_label_however_it_is_written(user: MakeUser, label: str) -> None:
    assert_whole(await user([head(f"Content-Length: {len(BODY)}", content_type=label) + BODY]).ask())


# Endings


async def begun(one: User) -> tuple[asyncio.Task[None], StreamRecord]:
    """A stream of which the first text has come."""
    record = StreamRecord("s", "t", "d", monotonic_ns(), monotonic_ns())
    recorder = Recorder(record, one.spec.dialect, keep_text=True)
    task = asyncio.create_task(one.session.stream("hi", recorder))
    while not recorder.chunks:
        await asyncio.sleep(0)
    return task, record


async def test_a_connection_closed_within_a_chunk_is_a_disconnect(user: MakeUser) -> None:
    record = await user([CHUNKED[: CHUNKED.index(HELLO[2]) + 5], Fin]).ask()
    assert (record.outcome, record.error, record.ending) == (Outcome.FAILED, ErrorClass.DISCONNECT, Ending.FIN)
    assert record.text == "grüß Gott, "
    assert len(record.violations) == 1


async def test_a_reset_is_told_from_a_close(user: MakeUser) -> None:
    # The reset must not overtake what came before, so that it waits until that was read.
    read = asyncio.Event()
    task, record = await begun(user([CHUNKED[: CHUNKED.index(HELLO[2])], read.wait, Reset]))
    read.set()
    await task
    assert (record.outcome, record.error, record.ending) == (Outcome.FAILED, ErrorClass.RESET, Ending.RESET)
    assert record.text == "grüß Gott, "


async def test_a_server_that_says_nothing_at_all(user: MakeUser) -> None:
    record = await user([Fin]).ask()
    assert (record.error, record.status, record.headers_ns) == (ErrorClass.DISCONNECT, None, None)


async def test_a_response_that_ends_in_order_but_too_early(user: MakeUser) -> None:
    body = b"".join(HELLO)
    one = user([head(f"Content-Length: {len(body)}") + body], [CHUNKED])
    record = await one.ask()
    assert (record.outcome, record.error, record.ending) == (
        Outcome.FAILED,
        ErrorClass.DISCONNECT,
        Ending.RESPONSE_END,
    )
    assert record.text == TEXT
    second = await one.ask()
    assert_whole(second)
    assert second.reused_connection


async def test_an_error_event_ends_the_stream(user: MakeUser) -> None:
    body = HELLO[0] + event({"error": "overloaded"})
    record = await user([head("Transfer-Encoding: chunked") + chunk(body) + b"0\r\n\r\n"]).ask()
    assert (record.outcome, record.error) == (Outcome.FAILED, ErrorClass.ERROR_EVENT)
    assert record.error_message == "overloaded"
    assert record.text == "grüß "


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        head("Transfer-Encoding: chunked") + b"zz\r\n",
        head("Content-Length: ten") + b"x",
        head("Content-Length: 5", "Content-Length: 6"),
        b"\0" * 100,
    ],
)
async def test_what_is_not_http(user: MakeUser, server: Server, answer: bytes) -> None:
    record = await user([answer, Hold]).ask()
    assert (record.outcome, record.error) == (Outcome.FAILED, ErrorClass.PROTOCOL)
    await server.left.wait()


# Timeouts

TINY = Timeouts(first_chunk_ns=60 * MS, idle_ns=60 * MS, total_ns=60_000 * MS)


@pytest.mark.parametrize(
    "script",
    [
        [Hold],
        [head("Transfer-Encoding: chunked"), Hold],
        [head("Transfer-Encoding: chunked") + chunk(b": ping\n\n"), Hold],
        [head("Transfer-Encoding: chunked") + chunk(event({"content": ""})), Hold],
    ],
)
async def test_no_content_in_time(user: MakeUser, server: Server, script: Sequence[Act]) -> None:
    record = await user(script, timeouts=replace(TINY, idle_ns=60_000 * MS)).ask()
    assert (record.outcome, record.error) == (Outcome.FAILED, ErrorClass.TIMEOUT_FIRST_CHUNK)
    assert record.ending is Ending.TIMEOUT
    await server.left.wait()


async def test_a_pause_that_is_too_long(user: MakeUser, server: Server) -> None:
    script = [CHUNKED[: CHUNKED.index(HELLO[2])], Hold]
    record = await user(script, timeouts=replace(TINY, first_chunk_ns=60_000 * MS)).ask()
    assert (record.error, record.ending, record.text) == (ErrorClass.TIMEOUT_IDLE, Ending.TIMEOUT, "grüß Gott, ")
    await server.left.wait()


async def test_a_stream_that_is_too_long(user: MakeUser, server: Server) -> None:
    async def chatter() -> None:
        await asyncio.sleep(0.005)

    script = [head("Transfer-Encoding: chunked"), *[chunk(HELLO[0]), chatter] * 200, Hold]
    one = user(script, timeouts=Timeouts(total_ns=80 * MS))
    record = await one.ask()
    assert (record.error, record.ending) == (ErrorClass.TIMEOUT_TOTAL, Ending.TIMEOUT)
    await server.left.wait()


async def test_a_response_need_not_end_after_its_terminal_event(
    user: MakeUser, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streambench.drivers.deadlines.LINGER_NS", 30 * MS)
    record = await user([CHUNKED.removesuffix(b"0\r\n\r\n"), Hold]).ask()
    assert_whole(record)
    assert record.ending is Ending.TIMEOUT
    assert [finding.rule for finding in record.findings] == ["termination.timeout-after-end"]
    assert record.end_ns == record.events.at_ns[-1]
    await server.left.wait()


async def test_a_heartbeat_after_the_end_keeps_nobody(
    user: MakeUser, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streambench.drivers.deadlines.LINGER_NS", 60 * MS)

    async def wait() -> None:
        await asyncio.sleep(0.01)

    script = [CHUNKED.removesuffix(b"0\r\n\r\n"), *[chunk(b": ping\n\n"), wait] * 3000]
    record = await user(script).ask()
    assert record.outcome is Outcome.COMPLETED
    assert record.ending is Ending.TIMEOUT
    await server.left.wait()


# Cancelling


async def test_cancelling_closes_the_connection_at_once_and_censors(user: MakeUser, server: Server) -> None:
    one = user([CHUNKED[: CHUNKED.index(HELLO[2])], Hold])
    task, record = await begun(one)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (record.outcome, record.ending, record.error) == (Outcome.CENSORED, Ending.CLIENT, None)
    assert record.text == "grüß Gott, "
    assert record.end_ns is not None
    await server.left.wait()
    server.scripts = [[CHUNKED]]
    assert_whole(await one.ask())


async def test_cancelling_while_connecting_censors(user: MakeUser, monkeypatch: pytest.MonkeyPatch) -> None:
    connecting = asyncio.Event()

    async def never(*_: object) -> Any:
        connecting.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(http_user, "open_channel", never)
    record = StreamRecord("s", "t", "d", 0, 0)
    task = asyncio.create_task(user([]).session.stream("hi", Recorder(record, DIALECT, keep_text=True)))
    await connecting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (record.outcome, record.ending) == (Outcome.CENSORED, Ending.CLIENT)


# Bounds


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %s\r\n" % (i, b"y" * 1000) for i in range(100)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * (1 << 21),
        b"HTTP/1.1 200 OK\r\n" + b"y" * (1 << 21),
        b"HTTP/1.1 200 " + b"y" * (1 << 21),
        b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n" * 40_000,
        head("Transfer-Encoding: chunked") + b"5;x=" + b"y" * (1 << 21),
        head("Transfer-Encoding: chunked") + b"0\r\nX: " + b"y" * (1 << 21),
    ],
    ids=["many headers", "long value", "long name", "long reason", "100s", "chunk extension", "trailer"],
)
async def test_a_head_without_end_is_too_large(user: MakeUser, server: Server, answer: bytes) -> None:
    record = await user([answer, Hold]).ask()
    assert record.outcome is Outcome.FAILED
    assert record.error == (ErrorClass.FLOOD if b"100 Continue" in answer else ErrorClass.OVERSIZE)
    assert record.wire_bytes < 1 << 21
    await server.left.wait()


async def test_an_event_without_end_is_too_large(user: MakeUser, server: Server) -> None:
    endless = head("Transfer-Encoding: chunked") + chunk(b"data: " + b"x" * 100_000)
    record = await user([endless, Hold], limits=WireLimits(max_event_bytes=5000, max_line_bytes=5000)).ask()
    assert (record.outcome, record.error) == (Outcome.FAILED, ErrorClass.OVERSIZE)
    await server.left.wait()


async def test_json_as_deep_as_the_sea_is_unreadable_and_no_more(user: MakeUser) -> None:
    body = b"data: " + b"[" * 100_000 + b"\n\n" + BODY
    record = await user([head(f"Content-Length: {len(body)}") + body]).ask()
    assert record.outcome is Outcome.COMPLETED
    assert record.violations


# Compression


def compressed(encoding: str) -> bytes:
    """The events, each flushed by itself."""
    if encoding == "br":
        brotli_ = brotli.Compressor()
        return b"".join(brotli_.process(one) + brotli_.flush() for one in [*HELLO, DONE]) + bytes(brotli_.finish())
    if encoding == "zstd":
        zstd = zstandard.ZstdCompressor().compressobj()
        blocks = [zstd.compress(one) + zstd.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) for one in [*HELLO, DONE]]
        return b"".join(blocks) + zstd.flush()
    zlib_ = zlib.compressobj(wbits={"gzip": 31, "deflate": 15}[encoding])
    return b"".join(zlib_.compress(one) + zlib_.flush(zlib.Z_SYNC_FLUSH) for one in [*HELLO, DONE]) + zlib_.flush()


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
async def test_a_compressed_stream_is_the_same_wherever_it_is_split(user: MakeUser, encoding: str) -> None:
    body = compressed(encoding)
    top = head(f"Content-Encoding: {encoding}", "Transfer-Encoding: chunked")
    spec = TargetSpec("t", DIALECT, Endpoint("http://h/"))
    whole = top + chunk(body) + b"0\r\n\r\n"
    for cut in range(len(top), len(whole)):
        assert_whole(exchanged([whole[:cut], whole[cut:]], spec))
    assert_whole(await user([top, *(chunk(body[i : i + 1]) for i in range(len(body))), b"0\r\n\r\n"]).ask())


async def test_what_is_not_compressed_as_it_says_is_unreadable(user: MakeUser) -> None:
    for encoding in ("gzip", "br", "zstd", "morse"):
        record = await user([head(f"Content-Encoding: {encoding}", f"Content-Length: {len(BODY)}") + BODY]).ask()
        assert (record.outcome, record.error) == (Outcome.FAILED, ErrorClass.PROTOCOL), encoding


async def test_a_bomb_is_too_large(user: MakeUser) -> None:
    bomb = gzip.compress(b": \n" * 1_000_000)
    record = await user(
        [head("Content-Encoding: gzip", f"Content-Length: {len(bomb)}") + bomb],
        limits=WireLimits(max_decompressed_bytes=100_000),
    ).ask()
    assert (record.outcome, record.error) == (Outcome.FAILED, ErrorClass.OVERSIZE)


# Proxies


async def test_a_proxy_gets_the_absolute_form(user: MakeUser, server: Server) -> None:
    """The server plays the proxy; the target does not exist."""
    one = user([CHUNKED], proxy=f"http://ada:p%40ss@127.0.0.1:{server.port}", url="http://chat.invalid:8080/api?x=1")
    assert_whole(await one.ask())
    lines = server.requests[0].decode("latin-1").split("\r\n")
    assert lines[0] == "POST http://chat.invalid:8080/api?x=1 HTTP/1.1"
    assert "host: chat.invalid:8080" in lines
    assert f"proxy-authorization: Basic {base64.b64encode(b'ada:p@ss').decode()}" in lines


async def test_a_proxy_that_is_not_there(user: MakeUser) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    record = await user([], proxy=f"http://127.0.0.1:{port}").ask()
    assert (record.error, record.ending) == (ErrorClass.CONNECT, Ending.NOT_CONNECTED)


# Setup


def steps(text: str) -> Any:
    return tuple(read_setup_step(item, "sse", ()) for item in read_yaml(text, "setup").value)


SETUP = steps("[{method: POST, path: /threads, json: {user: '{user}'}, capture: {thread: data.id}}]")


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    return head(f"Content-Length: {len(body)}", *headers, status=status, content_type="application/json") + body


async def test_setup_captures_values_and_keeps_cookies(
    user: MakeUser, server: Server, dialect_file: Callable[[str], str]
) -> None:
    dialect = load_dialect(
        dialect_file(
            "dialect: threads\nversion: 1\ntransport: sse\npath: /threads/{thread}/ask\n"
            "setup: [{method: POST, path: /threads, json: {user: '{user}'}, capture: {thread: data.id}}]\n"
            "request: {json: {q: '{prompt}'}}\nname: keys\n"
            "events: {content: {content: content}, done: {}}\ngrammar: content* done\n"
        )
    )
    made = answer(b'{"data": {"id": "t 7"}}', "Set-Cookie: session=abc; Path=/")
    one = user([made], [CHUNKED], dialect=dialect, setup=None, url=f"http://127.0.0.1:{server.port}/base")
    await one.session.prepare()
    assert server.requests[0].startswith(b"POST /base/threads HTTP/1.1")
    assert one.session.variables["thread"] == "t 7"
    record = await one.ask()
    assert record.text == TEXT
    assert server.requests[1].startswith(b"POST /base/threads/t%207/ask HTTP/1.1")
    assert b"\r\ncookie: session=abc\r\n" in server.requests[1]


@pytest.mark.parametrize(
    ("script", "error", "said"),
    [
        ([answer(b'{"error": "no"}', status="401 Unauthorized")], "http_401", "no"),
        ([answer(b'{"data": {}}')], "setup", "data.id"),
        ([answer(b"not json")], "setup", "data.id"),
        ([answer(b"[" * 100_000)], "setup", "data.id"),
        ([answer(b"x" * (2 << 20))], "oversize", "/threads"),
        ([answer(b"", "Location: /elsewhere", status="302 Found")], "http_302", "302"),
        ([Fin], "setup", "/threads"),
        ([b"SSH-2.0\r\n", Fin], "setup", "/threads"),
        ([head("Content-Length: 10") + b"x", Fin], "setup", "/threads"),
    ],
)
async def test_a_setup_that_the_server_refuses(user: MakeUser, script: Sequence[Act], error: str, said: str) -> None:
    one = user(script, setup=SETUP)
    with pytest.raises(SetupError) as caught:
        await one.session.prepare()
    assert caught.value.error == error
    assert said in str(caught.value)
