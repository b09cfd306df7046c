"""`accept` and `ignore` of a scenario file: the rules that may be broken."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from streambench.analysis.rule_index import check_rule, rule_names, rule_pattern
from streambench.analysis.waivers import Waiver
from streambench.load.fields import Field, Section
from streambench.load.kinds import Schema, Text, pattern
from streambench.load.values import Values
from streambench.located import Located, describe

RULE: Field[str] = Field("rule", Text(), "the rule, or a family of rules as the reference writes it", "", required=True)
TARGET: Field[str | None] = Field("target", Text(), "the target that may break it", None, shown="every target")
REASON: Field[str | None] = Field("reason", Text(), "why it may, for the report", None, shown="")
NEEDED_REASON: Field[str] = Field("reason", Text(), "why nobody needs to hear of it", "", required=True)
ACCEPTED = Section("an accepted rule", RULE, TARGET, REASON)
IGNORED = Section("an ignored rule", RULE, TARGET, NEEDED_REASON)


@dataclass(frozen=True, slots=True)
class WaiverList:
    """A list of rules. An accepted one may be given by its name alone; an ignored one needs a reason."""

    ignored: bool = False

    def read(self, node: Located, values: Values, what: str) -> Sequence[Located]:
        """The items; `read_waivers` checks them, for which it needs the targets."""
        return () if node.value is None else node.sequence(what)

    def schema(self) -> Schema:
        """A list of such rules."""
        item = self.section.schema()
        name = pattern(rule_pattern())
        item["properties"][RULE.name] |= name
        items = item if self.ignored else {"anyOf": [name, item]}
        return {"type": ["array", "null"], "items": items}

    def show(self, value: Any) -> str:
        """Never shown: the list is empty by default."""
        return ""

    @property
    def section(self) -> Section:
        """The keys of an item."""
        return IGNORED if self.ignored else ACCEPTED


ACCEPT: Field[Sequence[Located]] = Field(
    "accept",
    WaiverList(),
    "[rules that may be broken](#accept-and-ignore): their violations are shown but fail no gate",
    (),
    shown="",
)
IGNORE: Field[Sequence[Located]] = Field(
    "ignore",
    WaiverList(ignored=True),
    "[rules that are not counted](#accept-and-ignore), each with a `reason`",
    (),
    shown="",
)


def read_waivers(
    accepted: Sequence[Located], ignored: Sequence[Located], values: Values, targets: Collection[str]
) -> tuple[Waiver, ...]:
    """The waivers of both lists, those that ignore first. Raises a located ConfigurationError."""
    return (
        *(_read(node, values, targets, ignored=True) for node in ignored),
        *(_read(node, values, targets, ignored=False) for node in accepted),
    )


def _read(node: Located, values: Values, targets: Collection[str], *, ignored: bool) -> Waiver:
    if isinstance(node.value, str):
        if ignored:
            raise node.error(f"an ignored rule needs a reason: {{rule: {node.value}, reason: …}}")
        _check_rule(node)
        return Waiver(node.value)
    section = WaiverList(ignored).section
    if not isinstance(node.value, dict):
        raise node.error(f"{section.what} is its name, or a mapping with its 'rule', not {describe(node.value)}")
    given = section.read(node, values)
    _check_rule(given.at(RULE))
    target = given[TARGET]
    reason = given[NEEDED_REASON] if ignored else given[REASON]
    if target is not None and target not in targets:
        names = ", ".join(targets)
        raise given.at(TARGET).error(
            f"there is no target {target!r}; the targets are {names}.", text=target, valid=targets
        )
    if ignored and not (reason or "").strip():
        raise given.at(NEEDED_REASON).error("an ignored rule needs a reason: say why it may be ignored")
    return Waiver(given[RULE], target, reason, ignored)


def _check_rule(node: Located) -> None:
    name = node.string("the name of a rule")
    wrong = check_rule(name)
    if wrong is not None:
        raise node.error(wrong, text=name, valid=rule_names())
