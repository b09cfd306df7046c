"""HTTP/1.1: a chunk that is a read of its own means the same as to the parser, which does not see it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

import pytest

from streambench.transport import http1
from streambench.transport.arrivals import Data
from streambench.transport.http1 import Http1Connection, whole_chunk
from streambench.transport.requests import Request
from streambench.transport.target import Endpoint, locate
from streambench.wire.limits import WireLimits

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"


def arrivals(reads: Sequence[bytes], limits: WireLimits) -> list[Any]:
    """What a connection tells of a response that comes in such reads."""
    endpoint = Endpoint("http://localhost/", limits=limits)
    connection = Http1Connection(endpoint)
    connection.request(locate(endpoint.url, ""), Request("POST", (), b"{}"), {})
    told = [connection.receive(data, at_ns, kernel=True) for at_ns, data in enumerate(reads)]
    told.append(connection.closed(len(reads), reset=False))
    return [(type(one).__name__, asdict(one) if is_dataclass(one) else one) for some in told for one in some] + [
        connection.usable
    ]


def both(monkeypatch: pytest.MonkeyPatch, reads: Sequence[bytes], limits: WireLimits | None = None) -> int:
    """Compares the two ways; how many chunks the parser did not see."""
    seen = 0

    def counted(data: bytes) -> bytes | None:
        nonlocal seen
        body = whole_chunk(data)
        seen += body is not None
        return body

    limits = limits or WireLimits()
    with monkeypatch.context() as patched:
        patched.setattr(http1, "whole_chunk", counted)
        ours = arrivals(reads, limits)
        patched.setattr(http1, "whole_chunk", lambda data: None)
        assert ours == arrivals(reads, limits)
    return seen


def chunk(body: bytes, form: str = "%x\r\n") -> bytes:
    return (form % len(body)).encode() + body + b"\r\n"


END = b"0\r\n\r\n"
FORMS = ["%x\r\n", "%x\r\n", "%x\r\n", "%X\r\n", "0%x\r\n", "%x;a=b\r\n", "%x \r\n", "+%x\r\n", "0x%x\r\n"]
BODIES = [b"a", b"\r\n", b"5\r\nhello\r\n", b"x" * 300, b"", b"data: 1\n\n", b"0\r\n\r\n", b"1\r\n"]


def test_chunks_that_come_alone_are_known_without_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = [HEAD + chunk(b"first"), chunk(b"second"), chunk(b"\r\n" * 40), chunk(b"last"), END]
    assert both(monkeypatch, reads) == 3


def test_every_split_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    body = chunk(b"one") + chunk(b"5\r\nhello\r\n") + chunk(b"\r\n") + chunk(b"two!") + END
    for first in range(len(body)):
        for second in range(first, len(body), 3):
            both(monkeypatch, [HEAD, *filter(None, (body[:first], body[first:second], body[second:]))])


def test_whatever_form_chunks_have_they_mean_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random("chunks")
    for _ in range(400):
        chunks = [chunk(rng.choice(BODIES), rng.choice(FORMS)) for _ in range(rng.randrange(1, 9))]
        chunks.append(rng.choice([END, b"0\r\nTrailer: x\r\n\r\n", b""]))
        reads = [HEAD]
        for one in chunks:
            place = rng.randrange(len(one)) if one and rng.random() < 0.3 else len(one)
            reads += [one[:place], one[place:]]
        joined = []
        for read in filter(None, reads):
            if joined and rng.random() < 0.2:
                joined[-1] += read
            else:
                joined.append(read)
        both(monkeypatch, joined)


def test_too_many_chunks_are_too_many_in_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = [HEAD, *[chunk(b"x") for _ in range(40)]]
    assert both(monkeypatch, reads, WireLimits(max_frames_per_s=2))


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b"5\r\nhello\r\n", b"hello"),
        (b"a\r\n0123456789\r\n", b"0123456789"),
        (b"A\r\n0123456789\r\n", None),
        (b"5\r\nhell\r\n", None),
        (b"5\r\nhello\r\n5\r\nhello\r\n", None),
        (b"5\r\nhello\n\n", None),
        (b"0\r\n\r\n", None),
        (b"\r\n\r\n", None),
        (b"", None),
    ],
)
def test_a_whole_chunk_is_one_and_whole(data: bytes, body: bytes | None) -> None:
    assert whole_chunk(data) == body


def test_the_offset_of_what_comes_after_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    told = arrivals([HEAD, chunk(b"abc"), chunk(b"de"), chunk(b"f") + chunk(b"g"), END], WireLimits())
    assert [one["offset"] for name, one in told[:-1] if name == Data.__name__] == [0, 3, 5]
