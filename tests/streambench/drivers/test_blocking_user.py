"""A user that waits sees what a user on the event loop sees: same servers, same records."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from streambench.dialects import load_dialect
from streambench.drivers.blocking_user import BlockingHttpUser
from streambench.drivers.failures import SetupError
from streambench.drivers.http_user import HttpUser
from streambench.drivers.target import TargetSpec
from streambench.record.model import Outcome, StreamRecord
from streambench.record.recorder import Recorder
from streambench.transport.http1 import Http1Connection
from streambench.transport.target import Endpoint, Timeouts

MS = 1_000_000
DIALECT = load_dialect("chat-stream")
CHUNKS = ['data: {"content": "Grü"}\n\n'.encode(), 'data: {"content": "ße"}\n\n'.encode(), b'data: {"done": true}\n\n']
BODY = b"".join(CHUNKS)
TYPED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
SHORT = Timeouts(connect_ns=2000 * MS, first_chunk_ns=300 * MS, idle_ns=300 * MS, total_ns=5000 * MS)
Write = Callable[[asyncio.StreamWriter], Awaitable[None]]


async def whole(writer: asyncio.StreamWriter) -> None:
    writer.write(TYPED + f"Content-Length: {len(BODY)}\r\n\r\n".encode())
    for i in range(len(BODY)):
        writer.write(BODY[i : i + 1])
        await writer.drain()


async def chunked(writer: asyncio.StreamWriter) -> None:
    writer.write(TYPED + b"Transfer-Encoding: chunked\r\n\r\n")
    for chunk in CHUNKS:
        writer.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        await writer.drain()
    writer.write(b"0\r\n\r\n")


async def refusing(writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 503 No\r\nContent-Length: 26\r\n\r\n{"error":{"message":"no"}}')


async def page(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\n<p>x")


async def cut(writer: asyncio.StreamWriter) -> None:
    writer.write(TYPED + b"\r\n" + CHUNKS[0])
    await writer.drain()
    writer.close()


async def broken(writer: asyncio.StreamWriter) -> None:
    writer.write(TYPED + b"\r\n" + CHUNKS[0])
    await writer.drain()
    await asyncio.sleep(0.05)
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def silent(writer: asyncio.StreamWriter) -> None:
    writer.write(TYPED + b"\r\n")
    await asyncio.sleep(10)


async def stalled(writer: asyncio.StreamWriter) -> None:
    writer.write(TYPED + b"\r\n" + CHUNKS[0])
    await asyncio.sleep(10)


async def garbage(writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")


async def endless(writer: asyncio.StreamWriter) -> None:
    """The stream is complete and the response is not."""
    writer.write(TYPED + b"\r\n" + BODY)
    await asyncio.sleep(10)


@pytest.fixture
async def listen() -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """`await listen(write)`: the URL of a server that answers each request so."""
    servers: list[asyncio.Server] = []

    async def start(write: Write, context: Any = None) -> str:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    (length,) = re.findall(rb"(?i)content-length: (\d+)", head)
                    await reader.readexactly(int(length))
                    await write(writer)

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        servers.append(server)
        return f"http{'s' if context else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}/api"

    yield start
    for server in servers:
        server.close()


def begin(spec: TargetSpec) -> tuple[StreamRecord, Recorder]:
    record = StreamRecord("s", spec.name, spec.dialect.name, 0, 0)
    return record, Recorder(record, spec.dialect, keep_text=True)


def told(record: StreamRecord) -> dict[str, Any]:
    """What both kinds of user must agree on: everything but the moments."""
    line = record.to_json()
    for moment in ("connected", "sent", "headers", "end", "reads", "user_reads", "stamps", "coalesced_reads", "own"):
        line.pop(moment)
    events = line.pop("events")
    return {**line, "names": [events["names"][i] for i in events["name"]], "chars": events["chars"]}


async def both(spec: TargetSpec, times: int = 1) -> StreamRecord:
    """The last of some streams of each kind of user, which must be the same; returns that of the user that waits."""
    waiting, running = BlockingHttpUser(spec, {}), HttpUser(spec, {}, Http1Connection)
    for _ in range(times):
        mine, recorder = begin(spec)
        await asyncio.to_thread(waiting.stream, "hi", recorder)
        theirs, recorder = begin(spec)
        await running.stream("hi", recorder)
    waiting.close()
    await running.close()
    assert told(mine) == told(theirs)
    return mine


@pytest.mark.parametrize(
    ("write", "error"),
    [
        (whole, None),
        (chunked, None),
        (endless, None),
        (refusing, "http_503"),
        (page, "protocol"),
        (cut, "disconnect"),
        (broken, "reset"),
        (silent, "timeout_first_chunk"),
        (stalled, "timeout_idle"),
        (garbage, "protocol"),
    ],
)
async def test_whatever_a_server_does(listen: Any, write: Write, error: str | None) -> None:
    spec = TargetSpec("t", DIALECT, Endpoint(await listen(write), timeouts=SHORT), setup=())
    record = await both(spec)
    assert record.error == error
    if error is None:
        assert record.text == "Grüße"
        assert record.terminal_event
        assert record.stamps == "kernel"


async def test_an_address_waits_for_no_resolver(listen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """gevent's is a thread that a busy process lets wait."""
    url = await listen(whole)
    looked_up: list[str] = []

    def look_up(host: str, *arguments: Any, **options: Any) -> Any:
        looked_up.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", int(url.rpartition(":")[2][:-4])))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    for at in (url, url.replace("127.0.0.1", "some.example")):
        spec = TargetSpec("t", DIALECT, Endpoint(at), setup=())
        user = BlockingHttpUser(spec, {})
        record, recorder = begin(spec)
        await asyncio.to_thread(user.stream, "hi", recorder)
        user.close()
        assert record.text == "Grüße"
    assert looked_up == ["some.example"]


