"""`streambench.sarif`: broken rules as SARIF 2.1.0 (OASIS), which code hosts show beside the code.

A result is a rule that a target broke, however often, with its first example. Its place is the scenario file; the
stream, the event and the byte are in its logical location and in its text. A rule that the scenario accepts is a
suppressed result; an ignored one is none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from streambench import __version__
from streambench.analysis.rule_index import known_rules
from streambench.analysis.summary import Summary
from streambench.analysis.tally import RuleCount
from streambench.analysis.target import TargetSummary
from streambench.findings import Severity
from streambench.report.wording import rule_sentence
from streambench.rules import Rule

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVELS = {Severity.VIOLATION: "error", Severity.INFO: "note"}


def write(summary: Summary, folder: Path, *, plots: bool) -> Path:
    """Write `streambench.sarif`."""
    path = folder / "streambench.sarif"
    path.write_text(json.dumps(render_sarif(summary), indent=2, ensure_ascii=False) + "\n", "utf-8")
    return path


def render_sarif(summary: Summary) -> dict[str, Any]:
    """The run as a SARIF log with every rule that it could have broken."""
    rules = known_rules()
    results = [
        _result(summary, target, broken, rules)
        for target in summary.targets.values()
        for broken in target.rules
        if not broken.is_ignored
    ]
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "streambench",
                        "semanticVersion": __version__,
                        "rules": [_descriptor(rule) for rule in rules],
                    }
                },
                "invocations": [{"executionSuccessful": bool(summary.generator["valid"]) and not summary.interrupted}],
                "results": results,
            }
        ],
    }


def _descriptor(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.requirement},
        "help": {"text": f"{rule.requirement} Source: {rule.source}."},
        "defaultConfiguration": {"level": LEVELS[rule.severity]},
        "properties": {"axis": rule.axis, "source": rule.source, "tags": [str(rule.axis)]},
    }


def _result(summary: Summary, target: TargetSummary, broken: RuleCount, rules: Sequence[Rule]) -> dict[str, Any]:
    example = broken.example
    place = broken.example_stream + ("" if example.event_index is None else f"/event {example.event_index + 1}")
    result: dict[str, Any] = {
        "ruleId": broken.rule,
        "level": LEVELS[broken.severity],
        "message": {"text": rule_sentence(target, broken)},
        "occurrenceCount": broken.count,
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(summary.header["scenario"]["path"].replace("\\", "/"))}
                },
                "logicalLocations": [{"name": target.name, "fullyQualifiedName": place, "kind": "resource"}],
            }
        ],
        # What stays the same from run to run, so that a finding is not taken for a new one each time.
        "partialFingerprints": {"rule/v1": f"{target.name}/{broken.rule}"},
    }
    if broken.is_accepted:
        reason = broken.waiver.reason if broken.waiver is not None else None
        suppression = {"kind": "external", "status": "accepted"}
        result["suppressions"] = [suppression if reason is None else {**suppression, "justification": reason}]
    index = next((i for i, rule in enumerate(rules) if rule.covers(broken.rule)), None)
    if index is not None:
        family = rules[index]
        result["ruleIndex"] = index
        result["ruleId"] = broken.rule if not family.is_family else f"{family.id}/{broken.rule}"
    return result
