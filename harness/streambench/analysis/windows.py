"""Distinguishes text that waits for later writes of the upstream from text that is merely slow.

A filter that has to see what follows keeps a sliding window: each text leaves when the n-th write after it has come.
On an even rhythm that looks like a slow path. But a path knows nothing of later writes: its delay does not grow in the
upstream's pauses, and it is as long for the last texts, which a window lets out together when the upstream ends.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from streambench.units import NS_PER_MS

SURE = 5.0  # natural logarithm of how much more likely one explanation is than the other
ERROR_NS = NS_PER_MS  # what two stamps of one moment may be apart
WAITING_SHARE = 0.25  # of the writes: with fewer that arrive after the next one, there is nothing to explain
MAX_EARLY = 0.1  # of the texts: who lets them out before what they are said to wait for does not wait for it
MOST_WRITES = 64
MIN_MOMENTS = 4


@dataclass(frozen=True, slots=True)
class Moment:
    """What the upstream wrote at one moment: how much of the text was out then, and when the client had it all."""

    written_ns: int
    offset: int
    arrived_ns: int


@dataclass(frozen=True, slots=True)
class Window:
    """What explains best why text is late.

    `writes` is for how many later writes it waits, and `path_ns` what it takes on top of that. `score` compares the
    best window with a mere path: the logarithm of the likelihoods' ratio, above 0 for the window; None where no window
    is possible.
    """

    writes: int = 0
    path_ns: float = 0.0
    score: float | None = None

    @property
    def sure(self) -> bool:
        """Text waits for later writes, and no path does that."""
        return self.score is not None and self.score >= SURE

    @property
    def open(self) -> bool:
        """The rhythm fits both."""
        return self.score is not None and abs(self.score) < SURE


NO_WINDOW = Window()


def moments(writes: Sequence[tuple[int, int, int | None]], burst_ns: int) -> list[Moment]:
    """The writes (when, how many characters, when they had arrived), those of one burst as one, up to the first that
    never arrived.
    """
    out: list[Moment] = []
    offset, previous_ns = 0, 0
    for written_ns, size, arrived_ns in writes:
        if arrived_ns is None:
            break
        offset += size
        if out and written_ns - previous_ns <= burst_ns:
            out[-1] = Moment(written_ns, offset, max(arrived_ns, out[-1].arrived_ns))
        else:
            out.append(Moment(written_ns, offset, arrived_ns))
        previous_ns = written_ns
    return out


def find_window(found: Sequence[Moment], late_ns: float = 0.0) -> Window:
    """The window that explains best when the texts arrived. `late_ns`: how late the upstream wrote against its own
    schedule; on a machine that does this, delays that differ by as much say nothing.
    """
    count = len(found)
    written = [moment.written_ns for moment in found]
    # How many writes there were when a text arrived, beyond its own.
    later = [bisect_right(written, moment.arrived_ns + ERROR_NS) - place - 1 for place, moment in enumerate(found)]
    if count < MIN_MOMENTS or sum(number > 0 for number in later) < WAITING_SHARE * count:
        return NO_WINDOW
    of_path = [moment.arrived_ns - moment.written_ns for moment in found]
    possible: list[tuple[list[int], list[int]]] = []
    for releases in _candidates(found, later):
        rest = [moment.arrived_ns - written[release] for moment, release in zip(found, releases, strict=True)]
        if sum(ns < -ERROR_NS for ns in rest) <= MAX_EARLY * count:
            possible.append((releases, rest))
    if not possible:
        return NO_WINDOW
    spread_ns = max(ERROR_NS, late_ns, min(_spread(rest) for rest in (of_path, *(rest for _, rest in possible))))
    cost = _cost(of_path, spread_ns)
    scores = [cost - _cost(rest, spread_ns) for _, rest in possible]
    best = max(range(len(scores)), key=scores.__getitem__)
    releases, rest = possible[best]
    waited = median([release - place for place, release in enumerate(releases[: max(1, count // 2)])])
    return Window(max(1, round(waited)), median(rest), scores[best])


def _candidates(found: Sequence[Moment], later: Sequence[int]) -> Iterator[list[int]]:
    """For each window that is possible, the place of the write that lets each text out: so many writes later, or so
    many characters. What is held at the end leaves with the last write.
    """
    last = len(found) - 1
    for writes in range(1, min(max(later), last // 2, MOST_WRITES) + 1):
        yield [min(place + writes, last) for place in range(last + 1)]
    offsets = [moment.offset for moment in found]
    ahead = sorted(
        offsets[place + number] - offsets[place]
        for place, number in enumerate(later)
        if number > 0 and place + number < last
    )
    for chars in {ahead[0], ahead[len(ahead) // 10], ahead[len(ahead) // 2]} if ahead else ():
        yield [min(bisect_left(offsets, offset + chars), last) for offset in offsets]


def _spread(rest: Sequence[int]) -> float:
    middle = median(rest)
    return float(median([abs(ns - middle) for ns in rest]))


def _cost(rest: Sequence[int], spread_ns: float) -> float:
    """How unlikely delays are that differ so much, as those on networks do: most a little, and a few very much."""
    middle = median(rest)
    return sum(math.log1p(((ns - middle) / spread_ns) ** 2) for ns in rest)
