"""The files of a run folder, all of them from its summary."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from streambench.analysis.summary import Summary


def write_reports(summary: Summary, folder: Path, *, formats: Sequence[str], plots: bool) -> dict[str, Path]:
    """Write `summary.json` and the asked formats: html, junit, markdown, csv, parquet; with `plots`, `plots/*.svg`.

    Returns the main file of each format. Raises OSError where the folder cannot be written to.
    """
    written: dict[str, Path] = {}

    def write(name: str, filename: str, text: str) -> None:
        path = folder / filename
        path.write_text(text, "utf-8")
        written[name] = path

    write("json", "summary.json", json.dumps(summary.to_json(), indent=2, ensure_ascii=False) + "\n")
    if "markdown" in formats:
        from streambench.report.markdown import render_markdown

        write("markdown", "summary.md", render_markdown(summary))
    if "junit" in formats:
        from streambench.report.junit import render_junit

        write("junit", "junit.xml", render_junit(summary))
    if "html" in formats:
        from streambench.report.html import render_html
        from streambench.report.plots import draw_plots

        pictures = draw_plots(summary) if plots else []
        if pictures:
            (folder / "plots").mkdir(exist_ok=True)
        for picture in pictures:
            (folder / "plots" / f"{picture.name}.svg").write_text(picture.standalone(), "utf-8")
        write("html", "report.html", render_html(summary, pictures))
    for name in ("csv", "parquet"):
        if name in formats:
            from streambench.report import dataframes

            write_frames = dataframes.write_csv if name == "csv" else dataframes.write_parquet
            written[name] = write_frames(summary, folder)[0]
    return written
