"""The files of a run folder, and the same run as data frames."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from streambench.analysis.summary import Summary
from streambench.record.model import EventColumns
from streambench.report.dataframes import chunk_frame, stream_frame
from streambench.report.export import formats
from streambench.report.folder import write_reports

ALL = formats()


def test_every_format_of_every_run_can_be_written(any_summary: Summary, tmp_path: Path) -> None:
    written = write_reports(any_summary, tmp_path, formats=ALL, plots=False)
    assert set(written) == {"json", *ALL}
    for path in written.values():
        assert path.parent == tmp_path
        assert path.stat().st_size > 0
    assert not (tmp_path / "plots").exists()

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    summary = json.loads((tmp_path / "summary.json").read_text("utf-8"), parse_constant=refuse)
    assert summary == json.loads(json.dumps(any_summary.to_json()))


def test_only_what_was_asked_for_is_written(comparison: Summary, tmp_path: Path) -> None:
    write_reports(comparison, tmp_path, formats=["markdown"], plots=True)
    assert {path.name for path in tmp_path.iterdir()} == {"summary.json", "summary.md"}


def test_pictures_are_files_of_their_own(comparison: Summary, tmp_path: Path) -> None:
    write_reports(comparison, tmp_path, formats=["html"], plots=True)
    pictures = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert pictures == ["both-sides.svg", "cadence.svg", "first-text.svg", "growth.svg", "over-time.svg"]
    assert "both-sides" in (tmp_path / "report.html").read_text("utf-8")


def test_a_row_a_stream(comparison: Summary) -> None:
    frame = stream_frame(comparison)
    assert len(frame) == 51
    assert set(frame.target) == {"real", "paced"}
    real = frame[frame.target == "real"]
    assert (real.ttfc == 2).all()
    assert (real.authenticity == "forwarded").all()
    (broken,) = frame[frame.outcome == "failed"].to_dict("records")
    assert (broken["error"], broken["violations"]) == ("http_500", 1)
    assert pd.isna(broken["ttfc"])


def test_a_row_a_chunk_with_both_of_its_moments(comparison: Summary) -> None:
    frame = chunk_frame(comparison)
    real = frame[frame.target == "real"]
    assert ((real.arrived_ms - real.written_ms) == 2).all()
    assert len(real) == 25 * 20


def test_chunks_of_one_read_keep_the_moments_at_which_they_were_written(
    summary_of: Callable[..., Summary], stream_of_target: Callable[..., Any]
) -> None:
    record = stream_of_target("real", 0)
    at_ns = max(record.events.at_ns)
    record.events = EventColumns([at_ns] * 20, record.events.name, record.events.chars, [0] * 20)
    frame = chunk_frame(summary_of([record]))
    assert frame.written_ms.tolist() == [20.0 * i for i in range(20)]


def test_csv_and_parquet_hold_the_same(comparison: Summary, tmp_path: Path) -> None:
    write_reports(comparison, tmp_path, formats=["csv", "parquet"], plots=False)
    for name in ("streams", "chunks"):
        csv = pd.read_csv(tmp_path / f"{name}.csv")
        parquet = pd.read_parquet(tmp_path / f"{name}.parquet")
        assert csv.shape == parquet.shape
        assert list(csv.columns) == list(parquet.columns)


def test_an_unwritable_folder_is_an_error_of_the_system(comparison: Summary, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        write_reports(comparison, tmp_path / "none", formats=["markdown"], plots=False)
