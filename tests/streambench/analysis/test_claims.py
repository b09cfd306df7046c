"""Claims are shown only beside a comparison, and with the figures of this run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from streambench.analysis.claims import claims_of
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
    def make(dialect: str = "conversation-stream", **targets: list[tuple[float, str]]) -> Summary:
        upstream = make_exchange([(20.0 * i, word) for i, word in enumerate(WORDS)])
        records = [
            make_record(chunks, upstream=[upstream], target=name, dialect=dialect)
            for name, chunks in targets.items()
            for _ in range(3)
        ]
        run = make_run(records, two_sided=True)
        for target in run.header["targets"].values():
            target["dialect"] = dialect
        return summarize(run)

    return make


def test_claims_need_a_system_before_and_after(summary_of: Callable[..., Summary]) -> None:
    assert claims_of(summary_of(real=REAL)) == []
    assert claims_of(summary_of(one=REAL, other=REAL)) == []
    assert claims_of(summary_of(one=PACED, other=PACED)) == []
    assert claims_of(summary_of("openai-chat", real=REAL, paced=PACED)) == [], "nobody claims anything of this one"
    assert {claim.system for claim in claims_of(summary_of(real=REAL, paced=PACED))} == {"conversation-stream"}


def test_a_claim_is_measured_and_judged(summary_of: Callable[..., Summary]) -> None:
    pace, cadence = claims_of(summary_of("chat-stream", before=PACED, after=REAL))
    assert (pace.before, pace.after, pace.ratio, pace.verdict) == (50, 20, 2.5, "holds")
    assert (cadence.before, cadence.after, cadence.verdict) == (None, 1, "holds")
    claims = claims_of(summary_of("assistant-ws", before=PACED, after=REAL))
    first, lag, held, memory, messages, error = claims
    # The first word came after 400 ms, which is not the 2 to 5 s of the claim.
    assert (first.before, first.after, first.verdict) == (400, 2, "does not hold")
    assert (lag.after, lag.verdict) == (2, "holds")
    assert (messages.before, messages.after, messages.verdict) == (N, N, "does not hold")
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
    summary = summary_of("assistant-ws", before=PACED, after=REAL)
    summary.targets["before"].url = "http://127.0.0.1:81/ws"
    summary.targets["after"].url = "http://127.0.0.1:82"
    assert summary.run.end is not None
    summary.run.end["servers"] = {
        "chat": {"url": "http://127.0.0.1:80", "rss_begin": 1, "rss_peak": 2},
        "whole": {"url": "http://127.0.0.1:81", "rss_begin": 50_000_000, "rss_peak": 59_000_000},
        "chunks": {"url": "http://127.0.0.1:82", "rss_begin": 50_000_000, "rss_peak": 56_000_000},
    }
    (memory,) = [claim for claim in claims_of(summary) if claim.figure.startswith("server")]
    assert (memory.before, memory.after, memory.ratio, memory.verdict) == (9, 6, 1.5, "holds")
