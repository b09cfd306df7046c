"""TLS and tunnels: with a certificate made for the test, and with servers that get them wrong."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from streambench.dialects import load_dialect
from streambench.drivers.target import TargetSpec
from streambench.drivers.users import open_session
from streambench.endings import Ending, ErrorClass
from streambench.record.model import Outcome, StreamRecord
from streambench.transport.aio.connection import StampedConnection
from streambench.transport.aio.tls import TlsChannel
from streambench.transport.target import Endpoint, Timeouts
from streambench.transport.tls import tls_context

MS = 1_000_000
DIALECT = load_dialect("chat-stream")
BODY = 'data: {"content": "Grüße"}\n\ndata: {"done": true}\n\n'.encode()
HEAD = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(HEAD)
            for i in range(len(BODY)):  # a TLS record for each byte
                writer.write(BODY[i : i + 1])


@pytest.fixture
async def listen() -> AsyncIterator[Callable[..., Any]]:
    """`await listen(serve, context, host)`: the URL of a server."""
    servers: list[asyncio.Server] = []

    async def start(serve: Serve, context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> str:
        server = await asyncio.start_server(serve, host, 0, ssl=context)
        servers.append(server)
        return f"https://{host}:{server.sockets[0].getsockname()[1]}/api"

    yield start
    for server in servers:
        server.close()


@pytest.fixture
async def ask(stream_of: Any) -> AsyncIterator[Callable[..., Any]]:
    """`await ask(url, ...)`: the record of one stream of a new user."""
    sessions: list[Any] = []

    async def one(url: str, times: int = 1, **changes: Any) -> StreamRecord:
        spec = TargetSpec("t", DIALECT, Endpoint(url, **changes), setup=())
        sessions.append(open_session(spec, {}))
        for _ in range(times):
            record = await stream_of(sessions[-1], spec, "hi")
        assert isinstance(record, StreamRecord)
        return record

    yield one
    for session in sessions:
        await session.close()


def server_context(certificate: Any) -> ssl.SSLContext:
    """A context of its own with the test's certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.path, certificate.path.replace("cert.pem", "key.pem"))
    return context


def assert_whole(record: StreamRecord) -> None:
    assert (record.outcome, record.error_message, record.text) == (Outcome.COMPLETED, None, "Grüße")
    assert record.violations == []


@pytest.mark.parametrize("verified", [True, False])
async def test_a_stream_over_tls(listen: Any, ask: Any, certificate: Any, verified: bool) -> None:
    url = await listen(answering, certificate.server)
    record = await ask(url, tls_verify=certificate.path if verified else False)
    assert_whole(record)
    assert record.connected_ns is not None
    assert record.sent_ns is not None
    assert record.connected_ns <= record.sent_ns <= record.events.at_ns[0]


async def test_kernel_stamps_pass_through_tls(listen: Any, ask: Any, certificate: Any) -> None:
    url = await listen(answering, certificate.server)
    with socket.create_server(("127.0.0.1", 0)) as plain:
        expected = "kernel" if await asyncio.to_thread(_has_kernel_stamps, plain) else "user"
    # The kernel begins to stamp with a delay when the first socket asks for it.
    stamped = [(await ask(url, tls_verify=certificate.path)).stamps]
    while stamped[-1] != expected and len(stamped) < 50:
        stamped.append((await ask(url, tls_verify=certificate.path)).stamps)
    assert stamped[-1] == expected
    assert (await ask(url, tls_verify=certificate.path, stamps="user")).stamps == "user"


def _has_kernel_stamps(sock: socket.socket) -> bool:
    from streambench.transport.stamps import enable_kernel_stamps

    return enable_kernel_stamps(sock)


async def test_a_kept_connection_is_used_again(listen: Any, ask: Any, certificate: Any) -> None:
    url = await listen(answering, certificate.server)
    record = await ask(url, times=3, tls_verify=certificate.path)
    assert_whole(record)
    assert record.reused_connection


async def test_a_certificate_that_nobody_vouches_for(listen: Any, ask: Any, certificate: Any) -> None:
    record = await ask(await listen(answering, certificate.server))
    assert (record.error, record.ending) == (ErrorClass.TLS, Ending.NOT_CONNECTED)
    assert "self" in (record.error_message or "")  # self-signed


