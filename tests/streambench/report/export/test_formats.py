"""The list of formats: one file each, found by itself."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import pytest

from streambench.report import export
from streambench.report.export import DEFAULT_FORMATS, exporter, formats


@pytest.mark.parametrize("name", formats())
def test_a_format_has_one_way_to_be_written(name: str) -> None:
    assert list(inspect.signature(exporter(name).write).parameters) == ["summary", "folder", "plots"]


def test_the_formats() -> None:
    assert formats() == ("csv", "html", "junit", "markdown", "parquet", "sarif")
    assert set(DEFAULT_FORMATS) <= set(formats())


def test_a_new_format_is_one_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tap.py").write_text(
        "def write(summary, folder, *, plots):\n"
        "    path = folder / 'run.tap'\n"
        "    path.write_text(f'1..{len(summary.gates)}')\n"
        "    return path\n"
    )
    monkeypatch.setattr(export, "__path__", [*export.__path__, str(tmp_path)])
    formats.cache_clear()
    try:
        assert "tap" in formats()
        assert exporter("tap").write.__module__ == "streambench.report.export.tap"
    finally:
        sys.modules.pop("streambench.report.export.tap", None)
        formats.cache_clear()