async def test_a_connection_is_kept_for_the_next_prompt(listen: Any) -> None:
    spec = TargetSpec("t", DIALECT, Endpoint(await listen(whole)), setup=())
    assert (await both(spec, times=3)).reused_connection


async def test_a_connection_that_the_server_has_closed_is_opened_anew(listen: Any) -> None:
    async def once(writer: asyncio.StreamWriter) -> None:
        writer.write(TYPED + b"Connection: close\r\n\r\n" + BODY)
        writer.close()

    spec = TargetSpec("t", DIALECT, Endpoint(await listen(once)), setup=())
    record = await both(spec, times=2)
    assert record.outcome is Outcome.COMPLETED
    assert not record.reused_connection


async def test_a_request_that_a_kept_connection_left_unanswered_is_sent_again(listen: Any) -> None:
    asked: list[asyncio.StreamWriter] = []

    async def forgetful(writer: asyncio.StreamWriter) -> None:
        asked.append(writer)
        if asked.count(writer) == 2:
            writer.close()
        else:
            await whole(writer)

    spec = TargetSpec("t", DIALECT, Endpoint(await listen(forgetful)), setup=())
    record = await both(spec, times=2)
    assert (record.text, record.resent, record.reused_connection) == ("Grüße", 1, False)
    assert len(asked) == 6


async def test_tls_and_a_tunnel(listen: Any, certificate: Any, tunnel_proxy: Any) -> None:
    url = (await listen(whole, certificate.server)).replace("127.0.0.1", "localhost")
    endpoint = Endpoint(url, tls_verify=certificate.path, proxy=tunnel_proxy.url)
    assert (await both(TargetSpec("t", DIALECT, endpoint, setup=()))).text == "Grüße"
    assert len(tunnel_proxy.asked) == 2
    wary = Endpoint(url)
    assert (await both(TargetSpec("t", DIALECT, wary, setup=()))).error == "tls"


async def test_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/api"
        assert (await both(TargetSpec("t", DIALECT, Endpoint(url), setup=()))).error == "connect"


async def test_a_stream_that_is_ended_from_outside_is_censored(listen: Any) -> None:
    class Killed(BaseException):
        pass

    class Killable(Recorder):
        """Raises when the first content has come, as a killed greenlet would in its wait."""

        def messages(self, messages: Any, at_ns: int) -> None:
            super().messages(messages, at_ns)
            raise Killed

    spec = TargetSpec("t", DIALECT, Endpoint(await listen(stalled), timeouts=SHORT), setup=())
    record = StreamRecord("s", "t", DIALECT.name, 0, 0)
    user = BlockingHttpUser(spec, {})
    with pytest.raises(Killed):
        await asyncio.to_thread(user.stream, "hi", Killable(record, DIALECT, keep_text=True))
    assert record.outcome is Outcome.CENSORED


async def test_a_setup_gives_what_it_captured(start_mock: Callable[..., Any]) -> None:
    chat = start_mock().chat
    dialect = load_dialect("thread-events")
    headers = (("Authorization", "Bearer alice-token"),)
    spec = TargetSpec("t", dialect, Endpoint(chat, headers=headers))
    user = BlockingHttpUser(spec, {})
    await asyncio.to_thread(user.prepare)
    record, recorder = begin(spec)
    await asyncio.to_thread(user.stream, "hi", recorder)
    user.close()
    assert record.outcome is Outcome.COMPLETED, record.error_message
    stranger = BlockingHttpUser(TargetSpec("t", dialect, Endpoint(chat)), {})
    with pytest.raises(SetupError, match="401"):
        await asyncio.to_thread(stranger.prepare)
