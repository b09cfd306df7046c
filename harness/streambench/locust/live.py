"""The live figures of a run, computed from its records file while the file grows.

The same analysis as that of the final summary, stream by stream; what is kept of a stream are counts, so the memory
does not grow with the run. The load is computed nothing for: it writes records, and this reads them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from streambench.analysis.authenticity import AuthenticityColumns, judge
from streambench.analysis.metrics import METRICS, Settings, metrics_with
from streambench.analysis.milestones import PREFIX, spans
from streambench.analysis.stream import AnalysedStream, analyse
from streambench.analysis.verdicts import Authenticity
from streambench.dialects.milestone import Milestone
from streambench.findings import Severity
from streambench.locust.figures import FigureCounts
from streambench.record.model import CLIENT_LEFT, Outcome, StreamRecord
from streambench.units import NS_PER_MS, NS_PER_S

SERIES = ("ttfc", "gap", "e2e")  # shown over time
MAX_POINTS = 240  # of a series; then two neighbours become one
CURVE_POINTS = 80
PROOF_POINTS = 150
JUDGED_EACH_TIME = 10_000  # beyond so many streams, the verdict is renewed for every fiftieth part of them
MAX_RULES = 50
MAX_READ_BYTES = 8 << 20


@dataclass(slots=True)
class Moment:
    """A stretch of the run: what ended in it."""

    tallies: dict[str, FigureCounts] = field(
        default_factory=lambda: {name: FigureCounts(METRICS[name].unit) for name in SERIES}
    )
    streams: int = 0
    stalls: int = 0

    def add(self, other: Moment) -> None:
        """Make one stretch of two."""
        for name, tally in other.tallies.items():
            self.tallies[name].add(tally)
        self.streams += other.streams
        self.stalls += other.stalls


@dataclass(slots=True)
class Series:
    """The run in stretches of equal length, which doubles when there would be too many of them."""

    width_s: int = 1
    moments: dict[int, Moment] = field(default_factory=dict)

    def at(self, second: float) -> Moment:
        """The stretch that a moment of the run belongs to."""
        index = int(max(0.0, second)) // self.width_s
        if index not in self.moments:
            self.moments[index] = Moment()
            while max(self.moments) >= MAX_POINTS:
                self._halve()
            return self.at(second)
        return self.moments[index]

    def _halve(self) -> None:
        merged: dict[int, Moment] = {}
        for index, moment in self.moments.items():
            if index // 2 in merged:
                merged[index // 2].add(moment)
            else:
                merged[index // 2] = moment
        self.moments = merged
        self.width_s *= 2

    def to_json(self) -> list[dict[str, Any]]:
        """One object a stretch: `t` its beginning in seconds, `rate` the streams per second, quantiles in ms."""
        out: list[dict[str, Any]] = []
        for index in sorted(self.moments):
            moment = self.moments[index]
            point: dict[str, Any] = {
                "t": index * self.width_s,
                "rate": round(moment.streams / self.width_s, 3),
                "stalls": moment.stalls,
            }
            for name, tally in moment.tallies.items():
                if tally.n:
                    point[name] = tally.quantiles((0.5, 0.95, 0.99))
            out.append(point)
        return out


class LiveTarget:
    """One target of a run that goes on."""

    def __init__(self, facts: dict[str, Any], milestones: Sequence[Milestone] = ()) -> None:
        self._facts = facts
        self._milestones = milestones
        self._metrics = metrics_with(milestones)
        self._counts: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._rules: dict[tuple[str, str], dict[str, Any]] = {}
        self._axes: Counter[str] = Counter()
        self._tallies = {name: FigureCounts(metric.unit) for name, metric in self._metrics.items()}
        self._judged = AuthenticityColumns()
        self._verdict: tuple[int, Authenticity] = (0, judge(self._judged))
        self._series = Series()
        self._newest: AnalysedStream | None = None

    def take(self, stream: AnalysedStream, second: float) -> None:
        """Count a judged stream that ended at a second of the run."""
        record = stream.record
        self._counts[record.outcome] += 1
        if record.outcome is Outcome.FAILED:
            self._errors[record.error or "?"] += 1
        self._take_findings(stream)
        for name in ("cancel_lag", "wasted_tokens") if record.outcome in CLIENT_LEFT else ():
            if name in stream.figures.stream:
                self._tallies[name].take([stream.figures.stream[name]])
        if record.outcome is not Outcome.COMPLETED:
            return
        moment = self._series.at(second)
        moment.streams += 1
        moment.stalls += round(stream.figures.stream.get("stalls", 0))
        for name, metric in self._metrics.items():
            if name in ("cancel_lag", "wasted_tokens"):
                continue
            one = stream.figures.stream.get(name)
            many = stream.figures.chunk.get(name, ()) if metric.per == "chunk" else () if one is None else (one,)
            self._tallies[name].take(many)
            if name in SERIES:
                moment.tallies[name].take(many)
        if stream.authenticity is not None:
            self._judged.add(stream.authenticity)
        self._newest = stream

    def _take_findings(self, stream: AnalysedStream) -> None:
        seen: set[tuple[str, str]] = set()
        for finding, count in stream.counted_findings():
            if finding.severity is not Severity.VIOLATION:
                continue
            self._axes[finding.axis] += count
            key = (finding.rule, finding.axis)
            rule = self._rules.get(key)
            if rule is None:
                if len(self._rules) >= MAX_RULES:
                    continue
                rule = self._rules[key] = {
                    "rule": finding.rule,
                    "axis": finding.axis,
                    "count": 0,
                    "streams": 0,
                    "example_stream": stream.record.id,
                    "message": finding.message[:500],
                }
            rule["count"] += count
            rule["streams"] += key not in seen
            seen.add(key)

    def _authenticity(self) -> Authenticity:
        judged, known = self._verdict[0], len(self._judged)
        if known > max(judged if known <= JUDGED_EACH_TIME else judged * 1.02, 0):
            self._verdict = known, judge(self._judged)
        return self._verdict[1]

    def to_json(self) -> dict[str, Any]:
        """The target's part of a snapshot; names as in `summary.json`, figures as they are shown."""
        finished = self._counts[Outcome.COMPLETED] + self._counts[Outcome.FAILED]
        authenticity = self._authenticity()
        return {
            **self._facts,
            "streams": {
                "started": sum(self._counts.values()) - self._counts[Outcome.DROPPED],
                **{str(outcome): self._counts[outcome] for outcome in Outcome},
            },
            "errors": dict(self._errors.most_common()),
            "error_rate": round(self._counts[Outcome.FAILED] / finished, 6) if finished else 0.0,
            "metrics": {name: tally.to_json() for name, tally in self._tallies.items() if tally.n},
            "milestones": {
                one.name: {"reached": self._tallies[PREFIX + one.name].n, "of": self._counts[Outcome.COMPLETED]}
                for one in self._milestones
            },
            "violations": {
                "count": sum(self._axes.values()),
                "axes": dict(self._axes),
                "rules": sorted(self._rules.values(), key=lambda rule: -rule["count"]),
            },
            "authenticity": {"verdict": authenticity.verdict, "evidence": authenticity.evidence},
            "series": self._series.to_json(),
            "curves": {name: self._tallies[name].curve(CURVE_POINTS) for name in ("ttfc", "gap")},
            "newest": None if self._newest is None else _time_lines(self._newest, self._milestones),
        }


