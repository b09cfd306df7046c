"""Goodput: how many streams per second met a set of conditions.

ttfc < 1s and gap_max < 200ms
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from streambench.analysis.columns import StreamColumns
from streambench.analysis.gates import ALIASES, OPERATORS, ORDERINGS, GateError, limit_of
from streambench.analysis.metrics import METRICS
from streambench.analysis.milestones import PREFIX
from streambench.errors import nearest
from streambench.record.model import Outcome
from streambench.units import NS_PER_MS, NS_PER_S

_CONDITION = re.compile(r"\s*([A-Za-z_0-9.]+)\s*(<=|>=|<|>)\s*([^<>=]+?)\s*")
_AND = re.compile(r"\band\b")
PER_STREAM = tuple(name for name, metric in METRICS.items() if metric.per == "stream" and not metric.two_sided)


@dataclass(frozen=True, slots=True)
class Condition:
    """One of them: a metric that each stream has one value of, and its limit in the metric's unit."""

    metric: str
    op: str
    limit: float


@dataclass(frozen=True, slots=True)
class Goodput:
    """What came of the conditions: `good` of so many `finished` streams met all of them, in `span_ns`."""

    expr: str
    good: int
    finished: int
    span_ns: int

    @property
    def per_s(self) -> float:
        """Good streams a second, from the first moment at which one was due to the end of the last one."""
        return self.good * NS_PER_S / self.span_ns if self.span_ns > 0 else 0.0

    @property
    def share(self) -> float:
        """The good ones among those that finished; a failed stream is never good."""
        return self.good / self.finished if self.finished else 0.0

    def to_json(self) -> dict[str, Any]:
        """The entry of `summary.json`."""
        return {
            "expr": self.expr,
            "good": self.good,
            "finished": self.finished,
            "share": round(self.share, 6),
            "per_s": round(self.per_s, 4),
        }


def parse_goodput(text: str, milestones: Collection[str] | None = None) -> tuple[Condition, ...]:
    """The conditions of a text, which `and` joins. Raises GateError with the place of what cannot be decided.

    `milestones` are those that every target has; None where that is not known.
    """
    out: list[Condition] = []
    at = 0
    for part in _AND.split(text):
        out.append(_condition(part, at, milestones))
        at += len(part) + len("and")
    return tuple(out)


def readable_goodput(text: Any) -> str | None:
    """The conditions in the header of a run; None for none, and for what only another version can read."""
    try:
        return text if isinstance(text, str) and parse_goodput(text) else None
    except GateError:
        return None


def _condition(part: str, at: int, milestones: Collection[str] | None) -> Condition:
    match = _CONDITION.fullmatch(part)
    if match is None:
        raise GateError(
            f"{part.strip()!r} is not a condition: write it as `metric {'|'.join(ORDERINGS)} limit`, several with "
            "`and`, such as `ttfc < 1s and gap_max < 200ms`",
            at,
            part,
        )
    typed, op, limit = match.groups()
    name = ALIASES.get(typed, typed)
    if name.startswith(PREFIX):
        _check_milestone(name.removeprefix(PREFIX), at + match.start(1) + len(PREFIX), milestones)
    elif name not in PER_STREAM:
        raise GateError(
            f"{typed!r} is no metric that a stream has one value of.",
            at + match.start(1),
            typed,
            nearest(typed, PER_STREAM),
        )
    unit = METRICS[name].unit if name in METRICS else "ms"
    return Condition(name, op, limit_of(unit, limit, at + match.start(3)))


def _check_milestone(name: str, at: int, milestones: Collection[str] | None) -> None:
    if milestones is not None and name not in milestones:
        hint = f": all have {', '.join(milestones)}" if milestones else ""
        raise GateError(f"not every target has a milestone {name!r}{hint}.", at, name, nearest(name, milestones))


def goodput_of(expr: str, streams: StreamColumns) -> Goodput:
    """How many of the judged streams of a target meet the conditions of `expr`. Raises GateError as parsing does."""
    import numpy as np

    completed = streams.rows([Outcome.COMPLETED])
    finished = len(completed) + len(streams.rows([Outcome.FAILED]))
    has_text = ~np.isnan(streams.figure("ttfc")[completed])
    good = has_text.copy()
    for condition in parse_goodput(expr):
        values = streams.figure(condition.metric)[completed]
        met = np.asarray(OPERATORS[condition.op](values, condition.limit), dtype=bool)
        if condition.op in ("<", "<="):  # what a stream has none of, as one chunk has no gap, cannot be too large
            met |= np.isnan(values) & has_text
        good &= met
    return Goodput(expr, int(good.sum()), finished, _span_ns(streams))


def _span_ns(streams: StreamColumns) -> int:
    import numpy as np

    due_ns = np.array(streams.intended_ns, dtype=np.int64)
    ends_ns = due_ns + np.nan_to_num(streams.figure("e2e") * NS_PER_MS).astype(np.int64)
    return int(ends_ns.max() - due_ns.min()) if len(due_ns) else 0
