"""When a stream reached the milestones of its target, and the generator's own share in that."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from streambench.analysis.own_share import Share, starting_ns
from streambench.dialects.milestone import INTENDED, MAX_MILESTONES, NAME, SENT, Milestone, Watch
from streambench.record.model import StreamRecord
from streambench.units import NS_PER_MS

PREFIX = "milestone."  # of the metric of each
REACHED = "reached"  # the statistic of a gate on how many streams came so far


@dataclass(frozen=True, slots=True)
class Span:
    """The way to a milestone, from what it is measured from to the event that reached it.

    `row` is that event's place in the stream, `since_row` that of the milestone at which it begins; None where it
    begins before the reply.
    """

    since_ns: int
    at_ns: int
    row: int
    since_row: int | None = None

    @property
    def ns(self) -> int:
        """How long it took."""
        return self.at_ns - self.since_ns


def milestones_of(targets: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[Milestone, ...]]:
    """The milestones of each target that has any, as the header of a run tells of its targets."""
    return {
        target: tuple(
            Milestone.from_json(name, told)
            for name, told in islice(facts["milestones"].items(), MAX_MILESTONES)
            if re.fullmatch(NAME, name)  # else the header is damaged
        )
        for target, facts in targets.items()
        if facts.get("milestones")
    }


def spans(record: StreamRecord, milestones: Sequence[Milestone]) -> dict[str, Span]:
    """The milestones that a stream reached, by name, in their order."""
    rows = _rows(record, milestones)
    begun_ns = {INTENDED: record.intended_ns, SENT: record.start_ns if record.sent_ns is None else record.sent_ns}
    at_ns = record.events.at_ns
    out: dict[str, Span] = {}
    for milestone in milestones:
        row, since = rows.get(milestone.name), milestone.since
        if row is not None and since in begun_ns:
            out[milestone.name] = Span(begun_ns[since], at_ns[row], row)
        elif row is not None:
            out[milestone.name] = Span(at_ns[rows[since]], at_ns[row], row, rows[since])
    return out


def measure_milestones(
    record: StreamRecord,
    milestones: Sequence[Milestone],
    early: Sequence[int] | None,
    put: dict[str, float],
    own: dict[str, Share],
) -> None:
    """Put the metric of each milestone that was reached, in ms, and the generator's own share in it.

    `early` is by how much each event may have come before its stamp.
    """
    found = spans(record, milestones)
    before_ns = {INTENDED: record.own.start_ns + starting_ns(record)}
    for milestone in milestones:
        span = found.get(milestone.name)
        if span is None:
            continue
        put[PREFIX + milestone.name] = span.ns / NS_PER_MS
        minus_ns, plus_ns = before_ns.get(milestone.since, 0), 0
        if early:
            minus_ns += early[span.row]
            plus_ns = 0 if span.since_row is None else early[span.since_row]
        own[PREFIX + milestone.name] = Share(min(minus_ns, span.ns) / NS_PER_MS, plus_ns / NS_PER_MS)


def _rows(record: StreamRecord, milestones: Sequence[Milestone]) -> dict[str, int]:
    """The events that reached them, as places among the stream's events."""
    watch = Watch(milestones)
    events = record.events
    for row, name in events.rows_of(watch.events):
        watch.take(row, name, has_text=events.chars[row] > 0)
        if watch.done:
            break
    return watch.reached
