"""However a file is edited, the command that reads it says something of the file, and never that streambench failed."""

from __future__ import annotations

from pathlib import Path

import pytest
from edits import attempt, broken_edits, kinds

KINDS = ("records", "scenarios", "dialects", "captures", "har")
SAMPLE = {"records": 10, "scenarios": 40, "dialects": 25, "captures": 100, "har": 100}
MANY = {"records": 500, "scenarios": 2_000, "dialects": 2_000, "captures": 2_750, "har": 2_750}  # a report is slow


@pytest.mark.parametrize("kind", KINDS)
def test_some_edits(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    wrong, codes = broken_edits(kind, SAMPLE[kind], tmp_path, seed=1)
    assert wrong == []
    assert len(codes) > 1, "the edits are read, and not all refused alike"


@pytest.mark.hostile
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", KINDS)
def test_ten_thousand_edits(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    wrong, _ = broken_edits(kind, MANY[kind], tmp_path)
    assert wrong == []


def test_an_edit_that_breaks_a_reader_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from streambench.record import run_file

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_file, "fault", lambda *_: 1 / 0)
    _, _, wrong = attempt("records", kinds()["records"], 0, tmp_path)
    assert "ZeroDivisionError" in wrong
