"""Plain requests, against what only a hostile server sends."""

from __future__ import annotations

import pytest

from streambench.endings import ErrorClass
from streambench.transport.aio.http_client import StatusOnly
from streambench.transport.http1 import Http1Connection
from streambench.transport.polling import Answer
from streambench.transport.requests import Request
from streambench.transport.target import Endpoint, locate
from streambench.wire.limits import WireLimits

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Asked:
    """A request that was sent, and what becomes of its answer."""

    def __init__(self) -> None:
        self._http = Http1Connection(Endpoint("http://h/"))
        self._answers = StatusOnly(WireLimits())
        self.answer: Answer = self._answers.begin()
        self._http.request(locate("http://h/"), Request(), {})

    def receive(self, data: bytes) -> None:
        for _ in self._answers.take(self._http.receive(data, 0, kernel=True)):
            pass


@pytest.mark.parametrize(
    "begin",
    [
        b"HTTP/1.1 200 OK\r\nX: ",
        b"HTTP/1.1 200 ",
        CHUNKED + b"5;extension=",
        CHUNKED + b"0\r\nX: ",
    ],
)
def test_a_line_without_end_is_too_large(begin: bytes) -> None:
    asked = Asked()
    read = 0
    asked.receive(begin)
    while asked.answer.failure is None and read < 1 << 20:
        asked.receive(b"x" * 4096)
        read += 4096
    assert read < 100_000
    assert asked.answer.failure is not None
    assert asked.answer.failure.error == ErrorClass.OVERSIZE


def test_a_long_body_is_no_line() -> None:
    asked = Asked()
    asked.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    for _ in range(10):
        asked.receive(b"x" * 100_000)
    assert asked.answer.complete
    assert asked.answer.failure is None
