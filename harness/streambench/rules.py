"""The rules that findings name: each is declared once, next to the code that detects violations.

A rule that is one of many by its name is a family, and the part of its id in capitals stands for the name:
`schema.EVENT` has the members `schema.token` and `schema.done`, `PATH.constant` the member `message.id.constant`.
Plugged-in checks declare their rules in the same way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from streambench.findings import Axis, Finding, Severity
from streambench.printable import printable

_PLACE = re.compile(r"\b[A-Z]{2,}\b")

_declared: dict[str, Rule] = {}


@dataclass(slots=True, frozen=True)
class Rule:
    """What a protocol asks for.

    `requirement` says in one sentence what must hold, and `source` who says so, with the section. `severity` is what
    breaking it means; with `may_inform` a finding may be mere information although the rule is not. Rules of the axis
    `interop` are always information.
    """

    id: str
    axis: Axis
    requirement: str
    source: str
    severity: Severity = Severity.VIOLATION
    may_inform: bool = False

    @property
    def is_family(self) -> bool:
        """Whether the id has a place for a name."""
        return _PLACE.search(self.id) is not None

    def of(self, name: str) -> Rule:
        """The member of this family that `name` tells apart."""
        return replace(self, id=_PLACE.sub(lambda _: name, self.id, count=1))

    def found(
        self,
        message: str,
        *,
        severity: Severity | None = None,
        event_index: int | None = None,
        offset: int | None = None,
        got: str | None = None,
        expected: tuple[str, ...] = (),
    ) -> Finding:
        """A finding of this rule; the places are those of `Finding`.

        Raises ValueError where the rule cannot have the severity.
        """
        weight = self.severity if severity is None else severity
        if weight is not self.severity and not (self.may_inform and weight is Severity.INFO):
            raise ValueError(f"a finding of {self.id} cannot be {weight}")
        return Finding(
            self.axis,
            self.id,
            printable(message),
            weight,
            event_index,
            offset,
            None if got is None else printable(got),
            tuple(map(printable, expected)),
        )

    def covers(self, rule_id: str) -> bool:
        """Whether `rule_id` is this rule, or a member of this family."""
        return covers(self.id, rule_id)


def covers(rule_id: str, found_id: str) -> bool:
    """Whether `found_id` is the rule `rule_id`, or a member of the family that `rule_id` names."""
    return re.fullmatch(id_pattern(rule_id), found_id, re.DOTALL) is not None


def id_pattern(rule_id: str) -> str:
    """A regular expression of the rule's id, of a family those of its members."""
    return ".+".join(map(re.escape, _PLACE.split(rule_id, maxsplit=1)))


def declare(rule: Rule) -> Rule:
    """Enter a rule into the registry and return it. Raises ValueError where another rule has its id."""
    if _declared.setdefault(rule.id, rule) != rule:
        raise ValueError(f"there is another rule {rule.id!r}")
    return rule


def declare_note(rule_id: str, requirement: str, source: str) -> Rule:
    """Enter a rule of the axis `interop`: nothing is broken, but popular clients would read the bytes differently."""
    return declare(Rule(rule_id, Axis.INTEROP, requirement, source, Severity.INFO))


def declared_rules() -> tuple[Rule, ...]:
    """The rules of all modules that have been imported, in the order of their declaration."""
    return tuple(_declared.values())


def rule_of(rule_id: str) -> Rule | None:
    """The declared rule that a finding names, for a member its family; None where no imported module declares it."""
    exact = _declared.get(rule_id)
    if exact is not None:
        return exact
    return next((rule for rule in _declared.values() if rule.is_family and rule.covers(rule_id)), None)