class LiveRun:
    """A run that goes on: takes the lines of its records file, gives snapshots."""

    def __init__(self) -> None:
        self._targets: dict[str, LiveTarget] = {}
        self._settings = Settings()
        self._start_ns = 0
        self._now_ns = 0
        self.header: dict[str, Any] = {}
        self.skipped_lines = 0

    def take(self, line: bytes) -> None:
        """Count one line of the records file; one that cannot be read is counted as skipped."""
        try:
            data = orjson.loads(line)
            match data["kind"]:
                case "header":
                    self._begin(data)
                case "stream":
                    record = StreamRecord.from_json(data)
                    end_ns = record.end_ns if record.end_ns is not None else record.start_ns
                    self._now_ns = max(self._now_ns, end_ns)
                    if not record.warmup:
                        second = (end_ns - self._start_ns) / NS_PER_S
                        self._targets[record.target].take(analyse(record, self._settings), second)
        except (ValueError, KeyError, TypeError, IndexError, OverflowError):
            self.skipped_lines += 1

    def _begin(self, header: dict[str, Any]) -> None:
        self.header = header
        self._start_ns = self._now_ns = header["start_ns"]
        self._settings = Settings.of_run(header)
        named = self._settings.milestones
        self._targets = {name: LiveTarget(facts, named.get(name, ())) for name, facts in header["targets"].items()}

    def snapshot(self) -> dict[str, Any]:
        """Everything that is known now, as JSON values."""
        return {
            "scenario": self.header.get("scenario", {}).get("name"),
            "started": self.header.get("started"),
            "seconds": round((self._now_ns - self._start_ns) / NS_PER_S, 1),
            "skipped_lines": self.skipped_lines,
            "targets": {name: target.to_json() for name, target in self._targets.items()},
        }


class Tail:
    """Reads what a file has gained, in whole lines."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._rest = b""

    def lines(self) -> list[bytes]:
        """The lines that were completed since the last call; of a large file some at a time."""
        data = self._rest + self._file.read(MAX_READ_BYTES)
        *whole, self._rest = data.split(b"\n")
        return whole

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _time_lines(stream: AnalysedStream, milestones: Sequence[Milestone]) -> dict[str, Any]:
    """The newest stream as two lines of (ms since its start, characters), the client's and the upstream's, and when it
    came to its milestones.
    """
    record = stream.record

    def points(at_ns: Sequence[int], chars: Sequence[int]) -> list[tuple[float, int]]:
        step = max(1, -(-len(at_ns) // PROOF_POINTS))
        rows = sorted({*range(0, len(at_ns), step), len(at_ns) - 1}) if len(at_ns) else []
        return [(round((at_ns[row] - record.start_ns) / NS_PER_MS, 2), int(chars[row])) for row in rows]

    rows = record.content_rows()
    total, sums = 0, []
    for row in rows:
        total += record.events.chars[row]
        sums.append(total)
    upstream = stream.alignment.upstream if stream.alignment is not None else None
    return {
        "id": record.id,
        "client": points([record.events.at_ns[row] for row in rows], sums),
        "upstream": [] if upstream is None else points(upstream.written_ns, upstream.offset),
        "milestones": {
            name: round((span.at_ns - record.start_ns) / NS_PER_MS, 2)
            for name, span in spans(record, milestones).items()
        },
    }
