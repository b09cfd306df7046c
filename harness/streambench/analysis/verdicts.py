"""What can be said of a stream or a target: the verdicts, what stands behind them, and their numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

NUMBERS = (
    "overlap",
    "granularity",
    "slope",
    "lag_ms",
    "period_ms",
    "held",
    "hold_ms",
    "bursts",
    "writes",
    "write_words",
    "window",
)


class Verdict(StrEnum):
    """What a system does with its upstream's stream."""

    FORWARDED = "forwarded"
    BATCHED = "batched"
    BUFFERED = "buffered"
    PACED = "paced"
    MIXED = "mixed"
    UNKNOWN = "unknown"
    LIKELY_STREAMED = "likely-streamed"
    LIKELY_BUFFERED = "likely-buffered"
    LIKELY_PACED = "likely-paced"


class Why(StrEnum):
    """What stands behind a verdict, beside the numbers: why nothing could be said, or what makes it certain."""

    NO_MARK = "no-mark"
    NOTHING_WRITTEN = "nothing-written"
    NO_TEXT = "no-text"
    OTHER_TEXT = "other-text"
    WROTE_ONCE = "wrote-once"
    TOO_SHORT = "too-short"
    TOO_FAST = "too-fast"
    TOO_FEW = "too-few"
    ASKED_WHOLE = "asked-whole"
    WINDOW = "window"
    PATH_OR_WINDOW = "path-or-window"
    CLOSE = "close"
    UPSTREAM_LATE = "upstream-late"


@dataclass(frozen=True, slots=True)
class StreamAuthenticity:
    """The verdict on one stream and the numbers behind it; what could not be computed is None. Times in ms.

    `hold_ms` is the age of the oldest character of a client's burst when it arrived, the median; `bursts` and `writes`
    are how many the client got and the upstream made, `write_words` how many words the upstream wrote at a time.
    `window` is for how many later writes each text waits, `window_score` how sure that is (`windows.Window.score`).
    `held_of` is the number of writes of which `held` is a share.
    """

    verdict: Verdict
    overlap: float | None = None
    granularity: float | None = None
    slope: float | None = None
    lag_ms: float | None = None
    period_ms: float | None = None
    held: float | None = None
    hold_ms: float | None = None
    bursts: float | None = None
    writes: float | None = None
    write_words: float | None = None
    window: float | None = None
    window_score: float | None = None
    held_of: float | None = None
    why: Why | None = None


@dataclass(frozen=True, slots=True)
class Authenticity:
    """The verdict on a target: that of its streams where they agree. Numbers are medians over the streams.

    `reasons` counts what stands behind the verdicts on single streams.
    """

    verdict: Verdict
    evidence: str
    overlap: float | None = None
    granularity: float | None = None
    slope: float | None = None
    lag_ms: float | None = None
    period_ms: float | None = None
    held: float | None = None
    hold_ms: float | None = None
    bursts: float | None = None
    writes: float | None = None
    write_words: float | None = None
    window: float | None = None
    reasons: dict[str, int] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    streams: int = 0

    def to_json(self) -> dict[str, Any]:
        """The entry of `summary.json`."""

        def rounded(value: float | None) -> float | None:
            return None if value is None else round(value, 4)

        return {
            "verdict": self.verdict,
            **{name: rounded(getattr(self, name)) for name in NUMBERS},
            "reasons": self.reasons,
            "shares": {name: round(share, 4) for name, share in self.shares.items()},
            "streams": self.streams,
            "evidence": self.evidence,
        }
