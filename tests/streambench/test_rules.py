"""The registry of rules: each declared once, findings made by them, and a page that lists them all."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from streambench.analysis.rule_index import known_rules
from streambench.findings import Axis, Finding, Severity
from streambench.rules import Rule, declare, rule_of
from tools.imports import module_files
from tools.rules import PAGE, page

RULE = Rule("mine.shouting", Axis.CONTENT, "Nobody shouts.", "good manners")
FAMILY = Rule("PATH.louder", Axis.TIMING, "It gets no louder.", "good manners")


def test_a_finding_has_the_id_and_the_axis_of_its_rule() -> None:
    assert RULE.found("Not so loud.", event_index=3, offset=7, got="HEY", expected=("hey",)) == Finding(
        Axis.CONTENT, "mine.shouting", "Not so loud.", Severity.VIOLATION, 3, 7, "HEY", ("hey",)
    )


def test_a_violation_is_mere_information_only_where_the_rule_allows_it() -> None:
    with pytest.raises(ValueError, match=r"mine\.shouting cannot be info"):
        RULE.found("Hm.", severity=Severity.INFO)
    lenient = Rule("mine.humming", Axis.CONTENT, "Nobody hums.", "good manners", may_inform=True)
    assert lenient.found("Hm.", severity=Severity.INFO).severity is Severity.INFO
    note = Rule("mine.breathing", Axis.INTEROP, "Nobody breathes.", "good manners", Severity.INFO)
    assert note.found("Hm.").severity is Severity.INFO


def test_a_member_of_a_family_has_its_name() -> None:
    assert FAMILY.of("message.id").id == "message.id.louder"
    assert FAMILY.is_family
    assert not RULE.is_family
    assert FAMILY.covers("message.id.louder")
    assert not FAMILY.covers(".louder")
    assert not FAMILY.covers("message.id.quieter")
    assert RULE.covers("mine.shouting")
    assert not RULE.covers("mine.shouting.twice")


def test_an_id_is_declared_once() -> None:
    known = known_rules()
    assert len({rule.id for rule in known}) == len(known)
    first = known[0]
    assert declare(first) is first
    with pytest.raises(ValueError, match="there is another rule"):
        declare(Rule(first.id, first.axis, "Something else.", first.source))


def test_the_rule_of_a_finding_is_found_by_its_id() -> None:
    known_rules()
    for rule_id, declared in (
        ("sse.crlf", "sse.crlf"),
        ("schema.token", "schema.EVENT"),
        ("choices.0.index.constant", "PATH.constant"),
        ("content.concat", "content.concat"),
    ):
        found = rule_of(rule_id)
        assert found is not None
        assert found.id == declared
    assert rule_of("nobody.knows.this") is None


@pytest.mark.parametrize("rule", known_rules(), ids=lambda rule: rule.id)
def test_a_rule_says_in_a_sentence_what_it_asks_for_and_who_says_so(rule: Rule) -> None:
    assert rule.requirement[0].isupper() or rule.requirement[0] == "`"
    assert rule.requirement.endswith(".")
    assert rule.source
    assert (rule.axis is not Axis.INTEROP) or (rule.severity is Severity.INFO)


def test_no_finding_is_made_without_a_rule() -> None:
    """Except in the two modules that say what a finding and a rule are."""
    files = module_files()
    own = {"streambench.findings", "streambench.rules"}
    makers = [
        module
        for module, path in files.items()
        if module.startswith("streambench.") and module not in own and _makes_findings(path)
    ]
    assert makers == []


def _makes_findings(path: Path) -> bool:
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
    )


def test_the_page_of_rules_is_that_of_the_code() -> None:
    assert PAGE.read_text("utf-8") == page(known_rules()), "write it anew: python -m tools.rules"
