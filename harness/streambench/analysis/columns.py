"""What the analysis keeps of each stream of a target: one row of numbers.

A run may have a million streams. What is said of all of them needs a few numbers of each, in typed arrays; the few
streams that are shown one by one are read again from the records by their `place`.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from streambench.analysis.authenticity import AuthenticityColumns
from streambench.analysis.metrics import METRICS, Metric
from streambench.analysis.own_share import Share
from streambench.analysis.shares import Shares
from streambench.analysis.stream import AnalysedStream
from streambench.record.model import Outcome

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

OUTCOMES = {outcome: index for index, outcome in enumerate(Outcome)}
PER_CHUNK = tuple(name for name, metric in METRICS.items() if metric.per == "chunk")


class OwnColumn:
    """The generator's own share in some values of a metric: which value, and how far it may be off either way."""

    __slots__ = ("minus", "place", "plus")

    def __init__(self) -> None:
        self.place = array("q")
        self.minus = array("f")
        self.plus = array("f")

    def add(self, place: int, share: Share) -> None:
        """The share in the value at `place`."""
        self.place.append(place)
        self.minus.append(share.minus)
        self.plus.append(share.plus)

    def join(self, part: OwnColumn, after: int) -> None:
        """Add the shares in further values, which stand behind `after` others."""
        self.place.extend([after + place for place in part.place])
        self.minus += part.minus
        self.plus += part.plus

    def shares(self, values: Floats, counted: npt.NDArray[np.bool_] | None = None) -> Shares | None:
        """The shares in those `values` that are `counted`, or in all; None where there is none."""
        import numpy as np

        if not self.place:
            return None
        place = np.frombuffer(self.place, dtype=np.int64)
        minus, plus = (np.frombuffer(side, dtype=np.float32).astype(np.float64) for side in (self.minus, self.plus))
        if counted is not None:
            wanted = counted[place]
            place, minus, plus = place[wanted], minus[wanted], plus[wanted]
        return Shares(values[place], minus, plus) if len(place) else None


class ChunkColumn:
    """One metric of chunks: the values of all completed streams one after the other, and how many each stream has."""

    __slots__ = ("counts", "own", "values")

    def __init__(self) -> None:
        self.values = array("d")
        self.counts = array("q")
        self.own = OwnColumn()

    def add(self, values: Sequence[float], own: Sequence[tuple[int, Share]] = ()) -> None:
        """The values of the next stream, and the shares in some of them; none for a stream that is not completed."""
        for place, share in own:
            self.own.add(len(self.values) + place, share)
        self.values.extend(values)
        self.counts.append(len(values))

    def join(self, part: ChunkColumn) -> None:
        """Add the values of further streams."""
        self.own.join(part.own, len(self.values))
        self.values += part.values
        self.counts += part.counts

    def pooled(self, order: Integers) -> tuple[Floats, npt.NDArray[np.int32], int]:
        """The values, the number of the stream of each (streams in `order`, without those that have no value), and how
        many streams there are.
        """
        import numpy as np

        counts = np.frombuffer(self.counts, dtype=np.int64) if self.counts else np.empty(0, dtype=np.int64)
        in_order = order[counts[order] > 0]
        numbers = np.full(len(counts), -1, dtype=np.int32)
        numbers[in_order] = np.arange(len(in_order), dtype=np.int32)
        values = np.frombuffer(self.values, dtype=np.float64) if self.values else np.empty(0)
        return values, np.repeat(numbers, counts), len(in_order)


class StreamColumns:
    """The judged streams of a target, one row each, in the order in which they were added.

    `place` is that of the record in the run, `intended_ns` when the stream was due, `written_span_ns` how long the
    upstream wrote (NaN where its side is missing or nothing of it arrived). `figure` gives the metrics with one value a
    stream, of the `metrics` of the target. `authenticity` has a row for every completed stream.
    """

    def __init__(self, metrics: Mapping[str, Metric] = METRICS) -> None:
        self._per_stream = [name for name, metric in metrics.items() if metric.per == "stream"]
        self.place = array("q")
        self.intended_ns = array("q")
        self.outcome = array("b")
        self.written_span_ns = array("d")
        self._figures = array("d")  # row by row, a value for each metric of a stream
        self.chunks = {name: ChunkColumn() for name in PER_CHUNK}
        self._own: dict[str, OwnColumn] = {}
        self.authenticity = AuthenticityColumns()
        self._order: Integers | None = None

    def __len__(self) -> int:
        return len(self.place)

    def add(self, place: int, stream: AnalysedStream) -> None:
        """Keep what is needed of a stream."""
        record, alignment = stream.record, stream.alignment
        completed = record.outcome is Outcome.COMPLETED
        self.place.append(place)
        self.intended_ns.append(record.intended_ns)
        self.outcome.append(OUTCOMES[record.outcome])
        span_ns = math.nan
        if alignment is not None and alignment.reached_client:
            written = alignment.upstream.written_ns
            span_ns = written[-1] - written[0]
        self.written_span_ns.append(span_ns)
        figure = stream.figures.stream.get
        self._figures.extend([figure(name, math.nan) for name in self._per_stream])
        row = len(self.place) - 1
        for name, share in stream.figures.own.stream.items():
            if share.minus or share.plus:
                self._own.setdefault(name, OwnColumn()).add(row, share)
        given, own = (stream.figures.chunk, stream.figures.own.chunk) if completed else ({}, {})
        for name, chunks in self.chunks.items():
            chunks.add(given.get(name, ()), own.get(name, ()))
        if completed and stream.authenticity is not None:
            self.authenticity.add(stream.authenticity)

    def join(self, part: StreamColumns, after: int) -> None:
        """Add the rows of a part of the run that follows, whose records stand behind `after` others."""
        for name, own in part._own.items():
            self._own.setdefault(name, OwnColumn()).join(own, len(self))
        self.place.extend([after + place for place in part.place])
        self.intended_ns += part.intended_ns
        self.outcome += part.outcome
        self.written_span_ns += part.written_span_ns
        self._figures += part._figures
        for name, chunks in self.chunks.items():
            chunks.join(part.chunks[name])
        self.authenticity.join(part.authenticity)

    @property
    def order(self) -> Integers:
        """The rows in the order in which the streams were due."""
        import numpy as np

        if self._order is None or len(self._order) != len(self):
            self._order = np.argsort(np.array(self.intended_ns, dtype=np.int64), kind="stable")
        return self._order

    def rows(self, outcomes: Iterable[Outcome] | None = None) -> Integers:
        """The rows of the streams with one of these outcomes, or of all, in the order in which they were due."""
        import numpy as np

        if outcomes is None:
            return self.order
        wanted = [OUTCOMES[outcome] for outcome in outcomes]
        return self.order[np.isin(np.array(self.outcome)[self.order], wanted)]

    def figure(self, name: str) -> Floats:
        """A metric with one value a stream, by row, in its unit; NaN where a stream, or the target, has none."""
        import numpy as np

        if name not in self._per_stream:
            return np.full(len(self), np.nan)
        figures = np.array(self._figures, dtype=np.float64).reshape(-1, len(self._per_stream))
        return figures[:, self._per_stream.index(name)]

    def own_shares(self, name: str, rows: Integers) -> Shares | None:
        """The generator's share in a metric with one value a stream, of these rows; None where there is none."""
        import numpy as np

        if name not in self._own:
            return None
        values = self.figure(name)
        counted = np.zeros(len(self), dtype=np.bool_)
        counted[rows] = True
        counted &= ~np.isnan(values)
        return self._own[name].shares(values, counted)