async def test_a_certificate_of_another_host(listen: Any, ask: Any, certificate: Any) -> None:
    url = await listen(answering, certificate.server, "127.0.0.2")
    record = await ask(url, tls_verify=certificate.path)
    assert (record.error, record.ending) == (ErrorClass.TLS, Ending.NOT_CONNECTED)
    assert "127.0.0.2" in (record.error_message or "")


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_a_ca_file_that_is_none(
    listen: Any, ask: Any, certificate: Any, tmp_path: Any, content: str | None
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    record = await ask(await listen(answering, certificate.server), tls_verify=str(path))
    assert record.outcome is Outcome.FAILED
    assert record.ending is Ending.NOT_CONNECTED


async def test_a_server_without_tls(listen: Any, ask: Any) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\nthis is the plain port")
        writer.close()

    record = await ask(await listen(plain), tls_verify=False)
    assert (record.error, record.ending) == (ErrorClass.TLS, Ending.NOT_CONNECTED)


async def test_a_server_that_leaves_in_the_handshake(listen: Any, ask: Any) -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 << 16)
        writer.close()

    record = await ask(await listen(leave), tls_verify=False)
    assert (record.outcome, record.ending) == (Outcome.FAILED, Ending.NOT_CONNECTED)
    assert record.error in (ErrorClass.CONNECT, ErrorClass.TLS)
    assert "handshake" in (record.error_message or "")


async def test_a_server_that_does_not_answer_the_handshake(listen: Any, ask: Any) -> None:
    gone = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        gone.set()

    record = await ask(await listen(silent), tls_verify=False, timeouts=Timeouts(connect_ns=50 * MS))
    assert (record.error, record.ending) == (ErrorClass.TIMEOUT_CONNECT, Ending.NOT_CONNECTED)
    await gone.wait()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_server_that_wants_a_certificate_of_the_client(
    listen: Any, ask: Any, certificate: Any, version: ssl.TLSVersion
) -> None:
    """With TLS 1.3 the client learns it after the handshake, when it has sent its request."""
    context = server_context(certificate)
    context.load_verify_locations(certificate.path)
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = context.maximum_version = version
    record = await ask(await listen(answering, context), tls_verify=certificate.path)
    assert record.outcome is Outcome.FAILED
    assert record.error in (ErrorClass.TLS, ErrorClass.RESET, ErrorClass.CONNECT, ErrorClass.DISCONNECT)


async def test_a_server_that_leaves_without_saying_goodbye(listen: Any, ask: Any, certificate: Any) -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + BODY[:30])
        await writer.drain()
        writer.transport.abort()  # no close_notify

    async def say_goodbye(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + BODY[:30])
        writer.close()

    for serve in (leave, say_goodbye):
        record = await ask(await listen(serve, certificate.server), tls_verify=certificate.path)
        assert record.outcome is Outcome.FAILED
        assert record.error in (ErrorClass.DISCONNECT, ErrorClass.RESET)
        assert record.text in ("Grüße", "")


async def test_the_protocol_that_the_server_chose(certificate: Any) -> None:
    context = server_context(certificate)
    context.set_alpn_protocols(["h2", "http/1.1"])
    server = await asyncio.start_server(answering, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]

    class Nobody:
        def received(self, data: bytes, at_ns: int, *, kernel: bool, early_ns: int) -> None: ...

        def closed(self, at_ns: int, *, reset: bool) -> None: ...

    for offered, chosen in ((("http/1.1",), "http/1.1"), (("h2", "http/1.1"), "h2"), (("other",), None)):
        connection = await StampedConnection.connect("127.0.0.1", port, Nobody(), "auto")
        channel = TlsChannel(connection, tls_context(certificate.path, offered), "127.0.0.1")
        await channel.handshake()
        assert channel.alpn == chosen
        channel.close()
        assert not connection.open
    server.close()


# Through a proxy


async def test_a_tunnel_carries_tls(listen: Any, ask: Any, certificate: Any, tunnel_proxy: Any) -> None:
    url = await listen(answering, certificate.server)
    proxy = tunnel_proxy.url.replace("http://", "http://ada:pw@")
    assert_whole(await ask(url, tls_verify=certificate.path, proxy=proxy))
    (asked,) = tunnel_proxy.asked
    authority = url.removeprefix("https://").removesuffix("/api")
    assert asked.startswith(f"CONNECT {authority} HTTP/1.1\r\n")
    assert f"Host: {authority}\r\n" in asked
    assert "Proxy-Authorization: Basic YWRhOnB3\r\n" in asked


async def test_a_tunnel_that_is_refused(ask: Any, tunnel_proxy: Any) -> None:
    record = await ask("https://refused.test/api", proxy=tunnel_proxy.url)
    assert (record.error, record.ending) == (ErrorClass.CONNECT, Ending.NOT_CONNECTED)
    assert "403 Forbidden" in (record.error_message or "")


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"y" * (1 << 20)])
async def test_a_proxy_that_makes_no_sense(listen: Any, ask: Any, answer: bytes) -> None:
    async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            writer.close()

    proxy = (await listen(odd)).replace("https://", "http://").removesuffix("/api")
    record = await ask("https://chat.test/api", proxy=proxy)
    assert (record.error, record.ending) == (ErrorClass.CONNECT, Ending.NOT_CONNECTED)
    assert "proxy" in (record.error_message or "")
