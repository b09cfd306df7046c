"""Long work in short turns: a server that sends much at once keeps nobody else from being read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from streambench.transport.aio.connection import Channel
from streambench.transport.arrivals import Arrival, Data
from streambench.wire.portions import BYTES_SHIFT, MOST, cost

MESSAGE_COST = 2  # of any arrival, beside its size

FRAMED_BYTES = 1 << 12  # of frames that a library reads one by one, each of which may be two bytes long

_DONE = object()


def in_turns(channel: Channel, steps: Iterator[object]) -> None:
    """Take the first step now and each other one in a turn of its own, before whatever the channel has read since."""

    def step(*_: object) -> None:
        if next(steps, _DONE) is not _DONE:
            channel.first(step, b"", 0, False, 0)

    step()


def pieces(data: bytes) -> Iterator[bytes]:
    """`data` in order, so much at once that its frames are soon read."""
    for start in range(0, len(data), FRAMED_BYTES):
        yield data[start : start + FRAMED_BYTES]


def short(arrivals: Sequence[Arrival]) -> Iterator[Sequence[Arrival]]:
    """`arrivals` in order, so many at once that what they cost is that of a portion; a message is never cut."""
    sizes = [len(arrival.data) for arrival in arrivals if arrival.__class__ is Data]
    if arrivals and MESSAGE_COST * len(arrivals) + (sum(sizes) >> BYTES_SHIFT) <= MOST:
        yield arrivals
        return
    begin = spent = 0
    for index, arrival in enumerate(arrivals, 1):
        spent += MESSAGE_COST + (cost(arrival.data, b"") if isinstance(arrival, Data) else 0)
        if spent >= MOST or index == len(arrivals):
            yield arrivals[begin:index]
            begin, spent = index, 0
