"""Real or simulated, for a target: the verdict of all its streams together, and its reason in one sentence."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from statistics import median
from typing import Any

from streambench.analysis.stream_verdict import HELD_SHARE, OVERLAP_FULL, OVERLAP_NONE
from streambench.analysis.verdicts import NUMBERS, Authenticity, StreamAuthenticity, Verdict, Why
from streambench.analysis.windows import SURE

AGREEMENT = 0.8  # the share of streams that must agree for one verdict
MAX_SERVER_WAIT = 0.45  # of the time: a server that gets no CPU shows the machine, and not itself
MAX_UPSTREAM_LATE_MS = 150.0  # a fake upstream that starves makes every endpoint behind it look slow
POOLED_SURE = 2 * SURE  # of all streams together: each has chosen the window that fits it best
_HIDDEN = ("window_score", "held_of")  # what only the verdict on all streams needs
_VERDICTS = tuple(Verdict)
_REASONS = (None, *Why)
_INDEX = {verdict: index for index, verdict in enumerate(_VERDICTS)}
_INDEX_OF_REASON = {why: index for index, why in enumerate(_REASONS)}


class AuthenticityColumns:
    """The verdicts on many streams and their numbers, as columns; a number that could not be computed is NaN."""

    def __init__(self, streams: Iterable[StreamAuthenticity] = ()) -> None:
        self.verdict = array("b")
        self.why = array("b")
        self.numbers = {name: array("d") for name in (*NUMBERS, *_HIDDEN)}
        for stream in streams:
            self.add(stream)

    def __len__(self) -> int:
        return len(self.verdict)

    def add(self, stream: StreamAuthenticity) -> None:
        """The verdict on one more stream."""
        self.verdict.append(_INDEX[stream.verdict])
        self.why.append(_INDEX_OF_REASON[stream.why])
        for name, column in self.numbers.items():
            value = getattr(stream, name)
            column.append(math.nan if value is None else value)

    def join(self, part: AuthenticityColumns) -> None:
        """The verdicts on further streams."""
        self.verdict += part.verdict
        self.why += part.why
        for name, column in self.numbers.items():
            column += part.numbers[name]

    def pooled(self) -> AuthenticityColumns:
        """The same, but what single streams leave open is decided by all of them together: a long path or a window, and
        a share of held writes that is close to the limit.
        """
        decided: dict[int, tuple[Verdict, Why | None]] = {}
        score = math.fsum(value for value in self.numbers["window_score"] if not math.isnan(value))
        if abs(score) >= POOLED_SURE:
            found = (Verdict.BATCHED, Why.WINDOW) if score > 0 else (Verdict.FORWARDED, None)
            decided[_INDEX_OF_REASON[Why.PATH_OR_WINDOW]] = found
        close = _INDEX_OF_REASON[Why.CLOSE]
        held = [
            (share * writes, writes)
            for why, share, writes in zip(self.why, self.numbers["held"], self.numbers["held_of"], strict=True)
            if why == close
        ]
        if held:
            share = sum(part for part, _ in held) / sum(writes for _, writes in held)
            decided[close] = (Verdict.BATCHED if share >= HELD_SHARE else Verdict.FORWARDED, None)
        if not decided:
            return self
        out = AuthenticityColumns()
        out.numbers = self.numbers
        for index, reason in zip(self.verdict, self.why, strict=True):
            verdict, why = decided.get(reason, (_VERDICTS[index], _REASONS[reason]))
            out.verdict.append(_INDEX[verdict])
            out.why.append(_INDEX_OF_REASON[why])
        return out

    def counts(self) -> Counter[Verdict]:
        """How many streams have each verdict."""
        return Counter({_VERDICTS[index]: count for index, count in Counter(self.verdict).items()})

    def reasons(self, verdict: Verdict | None = None) -> Counter[Why]:
        """What stands behind the verdicts on the streams, or on those with one verdict."""
        index = None if verdict is None else _INDEX[verdict]
        found = Counter(why for of, why in zip(self.verdict, self.why, strict=True) if index is None or of == index)
        return Counter({why: count for i, count in found.items() if (why := _REASONS[i]) is not None})

    def median(self, name: str, verdict: Verdict | None) -> float | None:
        """The median of a number over the streams with a verdict, or over all that were decided; None without any."""
        index = None if verdict is None else _INDEX[verdict]
        unknown = _INDEX[Verdict.UNKNOWN]
        known = [
            value
            for of, value in zip(self.verdict, self.numbers[name], strict=True)
            if (of == index or (index is None and of != unknown)) and not math.isnan(value)
        ]
        return median(known) if known else None


def judge(
    streams: AuthenticityColumns | Iterable[StreamAuthenticity],
    upstream: str | None = None,
    doubt: str | None = None,
    *,
    uncalled: bool = False,
) -> Authenticity:
    """The verdict on a target from the verdicts on its streams. `upstream` is the URL of the fake one, if there is.

    `doubt` says why the times do not show the target, if they do not: then nothing is decided. `uncalled`: streams
    failed, and the upstream saw a request of none of them.
    """
    columns = streams if isinstance(streams, AuthenticityColumns) else AuthenticityColumns(streams)
    columns = columns.pooled()
    counts = columns.counts()
    undecided = counts.pop(Verdict.UNKNOWN, 0)
    decided = counts.total()
    reasons = {str(why): count for why, count in columns.reasons().most_common()}
    if not decided:
        most = columns.reasons(Verdict.UNKNOWN).most_common(1)
        evidence = "no stream was completed"
        if uncalled:
            evidence += f", and {_why_unknown(Why.NO_MARK, upstream)}"
        if undecided:
            evidence = _why_unknown(most[0][0] if most else None, upstream)
        return Authenticity(Verdict.UNKNOWN, evidence, reasons=reasons)
    shares = {str(verdict): count / decided for verdict, count in counts.most_common()}
    verdict, count = counts.most_common(1)[0]
    if count / decided < AGREEMENT:
        verdict = Verdict.MIXED
    agreeing = None if verdict is Verdict.MIXED else verdict
    behind = columns.reasons(verdict)
    numbers = {name: columns.median(name, agreeing) for name in NUMBERS}
    found = Authenticity(verdict, "", **numbers, reasons=reasons, shares=shares, streams=decided)
    why = next((why for why in (Why.ASKED_WHOLE, Why.WINDOW) if 2 * behind[why] > count), None)
    evidence = _evidence(found, why)
    if doubt is not None:
        return replace(found, verdict=Verdict.UNKNOWN, evidence=f"{doubt}. It looked {found.verdict}: {evidence}")
    return replace(found, evidence=evidence)


def starvation(generator: Mapping[str, Any]) -> str | None:
    """Why a run's times show its machine and not its targets: a server that had no CPU. `generator`: its own facts."""
    if generator["valid"]:
        return None
    waits = generator.get("server_wait") or {}
    name = max(waits, key=waits.__getitem__, default=None)
    if name is not None and waits[name] > MAX_SERVER_WAIT:
        return f"the server {name!r} spent {waits[name]:.0%} of the time waiting for a CPU"
    late_ms = generator.get("upstream_late_p95_ms")
    if late_ms is not None and late_ms > MAX_UPSTREAM_LATE_MS:
        return f"the fake upstream itself wrote {late_ms:,.0f} ms late at p95"
    return None


