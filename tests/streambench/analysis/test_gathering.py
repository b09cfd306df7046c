"""A file that several processes read, a part each, says the same as one that a single process has read."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from streambench.analysis import gathering
from streambench.analysis.summary import Summary, summarize
from streambench.record.run_file import RunFile

TOP = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two targets: some streams fail or break rules, three lines are damaged, and the last one is torn."""
    path = tmp_path_factory.mktemp("run") / "records.jsonl"
    write = [sys.executable, TOP / "benchmarks/analysis.py", "--records", "400", "--two-sided", "--write", path]
    subprocess.run(write, check=True)
    lines = path.read_bytes().splitlines(keepends=True)
    for number in (90, 200, 310):
        lines[number] = lines[number].replace(b'"kind":"stream"', b'"kind":"stream",', 1)
    path.write_bytes(b"".join(lines)[:-20])
    return path


def summary(path: Path, monkeypatch: pytest.MonkeyPatch, parts: int) -> Summary:
    monkeypatch.setattr(gathering, "usable_cores", lambda: parts)
    monkeypatch.setattr(gathering, "PART_BYTES", 1)
    return summarize(RunFile(path))


@pytest.mark.parametrize("parts", [2, 3])
def test_parts_say_what_the_whole_says(records: Path, monkeypatch: pytest.MonkeyPatch, parts: int) -> None:
    whole, joined = summary(records, monkeypatch, 1), summary(records, monkeypatch, parts)
    assert joined.to_json() == whole.to_json()
    assert (joined.run.skipped, joined.run.damage) == (whole.run.skipped, whole.run.damage)
    assert sum(whole.run.skipped.values()) == 4
    assert list(joined.run.records[::50]) == list(whole.run.records[::50])
    for name, target in whole.targets.items():
        streams = zip(joined.streams_of(joined.targets[name]), whole.streams_of(target), strict=True)
        assert all(one.record.id == other.record.id for one, other in streams)


def test_a_part_whose_process_ends_is_read_again(records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = summary(records, monkeypatch, 1)
    monkeypatch.setattr(gathering, "_gather_part", exit)  # not with these arguments
    assert summary(records, monkeypatch, 2).to_json() == whole.to_json()


def test_cuts_are_between_lines(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(b'{"kind":"header","schema":"streambench.records/1"}\n' + b'{"kind":"later"}\n' * 10)
    file = RunFile(path)
    for count in range(1, 30):
        cuts = file.cuts(count)
        assert len(cuts) == count
        assert cuts[0][0] == 0
        assert all(end == begin for (_, end), (begin, _) in pairwise(cuts))
        assert all(path.read_bytes()[begin - 1 : begin] == b"\n" for begin, _ in cuts[1:])
