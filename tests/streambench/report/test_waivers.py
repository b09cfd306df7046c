"""Rules that may be broken, in every report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from streambench.analysis.summary import Summary
from streambench.findings import Axis, Finding, Severity
from streambench.report.export.sarif import render_sarif
from streambench.report.folder import write_reports

UNEXPECTED = "grammar.unexpected-event"


def test_every_report_tells_what_is_accepted_ignored_and_no_longer_found(
    summary_of: Callable[..., Summary], stream_of_target: Callable[..., Any], tmp_path: Path
) -> None:
    record = stream_of_target("real", 1)
    record.findings = [
        Finding(Axis.GRAMMAR, UNEXPECTED, "out of order"),
        Finding(Axis.INTEROP, "sse.crlf", "lines end with CR LF", Severity.INFO),
    ]
    summary = summary_of(
        [record],
        accept=[{"rule": UNEXPECTED, "reason": "mended in 2.0"}, {"rule": "http.content-type"}],
        ignore=[{"rule": "sse.crlf", "reason": "no client minds"}],
    )
    (result,) = render_sarif(summary)["runs"][0]["results"]
    assert result["suppressions"] == [{"kind": "external", "status": "accepted", "justification": "mended in 2.0"}]
    written = write_reports(summary, tmp_path, formats=("html", "junit", "markdown"), plots=False)
    page = written["html"].read_text()
    assert "Accepted violations" in page
    assert "no client minds" in page
    assert "Violations of the protocol" not in page
    cases = {case.get("name"): case for case in ET.parse(written["junit"]).getroot().iter("testcase")}
    assert cases[f"accepted: {UNEXPECTED}"].find("skipped") is not None
    removable = cases["accept: http.content-type"].find("skipped")
    assert removable is not None
    assert "can be removed" in str(removable.get("message"))
    assert "mended in 2.0" in written["markdown"].read_text()
    assert json.loads((tmp_path / "summary.json").read_text())["removable"][0]["rule"] == "http.content-type"
