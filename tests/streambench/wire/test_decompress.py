from __future__ import annotations

import tracemalloc
import zlib

import brotli  # type: ignore[import-untyped]
import pytest
import zstandard

from streambench.wire.decompress import MAX_STEPS, PIECE_BYTES, Decompressor
from streambench.wire.limits import OversizeError, WireError, WireLimits

TEXT = ("data: {}\n\n" * 300).encode()


def limits(max_bytes: int) -> WireLimits:
    return WireLimits(max_decompressed_bytes=max_bytes)


def read(decompressor: Decompressor, body: bytes, size: int | None = None) -> bytes:
    size = size or max(1, len(body))
    return b"".join(piece for i in range(0, len(body), size) for piece in decompressor.feed(body[i : i + size]))


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
        decompressor = Decompressor(header, limits(len(TEXT)))
        assert read(decompressor, body, size) == TEXT


def test_what_a_flush_has_made_readable_is_there_at_once() -> None:
    compressor = zlib.compressobj(wbits=31)
    decompressor = Decompressor("gzip", limits(1000))
    for event in (b"data: 1\n\n", b"data: 2\n\n"):
        assert read(decompressor, compressor.compress(event) + compressor.flush(zlib.Z_SYNC_FLUSH)) == event


@pytest.mark.parametrize("times", [1, 2])
def test_a_bomb_ends_at_the_limit_and_costs_no_more_memory(times: int) -> None:
    bomb = b"\0" * (16 << 20)
    for _ in range(times):
        bomb = compress(bomb, "gzip")
    decompressor = Decompressor(", ".join(["gzip"] * times), limits(1 << 20))
    tracemalloc.start()
    with pytest.raises(OversizeError):
        read(decompressor, bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 << 20


@pytest.mark.parametrize(
    ("header", "body"),
    [("gzip", b"not gzip"), ("deflate", b"\x08\x01\x02"), ("morse", b""), (", ".join(["gzip"] * (MAX_STEPS + 1)), b"")],
)
def test_what_cannot_be_undone_is_an_error(header: str, body: bytes) -> None:
    with pytest.raises(WireError):
        read(Decompressor(header, limits(1000)), body)


# The libraries of the extra


@pytest.mark.parametrize("name", ["br", "zstd"])
@pytest.mark.parametrize("size", [1, 3, 7, 10_000])
def test_what_the_extra_adds(name: str, size: int) -> None:
    body = brotli.compress(TEXT) if name == "br" else zstandard.compress(TEXT)
    decompressor = Decompressor(name, limits(len(TEXT)))
    assert read(decompressor, body, size) == TEXT


@pytest.mark.parametrize("size", [1, 5, 10_000])
def test_a_body_of_several_members_is_read_to_its_end(size: int) -> None:
    events = [b"data: %d\n\n" % i for i in range(5)]
    for name, body in (
        ("gzip", b"".join(compress(event, "gzip") for event in events) + b"\0" * 8),
        ("zstd", b"".join(zstandard.compress(event) for event in events)),
    ):
        decompressor = Decompressor(name, limits(1000))
        got = read(decompressor, body, size)
        assert got == b"".join(events), name


def test_a_flushed_event_of_the_extra_is_there_at_once() -> None:
    event = b"data: 1\n\n"
    compressor = brotli.Compressor()
    decompressor = Decompressor("br", limits(1000))
    for _ in range(2):
        assert read(decompressor, compressor.process(event) + compressor.flush()) == event
    frames = zstandard.ZstdCompressor().compressobj()
    decompressor = Decompressor("zstd", limits(1000))
    for _ in range(2):
        block = frames.compress(event) + frames.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        assert read(decompressor, block) == event


def test_a_bomb_of_brotli_ends_at_the_limit() -> None:
    bomb = brotli.compress(b"\0" * (1 << 25), quality=5)
    assert len(bomb) < 1000
    with pytest.raises(OversizeError):
        read(Decompressor("br", limits(1 << 20)), bomb)
    tracemalloc.start()
    with pytest.raises(OversizeError):
        read(Decompressor("br", limits(1 << 20)), bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 << 20


@pytest.mark.parametrize("size", [PIECE_BYTES - 1, PIECE_BYTES, 2 * PIECE_BYTES, 1_000_000, 5_000_003])
@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
def test_a_few_bytes_that_grow_a_lot_are_read_to_their_end_in_pieces(name: str, size: int) -> None:
    compressed = {"br": brotli.compress, "zstd": zstandard.compress}.get(name, lambda data: compress(data, name))
    text = b"a" * size + b"\n" + bytes(range(256)) * 3
    pieces = list(Decompressor(name, WireLimits(max_ratio=10**9)).feed(compressed(text)))
    assert b"".join(pieces) == text
    assert max(map(len, pieces)) <= (1 << 20 if name == "zstd" else 2 * PIECE_BYTES)


def test_what_is_not_of_the_extra_is_an_error() -> None:
    for name in ("br", "zstd"):
        with pytest.raises(WireError, match=name):
            read(Decompressor(name, limits(1000)), b"neither of them")
