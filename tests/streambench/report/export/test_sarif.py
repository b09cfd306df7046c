"""`streambench.sarif`: what code hosts read as SARIF 2.1.0."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streambench.analysis.summary import Summary
from streambench.dialects.rules import SCHEMA
from streambench.report.export.sarif import render_sarif, write
from streambench.wire.sse import CRLF


def check_essentials(log: dict[str, Any]) -> None:
    """What the schema of SARIF 2.1.0 requires of what we write, and the text beyond it of rule ids and their index."""
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "streambench"
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(set(ids)) == len(ids)
    for rule in driver["rules"]:
        assert rule["shortDescription"]["text"]
        assert rule["help"]["text"]
        assert rule["defaultConfiguration"]["level"] in ("none", "note", "warning", "error")
    for invocation in run["invocations"]:
        assert isinstance(invocation["executionSuccessful"], bool)
    for result in run["results"]:
        assert result["message"]["text"]
        assert result["level"] in ("none", "note", "warning", "error")
        assert result["occurrenceCount"] >= 1
        if "ruleIndex" in result:
            # Section 3.27.5: the id of the rule, or that with a further part behind a slash.
            assert result["ruleId"] == ids[result["ruleIndex"]] or result["ruleId"].startswith(
                f"{ids[result['ruleIndex']]}/"
            )
        for location in result["locations"]:
            uri = location["physicalLocation"]["artifactLocation"]["uri"]
            assert uri.isascii()
            assert " " not in uri


def test_every_run_gives_valid_sarif(any_summary: Summary, tmp_path: Path) -> None:
    path = write(any_summary, tmp_path, plots=False)
    assert path.name == "streambench.sarif"
    check_essentials(json.loads(path.read_text("utf-8")))


def test_a_broken_rule_is_a_result_with_its_rule(
    summary_of: Callable[..., Summary], stream_of_target: Callable[..., Any]
) -> None:
    record = stream_of_target("real", 0)
    record.findings = [CRLF.found("CR LF."), *[SCHEMA.of("token").found("Wrong.", event_index=4, offset=77)] * 2]
    (run,) = render_sarif(summary_of([record]))["runs"]
    broken, note = run["results"]
    assert (broken["ruleId"], broken["level"], broken["occurrenceCount"]) == ("schema.EVENT/schema.token", "error", 2)
    assert broken["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "s.yaml"
    assert broken["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] == "real/0/event 5"
    assert "byte 77" in broken["message"]["text"]
    assert (note["ruleId"], note["level"]) == ("sse.crlf", "note")
    assert run["tool"]["driver"]["rules"][note["ruleIndex"]]["shortDescription"]["text"] == CRLF.requirement


def test_the_same_finding_has_the_same_fingerprint_in_another_run(
    summary_of: Callable[..., Summary], stream_of_target: Callable[..., Any]
) -> None:
    def prints(number: int) -> list[dict[str, str]]:
        record = stream_of_target("real", number)
        record.findings = [CRLF.found(f"CR LF, {number}.", offset=number)]
        (run,) = render_sarif(summary_of([record]))["runs"]
        return [result["partialFingerprints"] for result in run["results"]]

    assert prints(1) == prints(2)
