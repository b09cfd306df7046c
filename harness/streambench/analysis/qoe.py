"""The reader's experience: waiting for text, and how the reply compares with an ideal one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streambench.units import NS_PER_S

CHARS_A_WORD = 5.0
SECONDS_A_MINUTE = 60.0
IDEAL_FIRST_CONTENT_NS = NS_PER_S  # from here on the ideal reply is always ahead of the reader


def reading_speed(words_per_minute: float) -> float:
    """Characters a nanosecond of a reader; a word counts as five characters, as in typing tests."""
    return words_per_minute * CHARS_A_WORD / SECONDS_A_MINUTE / NS_PER_S


@dataclass(slots=True)
class Reading:
    """How a reader fares with a reply who begins with its first text and takes in what is there at a steady speed.

    `stalled_ns` is the time spent waiting for text that has not come, `finished_ns` when all of it is read, `middles`
    when half of each arrival has been read.
    """

    stalled_ns: float
    finished_ns: float
    middles: list[float]


def read(at_ns: Sequence[int], chars: Sequence[int], words_per_minute: float) -> Reading:
    """Let a reader read. `at_ns` and `chars` are the arrivals with content, in order; at least one."""
    speed = reading_speed(words_per_minute)
    read_until = float(at_ns[0])
    stalled = 0.0
    middles: list[float] = []
    for arrived, count in zip(at_ns, chars, strict=True):
        if arrived > read_until:
            stalled += arrived - read_until
            read_until = float(arrived)
        begin = read_until
        read_until += count / speed
        middles.append((begin + read_until) / 2)
    return Reading(stalled, read_until, middles)


def quality_of_experience(asked_ns: int, reading: Reading, chars: Sequence[int], words_per_minute: float) -> float:
    """Between 0 and 1: the area under the text read so far, against that of an ideal reply.

    After Andes (arXiv 2404.16283): the reader takes in text at a steady speed, as far as it is there; the ideal reply
    begins after a second and never lets the reader wait. Both areas end when the real reader has finished.
    """
    end = reading.finished_ns
    total = sum(chars)
    ideal_begin = asked_ns + IDEAL_FIRST_CONTENT_NS
    ideal_end = ideal_begin + total / reading_speed(words_per_minute)
    if ideal_end >= end:  # no ideal reader would have finished earlier
        return 1.0
    area = sum([count * (end - middle) for count, middle in zip(chars, reading.middles, strict=True)])
    ideal_area = total * (end - (ideal_begin + ideal_end) / 2)
    return min(1.0, max(0.0, area / ideal_area))
