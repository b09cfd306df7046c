"""Plain requests on a kept connection, against what only a hostile server sends."""

from __future__ import annotations

from typing import Any

import pytest

from streambench.dialects import load_dialect
from streambench.drivers.http_client import Exchange, IgnoredBody, RequestFailed
from streambench.drivers.target import TargetSpec
from streambench.endings import ErrorClass

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Wire:
    """A channel without a network."""

    layer: Any = None
    open = True
    unsent_bytes = 0

    def write(self, data: bytes) -> None: ...

    async def flushed(self) -> bool:
        return False

    def close(self) -> None:
        self.open = False


@pytest.mark.parametrize(
    "begin",
    [
        b"HTTP/1.1 200 OK\r\nX: ",
        b"HTTP/1.1 200 ",
        CHUNKED + b"5;extension=",
        CHUNKED + b"0\r\nX: ",
    ],
)
async def test_a_line_without_end_is_too_large(begin: bytes) -> None:
    wire = Wire()
    exchange = Exchange(wire, IgnoredBody(), TargetSpec("t", load_dialect("chat-stream"), "http://h/"))
    read = 0
    exchange.received(begin, 0, kernel=True)
    while wire.open and read < 1 << 20:
        exchange.received(b"x" * 4096, 0, kernel=True)
        read += 4096
    assert not wire.open
    assert read < 100_000
    with pytest.raises(RequestFailed) as caught:
        await exchange.finished
    assert caught.value.error == ErrorClass.OVERSIZE


async def test_a_long_body_is_no_line() -> None:
    exchange = Exchange(Wire(), IgnoredBody(), TargetSpec("t", load_dialect("chat-stream"), "http://h/"))
    exchange.received(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", 0, kernel=True)
    for _ in range(10):
        exchange.received(b"x" * 100_000, 0, kernel=True)
    assert (await exchange.finished).status == 200
