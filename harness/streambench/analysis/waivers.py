"""Rules that a scenario tolerates: an accepted one is shown and fails nothing, an ignored one is not counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from streambench.rules import covers


@dataclass(frozen=True, slots=True)
class Waiver:
    """One rule, or a family of them, that may be broken: by `target`, or by all of them (None), for this `reason`.

    `ignored`: what is found of it is not counted either.
    """

    rule: str
    target: str | None = None
    reason: str | None = None
    ignored: bool = False

    @property
    def key(self) -> str:
        """The key of the scenario file that lists it: `accept` or `ignore`."""
        return "ignore" if self.ignored else "accept"

    def concerns(self, target: str, rule_id: str) -> bool:
        """Whether it is about this rule where this target breaks it."""
        return self.target in (None, target) and covers(self.rule, rule_id)

    def to_json(self) -> dict[str, Any]:
        """As it stands in the header of the records; what is not given is left out."""
        given = {"rule": self.rule, "target": self.target, "reason": self.reason}
        return {name: value for name, value in given.items() if value is not None}


def read_waivers(accepted: Iterable[dict[str, Any]], ignored: Iterable[dict[str, Any]]) -> tuple[Waiver, ...]:
    """The waivers of a header; those that ignore come first, since what is ignored is not accepted too."""
    return (
        *(Waiver(one["rule"], one.get("target"), one.get("reason"), ignored=True) for one in ignored),
        *(Waiver(one["rule"], one.get("target"), one.get("reason")) for one in accepted),
    )


def waiver_of(waivers: Sequence[Waiver], target: str, rule_id: str) -> Waiver | None:
    """The first waiver that is about a rule which a target breaks."""
    return next((waiver for waiver in waivers if waiver.concerns(target, rule_id)), None)
