"""Decoding in turns: the same record as in one go, and little work between two turns, whatever was sent."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import brotli  # type: ignore[import-untyped]
import pytest
import zstandard

from streambench.dialects import load_dialect
from streambench.endings import Ending
from streambench.record.decoding import ResponseDecoding
from streambench.record.model import StreamRecord
from streambench.record.recorder import Recorder
from streambench.transport.arrivals import Arrival, Data, Ended, Head, Read
from streambench.wire.limits import WireLimits
from streambench.wire.portions import MOST

EVENT = b'data: {"content":"a"}\n\n'
DONE = b'data: {"done":true}\n\n'
LIMITS = WireLimits(max_events_per_s=10**9, max_lines_per_s=10**9, max_ratio=10**9)
SEVERAL = 2 * MOST  # what a portion may go beyond: the one before was not quite full


def gzip(data: bytes) -> bytes:
    compress = zlib.compressobj(9, wbits=31)
    return compress.compress(data) + compress.flush()


ENCODINGS = {
    "": bytes,
    "gzip": gzip,
    "deflate": zlib.compress,
    "br": lambda data: brotli.compress(data, quality=5),
    "zstd": zstandard.compress,
}
BODIES = {
    "events": EVENT * 20_000 + DONE,
    "events without text": b"data:\n\n" * 5_000 + DONE,
    "broken events": b"data: {\n\n" * 5_000 + DONE,
    "comments": b":\n" * 100_000 + EVENT + DONE,
    "empty lines": b"\n" * 200_000 + EVENT + DONE,
    "carriage returns": b"\r" * 50_000 + EVENT + DONE,
    "one line": b"data: " + b"a" * 1_000_000 + b"\n\n" + DONE,
    "lines of one event": b"data: a\n" * 20_000 + b"\n" + DONE,
}


class Counting(ResponseDecoding):
    """Counts what it reads: a line, or a quarter of a kibibyte."""

    spent = 0

    def _piece(self, piece: bytes, at_ns: int) -> None:
        self.spent += piece.count(b"\n") + piece.count(b"\r") + (len(piece) >> 8)
        super()._piece(piece, at_ns)


def opened() -> Counting:
    dialect = load_dialect("chat-stream")
    return Counting(Recorder(StreamRecord("s", "t", dialect.name, 0, 0), dialect, keep_text=True), "sse", LIMITS)


def reads(body: bytes, encoding: str) -> Iterator[list[Arrival]]:
    body = ENCODINGS[encoding](body)
    headers = {"content-type": "text/event-stream"} | ({"content-encoding": encoding} if encoding else {})
    head: list[Arrival] = [Head(1, 200, headers)]
    for start in range(0, len(body), 1 << 16):
        data = body[start : start + (1 << 16)]
        yield [Read(start, len(data), True), *head, Data(start, data, start)]
        head = []
    yield [Ended(len(body), Ending.RESPONSE_END)]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("body", BODIES)
def test_a_turn_is_short_and_the_record_the_same(body: str, encoding: str) -> None:
    whole, turns = opened(), opened()
    for came in reads(BODIES[body], encoding):
        whole.take(came)
        before = turns.spent
        for _ in turns.turns(came):
            assert turns.spent - before <= SEVERAL
            before = turns.spent
        assert turns.spent - before <= SEVERAL
    assert turns.progress is whole.progress
    records = [decoding._recorder.record for decoding in (whole, turns)]
    assert records[0].to_json() == records[1].to_json()
    assert whole.spent > 1000


def test_the_usual_read_is_taken_at_once() -> None:
    decoding = opened()
    first, last = reads(EVENT + DONE, "")
    assert not decoding.is_long(first)
    assert opened().is_long(next(iter(reads(EVENT + DONE, "gzip")))), "a few bytes of it may be many"
    decoding.take(first)
    assert not decoding.is_long([Read(2, len(EVENT), True), Data(2, EVENT, 0)])
    assert not decoding.is_long(last)
    assert decoding.is_long([Read(2, 100, True), Data(2, EVENT * 100, 0)])


def test_what_is_left_when_a_stream_ends_is_dropped() -> None:
    decoding = opened()
    (first, *_) = reads(EVENT * 2_000, "")
    turns = decoding.turns(first)
    next(turns)
    decoding.take([Ended(5, Ending.CLIENT)])
    events = len(decoding._recorder.record.events)
    assert list(turns) == []
    assert len(decoding._recorder.record.events) == events
    assert list(decoding.turns(first)) == []