def _why_unknown(why: Why | None, upstream: str | None) -> str:
    match why:
        case Why.NO_MARK:
            using = f"is the service using OPENAI_BASE_URL={upstream.rstrip('/')}/v1?" if upstream else "is it in use?"
            return f"no request with a stream's mark reached the fake upstream: {using}"
        case Why.NOTHING_WRITTEN:
            return "the upstream was called, but wrote no text that the client could have received"
        case Why.NO_TEXT:
            return "no stream brought any text"
        case Why.OTHER_TEXT:
            return "the client's text matches none of the texts that the upstream wrote"
        case Why.WROTE_ONCE:
            return (
                "the upstream wrote each reply in one go, so there was nothing to overlap with. Try a profile that "
                "writes over time, such as `fixed`"
            )
        case Why.TOO_SHORT:
            return (
                "the upstream finished writing too quickly, compared with the delay of the path. Try longer replies "
                "or a slower profile"
            )
        case Why.TOO_FAST:
            return (
                "the upstream's pauses are no longer than the jitter of the path. Try a profile with longer pauses, "
                'such as {"name": "fixed", "gap_ms": 100}'
            )
        case Why.UPSTREAM_LATE:
            return (
                "the upstream itself wrote late, by as much as its own pauses, so the bursts may come from a busy "
                "machine. Stop what else runs on it, or try a profile with longer pauses, such as "
                '{"name": "fixed", "gap_ms": 200}'
            )
        case Why.PATH_OR_WINDOW:
            return (
                "all text is late by more than one of the upstream's pauses, and evenly so: either the path takes that "
                "long, or the text waits for later writes. Try a profile with longer pauses, such as "
                '{"name": "fixed", "gap_ms": 500}'
            )
        case _:
            return "seen from the client only, and too few pieces of text came to guess from"


