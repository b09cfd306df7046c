"""Whether compression delays text: a compressor on the way may hold text back until it has enough."""

from __future__ import annotations

from dataclasses import dataclass

from streambench.analysis.stream_verdict import bursts
from streambench.findings import Axis, Finding, Severity
from streambench.record.model import StreamRecord
from streambench.rules import Rule, declare
from streambench.units import NS_PER_S

FLOWS = 0.3  # of the time from the request to the last text: below, nothing flows that could be held back
HELD_SHARE = 0.5  # of the bursts, or of that time, which a compressed reply keeps when nothing is held back

ENCODING = declare(
    Rule(
        "http.encoding",
        Axis.TIMING,
        "Compression does not hold back the text of a reply.",
        "the same prompt, sent with a browser's `accept-encoding` and with `identity`",
        Severity.INFO,
    )
)
REMEDY = "Flush what compresses after each event (Express: `res.flush()`), or exempt `text/event-stream` from it."


@dataclass(frozen=True, slots=True)
class _Flow:
    """How a reply came: in how many `bursts`, the first after `first_s`, and over which share of the time."""

    bursts: int
    first_s: float
    share: float

    def __str__(self) -> str:
        return f"in {self.bursts:,} burst{'' if self.bursts == 1 else 's'}, the first after {self.first_s:.2f} s"


def compare_encodings(asked: StreamRecord, plain: StreamRecord) -> Finding | None:
    """What is found where a reply that came compressed flows worse than the `plain` one; None where it does not."""
    compressed, without = _flow(asked), _flow(plain)
    if asked.encoding is None or compressed is None or without is None or without.share < FLOWS:
        return None
    held = compressed.share < HELD_SHARE * without.share or compressed.bursts < HELD_SHARE * without.bursts
    if not held:
        return None
    return ENCODING.found(
        f"With a browser's Accept-Encoding, the reply comes compressed ({asked.encoding}) {compressed}; without "
        f"compression, {without}. Whatever compresses it holds text back. {REMEDY}",
        got=asked.encoding,
    )


def _flow(record: StreamRecord) -> _Flow | None:
    at_ns = [record.events.at_ns[row] for row in record.content_rows()]
    if not at_ns:
        return None
    sent_ns = record.start_ns if record.sent_ns is None else record.sent_ns
    whole_ns = max(1, at_ns[-1] - sent_ns)
    return _Flow(len(bursts(at_ns)), (at_ns[0] - sent_ns) / NS_PER_S, (at_ns[-1] - at_ns[0]) / whole_ns)
