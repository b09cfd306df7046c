"""Runs to report on, made by hand; `nasty` texts are what a hostile server or scenario could write."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from streambench.analysis.summary import Summary, summarize
from streambench.findings import Axis, Finding
from streambench.record.model import EventColumns, Outcome, StreamRecord, UpstreamExchange
from streambench.record.run_file import RunData
from streambench.report.plots import Plot, draw_plots

MS = 1_000_000
WORDS = [f"word{i:02} " for i in range(20)]
NASTY = (
    "<script>alert(1)</script> \"double\" 'single' & | pipe ` tick * star _ under [link](http://evil.test/) "
    "\x00\x08\x1b[31m\ufffe\nline\r\n</td></title><img src=http://evil.test/x onerror=a> {{ 7*7 }} \\ # > ~~~"
)


@pytest.fixture
def nasty() -> str:
    return NASTY


def stream(target: str, number: int, *, paced: bool = False, two_sided: bool = True, **fields: Any) -> StreamRecord:
    start_ns = number * 50 * MS
    record = StreamRecord(f"{target}/{number}", target, "d", start_ns, start_ns, end_ns=start_ns + 500 * MS)
    written = [start_ns + 20 * i * MS for i in range(len(WORDS))]
    arrived = [written[-1] + 50 * (i + 1) * MS for i in range(len(WORDS))] if paced else [at + 2 * MS for at in written]
    record.events = EventColumns(arrived, ["content"] * len(WORDS), list(map(len, WORDS)), list(range(len(WORDS))))
    record.end_ns = arrived[-1]
    record.headers_ns = start_ns + MS
    record.terminal_event = True
    if two_sided:
        record.text = "".join(WORDS)
        offset = [sum(map(len, WORDS[: i + 1])) for i in range(len(WORDS))]
        record.upstream = [
            UpstreamExchange(1, start_ns, 200, record.text, list(written), written, offset, ended="complete")
        ]
    for name, value in fields.items():
        setattr(record, name, value)
    return record


def failed(target: str, number: int, message: str = "it broke") -> StreamRecord:
    record = StreamRecord(f"{target}/f{number}", target, "d", number * MS, number * MS, end_ns=(number + 5) * MS)
    record.outcome, record.error, record.error_message = Outcome.FAILED, "http_500", message
    record.findings = [Finding(Axis.GRAMMAR, "some.rule", message, got=message, expected=(message,))]
    return record


def summary_of(
    records: Sequence[StreamRecord],
    *,
    targets: Sequence[str] = ("real",),
    gates: Sequence[str] = (),
    two_sided: bool = True,
    name: str = "made",
    reasons: Sequence[str] = (),
    killed: bool = False,
    dialect: str = "d",
    url: str = "http://127.0.0.1:1/",
    milestones: Mapping[str, Mapping[str, Any]] | None = None,
    **header: Any,
) -> Summary:
    generator = {
        "valid": not reasons,
        "reasons": list(reasons),
        "requested_rate": None,
        "achieved_rate": None,
        "start_delay_p99_ms": 0.1,
        "loop_lag_p99_ms": 1.0,
        "cpu": 0.25,
        "stamps": "kernel",
        "coalesced_reads": 3,
    }
    given = {
        "streambench": "1.0",
        "scenario": {"name": name, "path": "s.yaml", "hash": "ab" * 32},
        "started": "2026-01-01T00:00:00+00:00",
        "start_ns": 0,
        "seed": 0,
        "warmup_s": 0,
        "phases": ["a phase"],
        "targets": {
            one: {
                "dialect": dialect,
                "transport": "sse",
                "url": url,
                "two_sided": two_sided,
                **({} if milestones is None else {"milestones": milestones}),
            }
            for one in targets
        },
        "gates": list(gates),
        "settings": {"stall_after_ms": 500.0, "reading_wpm": 250.0},
        "environment": {"cpu": "a cpu", "cores": 2, "platform": "Linux", "python": "cpython"},
        **header,
    }
    end = None if killed else {"at_ns": 10_000 * MS, "reason": "finished", "generator": generator}
    return summarize(RunData(given, list(records), [], end))


def comparison() -> Summary:
    """A target that forwards beside one that types out, with a failure."""
    records = [stream("real", i) for i in range(25)] + [stream("paced", i, paced=True) for i in range(25)]
    gates = ["ttfc.p95 < 100ms", "real: authenticity == forwarded", "error_rate < 1%", "ttfc.p99 < 1s"]
    return summary_of([*records, failed("paced", 99)], targets=("real", "paced"), gates=gates)


def hostile() -> Summary:
    """Every text that comes from elsewhere is nasty."""
    records = [stream("real", i, id=f"real/{NASTY}") for i in range(3)]
    records[0].findings = [Finding(Axis.CONTENT, NASTY, NASTY, got=NASTY, expected=(NASTY, NASTY), offset=3)]
    records.append(failed("real", 9, NASTY))
    return summary_of(
        records,
        reasons=[NASTY],
        gates=["ttfc.p95 < 100ms"],
        scenario={"name": NASTY, "path": NASTY, "hash": NASTY},
        phases=[NASTY],
        environment={"cpu": NASTY, "cores": 2, "platform": NASTY, "python": NASTY},
        dialect=NASTY,
        url=NASTY,
        milestones={NASTY: reached_by(NASTY), "m" * 64: reached_by("content"), "n" * 64: reached_by(NASTY)},
    )


def reached_by(event: str) -> dict[str, Any]:
    """A milestone as the header of a run tells of it."""
    return {"events": [event], "from": "intended", "text": False}


def with_milestones() -> Summary:
    """Two targets with two milestones each, one of which nobody reaches."""
    records = [stream(name, i, two_sided=False) for name in ("real", "paced") for i in range(5)]
    named = {"first_answer": reached_by("content"), "first_document": reached_by("search")}
    return summary_of(records, targets=("real", "paced"), two_sided=False, milestones=named)


KINDS: dict[str, Callable[[], Summary]] = {
    "comparison": comparison,
    "hostile": hostile,
    "nothing": lambda: summary_of([]),
    "failed only": lambda: summary_of(
        [failed("real", i) for i in range(3)], gates=["ttfc.p95 < 1s", "error_rate < 1%"]
    ),
    "one stream": lambda: summary_of([stream("real", 0)]),
    "one-sided": lambda: summary_of([stream("real", i, two_sided=False) for i in range(5)], two_sided=False),
    "milestones": with_milestones,
    "killed": lambda: summary_of([stream("real", i) for i in range(5)], killed=True),
}


@functools.cache
def of_kind(kind: str) -> Summary:
    return KINDS[kind]()


@functools.cache
def drawn(kind: str) -> list[Plot]:
    """Drawing takes its time, and the same pictures are looked at by several tests."""
    return draw_plots(of_kind(kind))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of run that a report may have to show."""
    return str(request.param)


@pytest.fixture(name="of_kind")
def _of_kind() -> Callable[[str], Summary]:
    return of_kind


@pytest.fixture(name="drawn")
def _drawn() -> Callable[[str], list[Plot]]:
    return drawn


@pytest.fixture(name="summary_of")
def _summary_of() -> Callable[..., Summary]:
    return summary_of


@pytest.fixture
def stream_of_target() -> Callable[..., StreamRecord]:
    return stream


@pytest.fixture
def any_summary(kind: str) -> Summary:
    return of_kind(kind)


@pytest.fixture(name="comparison")
def _comparison() -> Summary:
    return of_kind("comparison")


@pytest.fixture(name="hostile")
def _hostile() -> Summary:
    return of_kind("hostile")
