"""Cutting what came: all of it, in order, and no portion too dear."""

from __future__ import annotations

import random

import pytest

from streambench.wire.portions import MOST, cost, portions


@pytest.mark.parametrize("seed", range(20))
def test_portions_are_the_whole_and_none_costs_more_than_a_turn(seed: int) -> None:
    chance = random.Random(seed)
    alphabet = chance.choice([b"\n", b"\r\n", b"a\n", b"a" * 50 + b"\n", b"a"])
    data = bytes(chance.choices(alphabet, k=chance.randrange(60_000)))
    cut = list(portions(data))
    assert b"".join(portion for portion, _ in cut) == data
    assert all(size == cost(portion) <= MOST for portion, size in cut)


def test_what_is_short_is_one_portion() -> None:
    event = b"data: {}\n\n"
    assert list(portions(event * 20)) == [(event * 20, 40)]
    assert list(portions(b"")) == [(b"", 0)]


def test_other_ends_of_units() -> None:
    packets = b"6\x1e" * 1000
    assert all(portion.count(b"\x1e") <= MOST for portion, _ in portions(packets, b"\x1e"))
    assert len(list(portions(packets))) == 1


@pytest.mark.parametrize("event", [b"data: {}\n\n", b"event: a\ndata: " + b"x" * 300 + b"\n\n", b'{"text": "a"}\n'])
def test_cuts_are_behind_events_where_there_are_any(event: bytes) -> None:
    assert len(list(portions(event * 500))) > 1
    assert all(portion.endswith(event) for portion, _ in portions(event * 500))
