"""Long work in turns: order, and how much one turn brings, whatever the server has sent."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from streambench.endings import Ending
from streambench.transport.aio import backlog
from streambench.transport.aio.backlog import Deliver, Line, backlog_of
from streambench.transport.aio.http_client import RequestConnection
from streambench.transport.aio.polling import PollingTransport
from streambench.transport.aio.turns import FRAMED_BYTES, in_turns, short
from streambench.transport.aio.websocket import WebSocketTransport
from streambench.transport.arrivals import Arrival, Data, Ended, Read
from streambench.transport.requests import Request
from streambench.transport.target import Endpoint, locate
from streambench.transport.websocket import WebSocketConnection
from streambench.wire.limits import WireLimits
from streambench.wire.portions import MOST

UPGRADE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
POLL = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Kept:
    """What was delivered of a line, in order."""

    def __init__(self) -> None:
        self.line: Line = backlog_of(asyncio.get_running_loop()).line()
        self.came: list[object] = []

    def first(self, deliver: Deliver, data: bytes, at_ns: int, kernel: bool, early_ns: int) -> None:
        self.line.add_first(deliver, data, at_ns, kernel, early_ns)

    def steps(self, name: str, count: int) -> Iterator[None]:
        for number in range(count):
            if number:
                yield
            self.came.append(f"{name}{number}")


async def test_each_step_has_a_turn_before_what_was_read_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "TURN_NS", 0)  # a turn is one step
    kept: Any = Kept()
    kept.line.add(lambda *_: in_turns(kept, kept.steps("a", 3)), b"", 0, False)
    kept.line.add(lambda *_: kept.came.append("read"), b"", 0, False)
    other = backlog_of(asyncio.get_running_loop()).line()
    for number in range(2):
        other.add(lambda *_, number=number: kept.came.append(number), b"", 0, False)
    async with asyncio.timeout(60):
        while len(kept.came) < 6:
            await asyncio.sleep(0)
    assert kept.came == ["a0", 0, "a1", 1, "a2", "read"]


async def test_a_decision_finds_all_steps_taken() -> None:
    kept: Any = Kept()
    kept.line.add(lambda *_: in_turns(kept, kept.steps("a", 100)), b"", 0, False)
    kept.line.settle()
    assert len(kept.came) == 100


def test_arrivals_come_in_lists_that_are_short() -> None:
    arrivals: list[Arrival] = [Read(1, 1, True)]
    arrivals += [Data(1, "x" * size, 0) for size in (1, 10, 1 << 20, *[1] * 200, 300, 70_000)]
    arrivals.append(Ended(1, Ending.FIN))
    lists = list(short(arrivals))
    assert [arrival for some in lists for arrival in some] == arrivals
    assert max(map(len, lists)) <= MOST // 2
    assert all(len(arrival.data) < 1 << 14 for some in lists for arrival in some[:-1] if isinstance(arrival, Data))
    assert list(short([])) == []


async def met(sent: bytes, talk: Any) -> list[Sequence[Arrival]]:
    """What a transport gives its sink of each turn, when a server answers its first bytes with `sent`."""
    lists: list[Sequence[Arrival]] = []
    server = socket.create_server(("127.0.0.1", 0))
    server.setblocking(False)
    loop = asyncio.get_running_loop()

    async def answer() -> None:
        peer, _ = await loop.sock_accept(server)
        with peer:
            request = await loop.sock_recv(peer, 1 << 16)
            await loop.sock_sendall(peer, answer_to(request) + sent)

    answering = asyncio.create_task(answer())
    async with asyncio.timeout(60):
        await talk(f"127.0.0.1:{server.getsockname()[1]}", lists.append)
        await answering
        while not any(isinstance(arrival, Ended) for some in lists for arrival in some):
            await asyncio.sleep(0.001)
    server.close()
    return lists


def answer_to(request: bytes) -> bytes:
    if b"Sec-WebSocket-Key" not in request:
        return b""
    from websockets.utils import accept_key

    (key,) = (line.split(b": ")[1] for line in request.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key"))
    return UPGRADE + accept_key(key.decode()).encode() + b"\r\n\r\n"


async def test_a_read_full_of_messages_is_told_in_turns() -> None:
    async def talk(host: str, sink: Any) -> None:
        endpoint = Endpoint(f"ws://{host}/")
        await WebSocketTransport(endpoint, sink).connect(locate(endpoint.url), (), {})

    lists = await met(b"\x81\x01x" * 5000, talk)
    assert sum(isinstance(arrival, Data) for some in lists for arrival in some) == 5000
    assert max(map(len, lists)) <= MOST // 2


async def test_a_long_read_of_tiny_frames_is_framed_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that the library reads: a read may be a hundred times as long as a turn should."""
    sizes: list[int] = []
    receive = WebSocketConnection.receive

    def noted(self: WebSocketConnection, data: bytes, at_ns: int, **how: Any) -> list[Arrival]:
        sizes.append(len(data))
        return receive(self, data, at_ns, **how)

    monkeypatch.setattr(WebSocketConnection, "receive", noted)
    lists: list[Sequence[Arrival]] = []
    transport = WebSocketTransport(Endpoint("ws://h/"), lists.append)
    kept: Any = Kept()
    kept.write, kept.close, kept.unsent_bytes = (lambda _: None), (lambda: None), 0
    where = locate("ws://h/")
    socket = WebSocketConnection(where, (), WireLimits())
    transport._channel, transport._socket = kept, socket
    transport.received(answer_to(socket.upgrade({})), 1, kernel=True)
    transport.received(b"\x82\x01x" * 20_000, 2, kernel=True)
    assert sum(sizes) < 2 * FRAMED_BYTES
    kept.line.settle()
    assert max(sizes) == FRAMED_BYTES
    assert sum(isinstance(arrival, Data) for some in lists for arrival in some) == 20_000
    offsets = [arrival.offset for some in lists for arrival in some if isinstance(arrival, Data)]
    assert offsets == sorted(offsets)


async def test_a_poll_full_of_packets_is_told_in_turns() -> None:
    async def talk(host: str, sink: Any) -> None:
        endpoint = Endpoint(f"http://{host}/")
        where = locate(endpoint.url)
        polling = PollingTransport(endpoint, lambda: where, (), {}, sink)
        assert isinstance(polling._gets, RequestConnection)
        await polling._gets.ask(where, Request("GET", ()))
        sink([Ended(0, Ending.FIN)])

    packets = b"4a\x1e" * 5000 + b"4b"
    lists = await met(POLL + b"%x\r\n" % len(packets) + packets + b"\r\n0\r\n\r\n", talk)
    assert sum(isinstance(arrival, Data) for some in lists for arrival in some) == 5001
    assert max(map(len, lists)) <= 2 * MOST
