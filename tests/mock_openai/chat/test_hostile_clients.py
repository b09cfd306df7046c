"""Clients that mean no good: they say half of what they began to say, or too much, and read nothing."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.frames import CloseCode

from mock_openai.chat.limits import MAX_BODY_BYTES

ROUTES = (
    "/api/chat/stream",
    "/api/projects/p/members",
    "/chat/threads",
    "/openai/chatCompletion",
    "/openai/chatCompletion/stream/start",
    "/api/conversation/alice",
    "/api/conversation-stream/alice",
)


@pytest.fixture(scope="module")
def process() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The chat server with its upstream, as a process of its own."""
    command = ["-m", "mock_openai", "--json", "--port", "0", "--chat-port", "0", "--profile", "instant"]
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        yield running, json.loads(running.stdout.readline())["chat"]
        running.kill()


def connected(url: str, data: bytes) -> socket.socket:
    host, _, port = url.removeprefix("http://").rpartition(":")
    raw = socket.create_connection((host, int(port)))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.sendall(data)
    return raw


def posted(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer alice-token\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


UPGRADE = (
    b"GET /ws/chat?project=p&token=alice-token HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
HALF = {
    "nothing": b"",
    "half a head": b"POST /api/chat/stream HTTP/1.1\r\nHost: loc",
    "half a body": posted("/api/chat/stream", b'{"message": "x"}')[:-5],
    "half a frame": UPGRADE + b"\x81\xfe\xff",
    "a reply that is not read": posted("/api/chat/stream", b'{"message": "Tell me a lot."}'),
    "a poll without an end": b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2,
}


def test_nobody_is_kept_waiting_by_clients_that_say_half_of_it(process: tuple[subprocess.Popen[str], str]) -> None:
    running, url = process
    with ExitStack() as connections:
        for data in HALF.values():
            for _ in range(40):
                connections.enter_context(connected(url, data))
        signed_in = {"authorization": "Bearer alice-token"}
        with httpx.stream(
            "POST", f"{url}/api/chat/stream", json={"message": "hi"}, headers=signed_in, timeout=20
        ) as reply:
            assert reply.status_code == 200
            assert "done" in list(reply.iter_lines())[-2]
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0


async def test_a_body_beyond_the_limit_is_refused_everywhere(serve: Callable[..., Awaitable[Any]]) -> None:
    servers = await serve()
    for path in ROUTES:
        for size in (MAX_BODY_BYTES + 1, 4 << 20):
            status, answer = await servers.call("POST", path, {"message": "x" * size})
            assert (path, status, "64 KiB" in str(answer)) == (path, 413, True)


async def test_a_message_beyond_the_limit_closes_the_socket(serve: Callable[..., Awaitable[Any]]) -> None:
    servers = await serve()
    url = servers.url.replace("http:", "ws:") + "/ws/chat?project=p&token=alice-token"
    async with connect(url, compression=None) as connection:
        await connection.send("x" * (MAX_BODY_BYTES + 1))
        async with asyncio.timeout(20):
            await connection.wait_closed()
    assert connection.close_code == CloseCode.MESSAGE_TOO_BIG


async def test_a_body_that_says_it_is_larger_is_not_waited_for(
    serve: Callable[..., Awaitable[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mock_openai.chat.limits.BODY_S", 0.1)
    servers = await serve()
    host, _, port = servers.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(posted("/api/chat/stream", b"{}").replace(b"Length: 2", b"Length: 200"))
    async with asyncio.timeout(20):
        head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    writer.close()
