"""Whatever characters a URL or a captured value holds, a server gets a request line that it can read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from streambench.dialects import load_dialect
from streambench.dialects.requests import read_setup_step
from streambench.drivers.blocking_user import BlockingHttpUser
from streambench.drivers.failures import SetupError
from streambench.drivers.target import TargetSpec
from streambench.drivers.users import open_session
from streambench.located import read_yaml
from streambench.record.model import Outcome
from streambench.transport.target import Endpoint

BODY = b'data: {"content": "a"}\n\ndata: {"done": true}\n\n'
WRITTEN = "/grüße und/./mehr?q=ü ö&sig=a%2Fb"
SENT = "/gr%C3%BC%C3%9Fe%20und/mehr?q=%C3%BC%20%C3%B6&sig=a%2Fb"


@dataclass
class Server:
    """Shows what it got: `lines` are the first lines of requests, `hosts` their Host headers."""

    port: int = 0
    captured: str = ""
    lines: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *headers = (await reader.readuntil(b"\r\n\r\n")).decode("ascii").split("\r\n")
        self.lines.append(first)
        named = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in headers)}
        self.hosts.append(named["host"])
        await reader.readexactly(int(named.get("content-length", 0)))
        if "setup" in first:
            body = json.dumps({"id": self.captured}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" + body)
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + BODY)
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    yield server
    listening.close()


async def test_the_url_of_a_target(server: Server, stream_of: Any) -> None:
    spec = TargetSpec("t", load_dialect("chat-stream"), Endpoint(f"http://127.0.0.1:{server.port}{WRITTEN}"), setup=())
    session = open_session(spec)
    assert (await stream_of(session, spec, "hi")).outcome is Outcome.COMPLETED
    await session.close()
    assert server.lines == [f"POST {SENT} HTTP/1.1"]
    assert server.hosts == [f"127.0.0.1:{server.port}"]


async def test_the_url_of_a_target_by_way_of_a_proxy(server: Server, stream_of: Any) -> None:
    endpoint = Endpoint(f"http://bücher.example{WRITTEN}", proxy=f"http://127.0.0.1:{server.port}")
    spec = TargetSpec("t", load_dialect("chat-stream"), endpoint, setup=())
    session = open_session(spec)
    assert (await stream_of(session, spec, "hi")).outcome is Outcome.COMPLETED
    await session.close()
    assert server.lines == [f"POST http://xn--bcher-kva.example{SENT} HTTP/1.1"]
    assert server.hosts == ["xn--bcher-kva.example"]


@pytest.mark.parametrize(("scheme", "dialect"), [("ws", "assistant-ws"), ("http", "room-chat")])
async def test_the_url_of_a_socket(server: Server, stream_of: Any, scheme: str, dialect: str) -> None:
    url = f"{scheme}://127.0.0.1:{server.port}/grüße und?q=ü"
    spec = TargetSpec("t", load_dialect(dialect), Endpoint(url), {}, setup=())
    session = open_session(spec, dict.fromkeys(spec.dialect.request.placeholders(), "x"))
    assert (await stream_of(session, spec, "hi")).outcome is Outcome.FAILED  # it is no such server
    await session.close()
    path, _, query = server.lines[0].split(" ")[1].partition("?")
    assert path.startswith("/gr%C3%BC%C3%9Fe%20und")
    assert "q=%C3%BC" in query


CAPTURING = """\
dialect: captured
version: 1
transport: sse
path: "/über/{id}/stream"
request: {json: {message: "{prompt}"}}
setup: [{path: /setup, capture: {id: id}}]
name: keys
events:
  content: {content: content}
  done: {}
grammar: content* done
"""


@pytest.mark.parametrize(
    ("captured", "sent"),
    [("a b", "a%20b"), ("../x?y=1#z", "..%2Fx%3Fy%3D1%23z"), ("😀%2e", "%F0%9F%98%80%252e"), ("…", "%E2%80%A6")],
)
async def test_a_captured_value_in_a_path(
    server: Server, stream_of: Any, dialect_file: Callable[[str], str], captured: str, sent: str
) -> None:
    server.captured = captured
    url = f"http://127.0.0.1:{server.port}/a b/"
    spec = TargetSpec("t", load_dialect(dialect_file(CAPTURING)), Endpoint(url))
    session = open_session(spec)
    await session.prepare()
    assert (await stream_of(session, spec, "hi")).outcome is Outcome.COMPLETED
    await session.close()
    assert [line.split(" ")[1] for line in server.lines] == ["/a%20b/setup", f"/a%20b/%C3%BCber/{sent}/stream"]


@pytest.mark.parametrize("captured", [".", ".."])
async def test_a_captured_step_of_a_path_is_a_failed_setup(
    server: Server, dialect_file: Callable[[str], str], captured: str
) -> None:
    server.captured = captured
    spec = TargetSpec("t", load_dialect(dialect_file(CAPTURING)), Endpoint(f"http://127.0.0.1:{server.port}/"))
    with pytest.raises(SetupError, match="step of a path"):
        await open_session(spec).prepare()
    with pytest.raises(SetupError, match="step of a path"):
        await asyncio.to_thread(BlockingHttpUser(spec, {}).prepare)


async def test_the_path_of_a_setup_step(server: Server) -> None:
    server.captured = "x"
    text = "{method: GET, path: '/setup/ü b?c=d e', capture: {id: id}}"
    step = read_setup_step(read_yaml(text, "setup"), "sse", ())
    endpoint = Endpoint(f"http://127.0.0.1:{server.port}/")
    spec = TargetSpec("t", load_dialect("chat-stream"), endpoint, setup=(step,))
    await open_session(spec).prepare()
    assert server.lines == ["GET /setup/%C3%BC%20b?c=d%20e HTTP/1.1"]
