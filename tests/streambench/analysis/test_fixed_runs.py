"""Two runs of made records, and every figure that was computed of them when they were committed.

The records are those of `benchmarks/analysis.py --chunks 8 --seed 7`: streams that fail, are cut, dropped or break a
rule. However the figures are computed, they stay what they are.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from streambench.analysis.summary import Summary, summarize
from streambench.record.run_file import RunData, RunFile, read_run

RUNS = Path(__file__).parent / "runs"


@pytest.fixture(params=["one-sided", "two-sided"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[RunFile, dict[str, Any]]:
    """A records file, and its summary."""
    path = tmp_path / "records.jsonl"
    path.write_bytes(gzip.decompress((RUNS / f"{request.param}.jsonl.gz").read_bytes()))
    return read_run(path), json.loads((RUNS / f"{request.param}.summary.json").read_text("utf-8"))


def as_json(summary: Summary) -> Any:
    return json.loads(json.dumps(summary.to_json()))


def test_the_figures_are_what_they_were(run: tuple[RunFile, dict[str, Any]]) -> None:
    file, expected = run
    assert as_json(summarize(file)) == expected


def test_a_run_in_memory_says_the_same_as_its_file(run: tuple[RunFile, dict[str, Any]]) -> None:
    file, expected = run
    in_memory = RunData(file.header, list(file.records), file.generator, file.end, file.skipped)
    assert as_json(summarize(in_memory)) == expected


def test_the_order_in_which_streams_ended_does_not_matter(run: tuple[RunFile, dict[str, Any]]) -> None:
    file, expected = run
    turned = RunData(file.header, list(file.records)[::-1], file.generator, file.end)
    assert as_json(summarize(turned)) == expected


def test_streams_are_shown_in_the_order_in_which_they_were_due(run: tuple[RunFile, dict[str, Any]]) -> None:
    file, _ = run
    summary = summarize(file)
    for target in summary.targets.values():
        due = [stream.record.intended_ns for stream in summary.streams_of(target)]
        assert due == sorted(due)
        assert len(due) == len(target.streams)
