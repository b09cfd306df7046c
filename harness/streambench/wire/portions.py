"""Cuts what came into portions that each take about as long to read, whatever is in them.

A kibibyte may hold one line, or a hundred events. Whoever reads live bytes takes a portion a turn, so that nobody else
waits for longer than that takes; the results do not depend on where the cuts are. What is cut within an event costs
several times as much to read, so the cuts are behind one where there is one.
"""

from __future__ import annotations

from collections.abc import Iterator

MOST = 64  # the cost of a portion; an event takes two lines, and some ten microseconds
BYTES_SHIFT = 8  # this power of two costs as much as a line


def cost(data: bytes | str, ends: bytes = b"\n\r") -> int:
    """What reading `data` costs, in lines; each byte of `ends` may end one."""
    size = len(data) >> BYTES_SHIFT
    if isinstance(data, str):
        return size
    for end in ends:
        size += data.count(end)
    return size


def portions(data: bytes, ends: bytes = b"\n\r") -> Iterator[tuple[bytes, int]]:
    """`data` in order, cut so that no portion costs more than `MOST`; each with what it does cost."""
    size = cost(data, ends)
    if size <= MOST:
        yield data, size
    else:
        at = _behind_an_event(data)
        yield from portions(data[:at], ends)
        yield from portions(data[at:], ends)


def _behind_an_event(data: bytes) -> int:
    """A place in the second quarter of `data`: behind a blank line, else behind a line, else at its end."""
    middle = len(data) // 2
    for end in (b"\n\n", b"\n"):
        found = data.rfind(end, middle // 2, middle)
        if found >= 0:
            return found + len(end)
    return middle
