"""Claims are shown only beside a comparison, and with the figures of this run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streambench.analysis.claims import claim_tables
from streambench.analysis.summary import Summary, summarize
from streambench.record.journal import RunData
from streambench.record.model import StreamRecord, UpstreamExchange

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
    def make(**targets: list[tuple[float, str]]) -> Summary:
        upstream = make_exchange([(20.0 * i, word) for i, word in enumerate(WORDS)])
        records = [
            make_record(chunks, upstream=[upstream], target=name) for name, chunks in targets.items() for _ in range(3)
        ]
        return summarize(make_run(records, two_sided=True))

    return make


def test_claims_need_a_comparison(summary_of: Callable[..., Summary]) -> None:
    assert claim_tables(summary_of(real=REAL)) == []
    assert claim_tables(summary_of(one=REAL, other=REAL)) == []
    assert claim_tables(summary_of(one=PACED, other=PACED)) == []
    assert len(claim_tables(summary_of(real=REAL, paced=PACED))) >= 3


def test_the_figures_are_those_of_the_run(summary_of: Callable[..., Summary]) -> None:
    tables = {table.system: table for table in claim_tables(summary_of(real=REAL, paced=PACED))}
    assert all(len(cells) == len(table.columns) for table in tables.values() for _, cells in table.rows)
    gaps = dict(tables["chat-stream"].rows)
    assert gaps == {"real": ("forwarded", "20.0", "20.0"), "paced": ("paced", "50.0", "20.0")}
    first = dict(tables["assistant-ws"].rows)
    # TTFC, behind the first token, and held back: at most one word, or all of the text.
    assert first["real"][1:] == ("2.0", "2.0", str(float(len(WORDS[0]))))
    assert first["paced"][1:] == ("400", "400", str(len("".join(WORDS))))
