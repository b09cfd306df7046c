"""`junit.xml`: XML that any CI can read, whatever stands in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree as ET

from streambench.analysis.summary import Summary
from streambench.report.export.junit import write


def parsed(summary: Summary) -> ET.Element:
    with TemporaryDirectory() as folder:
        return ET.fromstring(write(summary, Path(folder), plots=False).read_bytes())


def test_it_is_xml_and_its_counts_are_right(any_summary: Summary) -> None:
    root = parsed(any_summary)
    assert root.tag == "testsuites"
    for suite in root.iter("testsuite"):
        cases = suite.findall("testcase")
        assert int(suite.get("tests", "")) == len(cases) > 0
        assert int(suite.get("failures", "")) == len(suite.findall("testcase/failure"))
        assert int(suite.get("errors", "")) == len(suite.findall("testcase/error"))
        assert float(suite.get("time", "")) >= 0
        assert all(case.get("name") and case.get("classname") for case in cases)


def test_a_case_a_gate_and_its_outcome(comparison: Summary) -> None:
    outcomes = {
        (suite.get("name"), case.get("name")): next((child.tag for child in case), "passed")
        for suite in parsed(comparison).iter("testsuite")
        for case in suite.iter("testcase")
    }
    assert outcomes["made.real", "ttfc.p95 < 100ms"] == "passed"
    assert outcomes["made.paced", "ttfc.p95 < 100ms"] == "failure"
    assert outcomes["made.real", "ttfc.p99 < 1s"] == "error"  # too few streams
    assert outcomes["made.paced", "violations == 0"] == "failure"
    assert outcomes["made.generator", "the measurement is valid"] == "passed"


def test_a_failure_says_what_was_observed(comparison: Summary) -> None:
    (message,) = [
        failure.get("message", "")
        for case in parsed(comparison).iter("testcase")
        for failure in case
        if case.get("classname") == "made.paced" and case.get("name") == "ttfc.p95 < 100ms"
    ]
    assert "observed 430.0 ms" in message
    assert "n 25" in message


def test_an_invalid_measurement_is_an_error(hostile: Summary) -> None:
    suites = list(parsed(hostile).iter("testsuite"))
    (error,) = suites[-1].iter("error")
    assert "<script>alert(1)</script>" in error.get("message", "")
    assert "\x00" not in error.get("message", "")


def test_a_name_cannot_break_it(summary_of: Callable[..., Summary], nasty: str) -> None:
    assert "<script>" in (parsed(summary_of([], name=nasty)).get("name") or "")
