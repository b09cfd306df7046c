"""The one definition of a quantile, without numpy: for figures, gates, the live display and the generator's own checks.

The q-quantile is the smallest observed value that at least the share q of all values does not exceed (the inverse of
the empirical distribution): a value that really occurred, never one between two others.
"""

from __future__ import annotations

import math
from typing import Protocol


class _Ascending(Protocol):
    """A list, an array of Python's or of numpy's."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> float: ...


def quantile(ascending: _Ascending, q: float) -> float:
    """The q-quantile of at least one value; the values are in ascending order, q lies between 0 and 1."""
    return float(ascending[quantile_index(len(ascending), q)])


def quantile_index(n: int, q: float) -> int:
    """Where the q-quantile stands among `n` values in ascending order, from 0."""
    # The tolerance keeps 0.95 * 20 from becoming 19.000000000000004 and with it the 20th value.
    return min(n - 1, max(0, math.ceil(q * n - 1e-9) - 1))
