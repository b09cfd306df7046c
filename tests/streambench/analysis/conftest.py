"""Streams made by hand: what the client saw and what the upstream wrote, at exact moments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from streambench.record.model import EventColumns, Outcome, StreamRecord, UpstreamExchange
from streambench.record.run_file import RunData

MS = 1_000_000


@pytest.fixture
def make_record() -> Callable[..., StreamRecord]:
    """A record from its content chunks: `(ms after the start, text)`, one read each unless `reads` says otherwise."""
    count = 0

    def make(
        chunks: Sequence[tuple[float, str]] = (),
        *,
        upstream: Sequence[UpstreamExchange] = (),
        reads: Sequence[int] | None = None,
        start_ms: float = 0,
        **fields: Any,
    ) -> StreamRecord:
        nonlocal count
        count += 1
        start_ns = round(start_ms * MS)
        record = StreamRecord(
            id=f"s{count}", target=fields.pop("target", "t"), dialect="d", intended_ns=start_ns, start_ns=start_ns
        )
        record.events = EventColumns(
            at_ns=[start_ns + round(at * MS) for at, _ in chunks],
            name=["content"] * len(chunks),
            chars=[len(text) for _, text in chunks],
            read=list(reads) if reads is not None else list(range(len(chunks))),
        )
        record.text = "".join(text for _, text in chunks)
        record.terminal_event = True
        record.end_ns = record.events.at_ns[-1] if chunks else start_ns
        record.upstream = list(upstream)
        for name, value in fields.items():
            assert hasattr(record, name)
            setattr(record, name, value)
        return record

    return make


@pytest.fixture
def make_exchange() -> Callable[..., UpstreamExchange]:
    """What an upstream wrote: `(ms, text)` for each write."""

    def make(writes: Sequence[tuple[float, str]], **fields: Any) -> UpstreamExchange:
        text = "".join(piece for _, piece in writes)
        offset, total = [], 0
        for _, piece in writes:
            total += len(piece)
            offset.append(total)
        at_ns = [round(at * MS) for at, _ in writes]
        given = {"attempt": 1, "arrived_ns": 0, "status": 200, "text": text, "ended": "complete", **fields}
        return UpstreamExchange(scheduled_ns=list(at_ns), written_ns=at_ns, offset=offset, **given)

    return make


@pytest.fixture
def make_run() -> Callable[..., RunData]:
    """A run of some records; `end` False: it was killed."""

    def make(
        records: Sequence[StreamRecord],
        *,
        gates: Sequence[str] = (),
        two_sided: bool = False,
        valid: bool = True,
        end: bool = True,
        reason: str = "finished",
    ) -> RunData:
        targets = sorted({record.target for record in records} or {"t"})
        header = {
            "scenario": {"name": "made", "path": "made.yaml", "hash": "0" * 64},
            "started": "2026-01-01T00:00:00+00:00",
            "start_ns": 0,
            "seed": 0,
            "targets": {
                name: {"dialect": "d", "transport": "sse", "url": "http://127.0.0.1/", "two_sided": two_sided}
                for name in targets
            },
            "gates": list(gates),
            "settings": {"stall_after_ms": 500.0, "reading_wpm": 250.0},
            "environment": {"cpu": "c", "cores": 2, "platform": "p", "python": "y"},
        }
        generator = {"valid": valid, "reasons": [] if valid else ["it was late"], "stamps": "kernel"}
        last = {"at_ns": 10_000 * MS, "reason": reason, "generator": generator} if end else None
        return RunData(header, list(records), [], last)

    return make


@pytest.fixture
def failed_with(make_record: Callable[..., StreamRecord]) -> Callable[[str], StreamRecord]:
    def make(error: str) -> StreamRecord:
        return make_record(outcome=Outcome.FAILED, error=error, error_message=error, terminal_event=False)

    return make
