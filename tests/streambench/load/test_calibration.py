"""Calibration: what is said of the loads that were tried, and what later runs quote of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from streambench.load.book import environment
from streambench.load.calibration.measuring import Level, calibrate, sentence
from streambench.load.calibration.saved import place, save, saved_for
from streambench.transport.aio.polls import run_polled


def level(streams: int, error_ms: float = 0.02, *, valid: bool = True) -> Level:
    return Level(streams, streams * 50, error_ms, 0.01, 0.0, 0.2, valid)


def test_the_sentence_is_about_the_loads_below_the_first_that_was_not_right() -> None:
    told = sentence([level(100), level(500, 0.31), level(1000, 80, valid=False)])
    assert told == "Up to 500 streams of 50 chunks/s the figures of this machine are right within 0.31 ms."
    assert "not tried" in sentence([level(100)])
    assert "At 100 streams" in sentence([level(100, valid=False)])


def test_a_server_that_knows_when_it_wrote() -> None:
    told: list[Level] = []
    result = run_polled(calibrate([3], told.append))
    assert [(one.streams, one.chunks_per_s) for one in told] == [(3, 150)]
    assert result["environment"] == environment()
    # How exact it is belongs into a calibration; here, that the same moments were compared.
    assert told[0].error_ms < 1_000


def test_only_the_same_environment_is_quoted(tmp_path: Path) -> None:
    path = place({"XDG_STATE_HOME": str(tmp_path)})
    here = {"cpu": "this", "python": "3.11"}
    assert saved_for(here, path) is None
    save({"environment": here, "calibrated": "today", "sentence": "Exact.", "levels": []}, path)
    assert saved_for(here, path) == {"calibrated": "today", "sentence": "Exact."}
    assert saved_for({**here, "python": "3.12"}, path) is None


@pytest.mark.parametrize("damaged", ["", "[]", "{}", '{"environment": {"cpu": "this"}}'])
def test_a_damaged_file_says_nothing(tmp_path: Path, damaged: str) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(damaged)
    assert saved_for({"cpu": "this"}, path) is None


def test_a_relative_state_folder_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert place({"XDG_STATE_HOME": "here"}) == tmp_path / ".local/state/streambench/calibration.json"
