"""The generator's own share in a distribution: how far its quantiles may be off because of us.

Each value may really have been a little smaller or larger. Every quantile is then somewhere between that of the values
all at their smallest and that of the values all at their largest: a bound, without an assumption.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]


class Shares:
    """The values that may be off, out of a distribution's, and by how much: `minus` downwards, `plus` upwards.

    `worst` is the largest share of a single value. All in the metric's unit.
    """

    def __init__(self, values: Floats, minus: Floats, plus: Floats) -> None:
        import numpy as np

        self._values = np.sort(values)
        self._lowest = np.sort(values - minus)
        self._highest = np.sort(values + plus)
        self.worst = float(max(minus.max(), plus.max()))
        self._sums = float(minus.sum()), float(plus.sum())

    def bounds(self, values: Floats, index: int) -> tuple[float, float]:
        """Between what the value at `index` of all `values`, which ascend, really lies."""
        return self._kth(values, self._lowest, index), self._kth(values, self._highest, index)

    def mean_bounds(self, values: Floats) -> tuple[float, float]:
        """Between what the mean of all values really lies."""
        mean, (minus, plus) = float(values.mean()), self._sums
        return mean - minus / len(values), mean + plus / len(values)

    def _kth(self, values: Floats, instead: Floats, index: int) -> float:
        """The value at `index`, were the values that may be off replaced by others."""

        def not_above(limit: float) -> int:
            count = values.searchsorted(limit, "right") - self._values.searchsorted(limit, "right")
            return int(count + instead.searchsorted(limit, "right"))

        found = float("inf")
        for candidates in (values, instead):
            low, high = 0, len(candidates)
            while low < high:
                middle = (low + high) // 2
                if not_above(candidates[middle]) > index:
                    high = middle
                else:
                    low = middle + 1
            if low < len(candidates):
                found = min(found, float(candidates[low]))
        return found
