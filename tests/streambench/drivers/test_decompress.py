from __future__ import annotations

import tracemalloc
import zlib

import pytest

from streambench.drivers.decompress import MAX_STEPS, Decompressor
from streambench.wire.limits import OversizeError, WireError

TEXT = ("data: {}\n\n" * 300).encode()


def compress(data: bytes, encoding: str) -> bytes:
    bits = {"gzip": 31, "x-gzip": 31, "deflate": 15, "raw deflate": -15, "identity": None}[encoding]
    if bits is None:
        return data
    compressor = zlib.compressobj(9, wbits=bits)
    return compressor.compress(data) + compressor.flush()


@pytest.mark.parametrize(
    "applied", [["gzip"], ["x-gzip"], ["deflate"], ["raw deflate"], ["identity"], ["gzip", "deflate"]]
)
def test_bodies_are_the_same_however_they_are_split(applied: list[str]) -> None:
    body = TEXT
    for encoding in applied:
        body = compress(body, encoding)
    header = ", ".join(encoding.removeprefix("raw ").upper() for encoding in applied)
    for size in (1, 3, 7, len(body)):
        decompressor = Decompressor(header, len(TEXT))
        assert b"".join(decompressor.feed(body[i : i + size]) for i in range(0, len(body), size)) == TEXT


def test_what_a_flush_has_made_readable_is_there_at_once() -> None:
    compressor = zlib.compressobj(wbits=31)
    decompressor = Decompressor("gzip", 1000)
    for event in (b"data: 1\n\n", b"data: 2\n\n"):
        assert decompressor.feed(compressor.compress(event) + compressor.flush(zlib.Z_SYNC_FLUSH)) == event


@pytest.mark.parametrize("times", [1, 2])
def test_a_bomb_ends_at_the_limit_and_costs_no_more_memory(times: int) -> None:
    bomb = b"\0" * (16 << 20)
    for _ in range(times):
        bomb = compress(bomb, "gzip")
    decompressor = Decompressor(", ".join(["gzip"] * times), 1 << 20)
    tracemalloc.start()
    with pytest.raises(OversizeError):
        decompressor.feed(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 << 20


@pytest.mark.parametrize(
    ("header", "body"),
    [("gzip", b"not gzip"), ("deflate", b"\x08\x01\x02"), ("morse", b""), (", ".join(["gzip"] * (MAX_STEPS + 1)), b"")],
)
def test_what_cannot_be_undone_is_an_error(header: str, body: bytes) -> None:
    with pytest.raises(WireError):
        Decompressor(header, 1000).feed(body)
