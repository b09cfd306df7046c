"""`junit.xml`: one suite per target, one case per gate, so that any CI service shows which one failed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from streambench.analysis.summary import Summary
from streambench.report.cases import Case, CaseOutcome, count, gate_cases, generator_case, suite_cases, waiver_cases

# What XML 1.0 cannot hold, however it is escaped.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ELEMENTS = {CaseOutcome.FAILED: "failure", CaseOutcome.UNDECIDED: "error", CaseOutcome.SKIPPED: "skipped"}


def write(summary: Summary, folder: Path, *, plots: bool) -> Path:
    """Write `junit.xml`: the gates, the rules that may be broken, and whether the measurement is valid."""
    path = folder / "junit.xml"
    cases = [*gate_cases(summary), *waiver_cases(summary), *suite_cases(summary), generator_case(summary)]
    path.write_text(render_junit(cases, name=summary.header["scenario"]["name"], seconds=summary.duration_s), "utf-8")
    return path


def render_junit(cases: Sequence[Case], *, name: str, seconds: float) -> str:
    """Cases as JUnit XML, those of one suite together; `seconds` is how long all of it took.

    An undecided case is an error, since it has not shown that anything holds.
    """
    root = ET.Element("testsuites", {"name": f"streambench {name}", **_counts(cases, seconds)})
    for suite_name in dict.fromkeys(case.suite for case in cases):
        suite_cases = [case for case in cases if case.suite == suite_name]
        suite = ET.SubElement(root, "testsuite", {"name": f"{name}.{suite_name}", **_counts(suite_cases, seconds)})
        for case in suite_cases:
            _case(suite, f"{name}.{suite_name}", case)
    for element in root.iter():
        element.attrib = {key: _clean(value) for key, value in element.attrib.items()}
        element.text = _clean(element.text or "") or None
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _case(suite: ET.Element, class_name: str, case: Case) -> None:
    element = ET.SubElement(suite, "testcase", classname=class_name, name=case.name)
    if case.seconds is not None:
        element.set("time", f"{case.seconds:.3f}")
    tag = _ELEMENTS.get(case.outcome)
    if tag is not None:
        problem = ET.SubElement(element, tag, message=case.message)
        problem.text = "\n".join([*case.details, *([case.place] if case.place else [])])


def _counts(cases: Sequence[Case], seconds: float) -> dict[str, str]:
    counts = {"tests": len(cases), "failures": count(cases, CaseOutcome.FAILED)}
    counts["errors"] = count(cases, CaseOutcome.UNDECIDED)
    if skipped := count(cases, CaseOutcome.SKIPPED):
        counts["skipped"] = skipped
    return {**{key: str(value) for key, value in counts.items()}, "time": f"{seconds:.3f}"}


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
