"""Reads that look alike wait for each other: in order, not for long, and never more than fits."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from streambench.transport.aio import backlog as module
from streambench.transport.aio.backlog import Line, backlog_of
from streambench.transport.arrivals import Reads

USUAL = (b"<begin>", b"<end>")


def read(text: bytes) -> bytes:
    return b"12\r\n<begin>" + text + b"<end>\r\n"


@dataclass
class Taker:
    """What was delivered, in order: bytes for a read that came alone, a list for several."""

    willing: bool = True
    came: list[bytes | list[bytes]] = field(default_factory=list)
    stamps: list[int] = field(default_factory=list)

    def alone(self, data: bytes, at_ns: int, flag: bool, early_ns: int) -> None:
        self.came.append(data)
        self.stamps.append(at_ns)

    def together(self, reads: Reads) -> bool:
        if self.willing:
            self.came.append(list(reads.data))
            self.stamps += reads.at_ns
        return self.willing


@pytest.fixture
def taker() -> Taker:
    return Taker()


@pytest.fixture
async def waiting(taker: Taker, monkeypatch: pytest.MonkeyPatch) -> Line:
    """A line on which reads wait, until something else than time ends that."""
    monkeypatch.setattr(module, "GATHER_S", 3600)
    line = backlog_of(asyncio.get_running_loop()).line()
    line.gather(USUAL, taker.together)
    return line


async def delivered(taker: Taker, count: int) -> None:
    async with asyncio.timeout(60):
        while len(taker.stamps) < count:
            await asyncio.sleep(0)


async def test_what_looks_different_ends_the_waiting(waiting: Line, taker: Taker) -> None:
    for number in range(3):
        waiting.add_read(taker.alone, read(b"%d" % number), number, True, 0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert taker.came == []
    waiting.add_read(taker.alone, b"the end", 3, True, 0)
    await delivered(taker, 4)
    assert taker.came == [[read(b"0"), read(b"1"), read(b"2")], b"the end"]
    assert taker.stamps == [0, 1, 2, 3]
    assert waiting.waiting_bytes == 0


async def test_time_ends_the_waiting(taker: Taker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GATHER_S", 0.001)
    line = backlog_of(asyncio.get_running_loop()).line()
    line.gather(USUAL, taker.together)
    for number in range(2):
        line.add_read(taker.alone, read(b"x"), number, True, 0)
    await delivered(taker, 2)
    line.add_read(taker.alone, read(b"alone"), 2, True, 0)
    await delivered(taker, 3)
    assert taker.came[-1] == read(b"alone")


async def test_a_decision_does_not_wait(waiting: Line, taker: Taker) -> None:
    for number in range(2):
        waiting.add_read(taker.alone, read(b"x"), number, True, 0)
    waiting.settle()
    assert taker.came == [[read(b"x"), read(b"x")]]


async def test_who_does_not_want_them_together_gets_them_one_by_one(waiting: Line, taker: Taker) -> None:
    taker.willing = False
    for number in range(3):
        waiting.add_read(taker.alone, read(b"%d" % number), number, True, 0)
    waiting.add(taker.alone, b"last", 3, True)
    await delivered(taker, 4)
    assert taker.came == [read(b"0"), read(b"1"), read(b"2"), b"last"]
    assert waiting.waiting_bytes == 0


async def test_the_rest_of_a_read_comes_before_those_behind_it(waiting: Line, taker: Taker) -> None:
    taker.willing = False

    def in_two(data: bytes, at_ns: int, flag: bool, early_ns: int) -> None:
        taker.alone(data[:6], at_ns, flag, early_ns)
        waiting.add_first(taker.alone, data[6:], at_ns, flag)

    for number in range(2):
        waiting.add_read(in_two, read(b"%d" % number), number, True, 0)
    waiting.settle()
    assert b"".join(came for came in taker.came if isinstance(came, bytes)) == read(b"0") + read(b"1")
    assert taker.stamps == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("data", "early_ns"),
    [
        (b"<begin>x", 0),
        (b"x<end>", 0),
        (b"y" * 17 + b"<begin><end>", 0),
        (b"<begin><end>" + b"y" * 5, 0),
        (read(b"one") + read(b"two"), 0),
        (read(b"late"), 1),
    ],
)
async def test_what_does_not_wait(waiting: Line, taker: Taker, data: bytes, early_ns: int) -> None:
    waiting.add_read(taker.alone, data, 0, True, early_ns)
    await delivered(taker, 1)
    assert taker.came == [data]


async def test_reads_that_different_clocks_stamped_are_kept_apart(waiting: Line, taker: Taker) -> None:
    for number, kernel in enumerate((True, True, False, False)):
        waiting.add_read(taker.alone, read(b"x"), number, kernel, 0)
    await delivered(taker, 2)  # nothing can join them any more
    waiting.settle()
    assert list(map(len, taker.came)) == [2, 2]


async def test_not_too_many_wait(waiting: Line, taker: Taker) -> None:
    for number in range(module.MAX_GATHERED):
        waiting.add_read(taker.alone, read(b"x"), number, True, 0)
    await delivered(taker, module.MAX_GATHERED)
    assert list(map(len, taker.came)) == [module.MAX_GATHERED]


async def test_not_too_much_waits(waiting: Line, taker: Taker) -> None:
    """A line may be full in a crowd from `FAIR_LINE_BYTES` on, and nothing is read then that could end the waiting."""
    long = 200 * b"b"
    waiting.gather((long, long), taker.together)
    number = 0
    while waiting.waiting_bytes <= module.FAIR_LINE_BYTES:
        waiting.add_read(taker.alone, long + b"%d" % number + long, number, True, 0)
        number += 1
    await delivered(taker, number)
    assert waiting.waiting_bytes == 0


async def test_those_who_are_behind_gather_too(waiting: Line, taker: Taker) -> None:
    """What waits for its turn is not delivered one by one because of that."""
    waiting.add_read(taker.alone, b"first", 0, True, 0)
    for number in range(1, 4):
        waiting.add_read(taker.alone, read(b"x"), number, True, 0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert taker.came == [b"first"]
    waiting.add_read(taker.alone, read(b"x"), 4, True, 0)
    waiting.settle()
    assert list(map(len, taker.came)) == [5, 4]
