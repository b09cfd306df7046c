"""What a reader lives through: waiting for text that has not come, and how the reply compares with an ideal one."""

from __future__ import annotations

from collections.abc import Sequence

from streambench.units import NS_PER_S

CHARS_A_WORD = 5.0
SECONDS_A_MINUTE = 60.0
IDEAL_FIRST_CONTENT_NS = NS_PER_S  # from here on the ideal reply is always ahead of the reader


def reading_speed(words_per_minute: float) -> float:
    """Characters a nanosecond of a reader; a word counts as five characters, as in typing tests."""
    return words_per_minute * CHARS_A_WORD / SECONDS_A_MINUTE / NS_PER_S


def reading_stall_ns(at_ns: Sequence[int], chars: Sequence[int], words_per_minute: float) -> int:
    """How long the reader waits, after the first text, for text that has not come.

    `at_ns` and `chars` are the arrivals with content, in order.
    """
    speed = reading_speed(words_per_minute)
    read_until = float(at_ns[0])
    stalled = 0.0
    for arrived, count in zip(at_ns, chars, strict=True):
        if arrived > read_until:
            stalled += arrived - read_until
            read_until = float(arrived)
        read_until += count / speed
    return round(stalled)


def finished_reading_ns(at_ns: Sequence[int], chars: Sequence[int], words_per_minute: float) -> int:
    """When the reader has read it all, who begins with the first text."""
    speed = reading_speed(words_per_minute)
    read_until = float(at_ns[0])
    for arrived, count in zip(at_ns, chars, strict=True):
        read_until = max(read_until, float(arrived)) + count / speed
    return round(read_until)


def quality_of_experience(asked_ns: int, at_ns: Sequence[int], chars: Sequence[int], words_per_minute: float) -> float:
    """Between 0 and 1: the area under the text read so far, against that of an ideal reply.

    After Andes (arXiv 2404.16283): the reader takes in text at a steady speed, as far as it is there; the ideal reply
    begins after a second and never lets the reader wait. Both areas end when the real reader has finished.
    """
    speed = reading_speed(words_per_minute)
    read_until = float(at_ns[0])
    middles: list[float] = []  # when half of each arrival has been read
    for arrived, count in zip(at_ns, chars, strict=True):
        begin = read_until if read_until > arrived else float(arrived)
        read_until = begin + count / speed
        middles.append((begin + read_until) / 2)
    end = read_until
    area = sum([count * (end - middle) for count, middle in zip(chars, middles, strict=True)])
    total = sum(chars)
    ideal_begin = asked_ns + IDEAL_FIRST_CONTENT_NS
    ideal_end = ideal_begin + total / speed
    if ideal_end >= end:  # no ideal reader would have finished earlier
        return 1.0
    ideal_area = total * (end - (ideal_begin + ideal_end) / 2)
    return min(1.0, max(0.0, area / ideal_area))
