"""Claims are shown only beside a comparison, and with the figures of this run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from streambench.analysis.gates import Result
from streambench.analysis.summary import Summary, summarize
from streambench.record.model import StreamRecord, UpstreamExchange
from streambench.record.run_file import RunData
from streambench.report.folder import write_reports
from streambench.report.terminal import describe_run

N = 20
WORDS = [f"word{i:02} " for i in range(N)]
REAL = [(20.0 * i + 2, word) for i, word in enumerate(WORDS)]
PACED = [(20.0 * N + 50 * i, word) for i, word in enumerate(WORDS)]


@pytest.fixture
def summary_of(
    make_record: Callable[..., StreamRecord],
    make_exchange: Callable[..., UpstreamExchange],
    make_run: Callable[..., RunData],
) -> Callable[..., Summary]:
    def make(
        dialect: str = "conversation-stream",
        *,
        gates: Sequence[str] = (),
        urls: Mapping[str, str] | None = None,
        servers: Mapping[str, Any] | None = None,
        **targets: list[tuple[float, str]],
    ) -> Summary:
        upstream = make_exchange([(20.0 * i, word) for i, word in enumerate(WORDS)])
        records = [
            make_record(chunks, upstream=[upstream], target=name, dialect=dialect)
            for name, chunks in targets.items()
            for _ in range(3)
        ]
        run = make_run(records, two_sided=True, gates=gates)
        for name, target in run.header["targets"].items():
            target["dialect"] = dialect
            target["url"] = (urls or {}).get(name, target["url"])
        assert run.end is not None
        run.end["servers"] = servers or {}
        return summarize(run)

    return make


def test_claims_need_a_system_before_and_after(summary_of: Callable[..., Summary]) -> None:
    assert summary_of(real=REAL).claims == []
    assert summary_of(one=REAL, other=REAL).claims == []
    assert summary_of(one=PACED, other=PACED).claims == []
    assert summary_of("openai-chat", real=REAL, paced=PACED).claims == [], "nobody claims anything of this one"
    assert {claim.system for claim in summary_of(real=REAL, paced=PACED).claims} == {"conversation-stream"}


def test_a_claim_is_measured_and_judged(summary_of: Callable[..., Summary]) -> None:
    pace, cadence = summary_of("chat-stream", before=PACED, after=REAL).claims
    assert (pace.before, pace.after, pace.ratio, pace.verdict) == (50, 20, 2.5, "holds")
    assert (cadence.before, cadence.after, cadence.verdict) == (None, 1, "holds")
    claims = summary_of("assistant-ws", before=PACED, after=REAL).claims
    first, lag, held, memory, writes, error = claims
    # The first word came after 400 ms, which is not the 2 to 5 s of the claim.
    assert (first.before, first.after, first.verdict) == (400, 2, "does not hold")
    assert (lag.after, lag.verdict) == (2, "holds")
    assert (writes.before, writes.after, writes.verdict) == (N, N, "does not hold"), "both asked for a stream"
    assert (memory.verdict, error.verdict) == ("not measured", "not measured"), "no server was started, none failed"
    # At most one word, or all of the text.
    assert (held.before, held.after, held.verdict) == (len("".join(WORDS)), len(WORDS[0]), "holds")


def test_summaries_and_terminal_tell_the_claims(summary_of: Callable[..., Summary], tmp_path: Path) -> None:
    summary = summary_of("chat-stream", before=PACED, after=REAL)
    written = write_reports(summary, tmp_path, formats=("markdown",), plots=False)
    claims = json.loads((tmp_path / "summary.json").read_text())["claims"]
    assert [claim["verdict"] for claim in claims] == ["holds", "holds"]
    for text in (*(path.read_text() for path in written.values()), describe_run(summary, {}, brief=False)):
        assert "Simulated streaming takes about 50 ms for every word." in text
    bare = summary_of("openai-chat", real=REAL, paced=PACED)
    write_reports(bare, tmp_path, formats=(), plots=False)
    assert "claims" not in json.loads((tmp_path / "summary.json").read_text())


def test_memory_is_that_of_each_targets_own_server(summary_of: Callable[..., Summary]) -> None:
    urls = {"before": "http://127.0.0.1:81/ws", "after": "http://127.0.0.1:82"}
    servers = {
        "chat": {"url": "http://127.0.0.1:80", "rss_begin": 1, "rss_peak": 2},
        "whole": {"url": "http://127.0.0.1:81", "rss_begin": 50_000_000, "rss_peak": 59_000_000},
        "chunks": {"url": "http://127.0.0.1:82", "rss_begin": 50_000_000, "rss_peak": 56_000_000},
    }
    summary = summary_of("assistant-ws", before=PACED, after=REAL, urls=urls, servers=servers)
    (memory,) = [claim for claim in summary.claims if claim.figure.startswith("server")]
    assert (memory.before, memory.after, memory.ratio, memory.verdict) == (9, 6, 1.5, "holds")


def test_a_gate_counts_the_claims_that_hold(summary_of: Callable[..., Summary]) -> None:
    gates = ["after: claims.held == 2", "claims.held > 2", "before: claims.held == 2"]
    decided = {
        (result.gate.expr, result.target): result.result
        for result in summary_of("chat-stream", before=PACED, after=REAL, gates=gates).gates
        if not result.gate.implied
    }
    assert decided == {
        ("after: claims.held == 2", "after"): Result.PASSED,
        ("claims.held > 2", "after"): Result.FAILED,
        ("before: claims.held == 2", "before"): Result.INCONCLUSIVE,
    }
