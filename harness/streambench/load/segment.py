"""Which streams and users of a run belong to which worker: every nth, from the worker's own first one on.

Who has which does not depend on what happens. So the same scenario and seed send the same prompts at the same planned
moments, however many workers there are.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Segment:
    """The part number `index` of `of` equal ones; it has the numbers `index`, `index + of`, `index + 2 * of` …"""

    index: int = 0
    of: int = 1

    def has(self, number: int) -> bool:
        """Whether a number is one of its own."""
        return number % self.of == self.index

    def count(self, total: int, first: int = 0) -> int:
        """How many of its numbers are among the `total` ones from `first` on."""
        return len(range(first + (self.index - first) % self.of, first + total, self.of))


WHOLE = Segment()