def _evidence(found: Authenticity, why: Why | None) -> str:
    """The verdict's reason in one sentence."""
    overlap = f"{found.overlap:.0%}" if found.overlap is not None else "?"
    lag = _ms(found.lag_ms)
    whole = "the service asked the upstream for the whole reply (without `stream`) and waited for it; then "
    match found.verdict:
        case Verdict.FORWARDED:
            rhythm = (
                f"text arrives while the upstream is still writing (overlap {overlap})"
                if found.overlap is None or found.overlap >= OVERLAP_FULL
                else "text arrives in the upstream's own rhythm"
            )
            return f"{rhythm}, {lag} behind it at the median{_blind_spot(found.write_words)}"
        case Verdict.BATCHED if why is Why.WINDOW:
            count = round(found.window or 1)
            waits_for = "write" if count == 1 else f"{count} writes"
            return (
                f"each piece of text waits for the upstream's next {waits_for}, however long that takes, and the rest "
                f"comes at once when the upstream ends. The oldest text in a burst had waited {_ms(found.hold_ms)}"
            )
        case Verdict.BATCHED:
            waited = f"the oldest text in a burst had waited {_ms(found.hold_ms)}"
            if found.held is not None:
                waited = f"{found.held:.0%} of the writes were held past the next one, and {waited}"
            return f"{_count(found.writes)} upstream writes arrived in {_count(found.bursts)} bursts; {waited}"
        case Verdict.BUFFERED if why is Why.ASKED_WHOLE:
            return f"{whole}all of it came at once"
        case Verdict.BUFFERED:
            return "nothing arrived until the upstream had written everything; then all of it came at once"
        case Verdict.PACED if why is Why.ASKED_WHOLE:
            return f"{whole}the text was typed out, {found.period_ms or 0:.0f} ms between pieces"
        case Verdict.PACED if found.overlap is not None and found.overlap <= OVERLAP_NONE:
            return (
                "nothing arrived until the upstream had written everything; then the text was typed out, "
                f"{found.period_ms or 0:.0f} ms between pieces"
            )
        case Verdict.PACED:
            return f"text arrived {found.slope or 0:.1f} times slower than it was written, at a cadence of its own"
        case Verdict.MIXED:
            return "streams disagree: " + ", ".join(f"{share:.0%} {name}" for name, share in found.shares.items())
        case Verdict.LIKELY_BUFFERED:
            return "seen from the client only: everything came at once, after a wait"
        case Verdict.LIKELY_PACED:
            return f"seen from the client only: pieces came {found.period_ms:.0f} ms apart, too evenly for a model"
        case _:
            return "seen from the client only: text came over time and unevenly, as a model writes"


def _blind_spot(write_words: float | None) -> str:
    """What a forwarder could still hold back unseen."""
    words = round(write_words) if write_words is not None else 1
    if words < 2:
        return ""
    return (
        f". The upstream wrote {words} words at a time, so a buffer of {words} words or fewer might not show; the "
        "profile `fixed` writes one word at a time"
    )


def _ms(value: float | None) -> str:
    if value is not None and 0 <= value < 0.05:
        return "less than 0.1 ms"
    return "?" if value is None else f"{value:,.1f} ms"


def _count(value: float | None) -> str:
    return "?" if value is None else f"{value:,.0f}"
