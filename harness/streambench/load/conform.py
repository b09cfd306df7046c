"""`conform` of a scenario file: which conformance cases there are for its targets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from streambench.located import Located


@dataclass(frozen=True, slots=True)
class ConformOptions:
    """What a scenario says of conformance. `profile` None: the dialect's bundled one; no `cases`: all of them.

    `gate`: `run` puts its targets through the cases, too, and what does not hold fails the run. `strict`: so does a
    broken SHOULD.
    """

    profile: Path | None = None
    cases: tuple[str, ...] = ()
    expected_failures: tuple[str, ...] = ()
    gate: bool = False
    strict: bool = False


def read_conform(node: Located | None, folder: Path) -> ConformOptions:
    """The options of a file in `folder`. Raises a located ConfigurationError."""
    if node is None or node.value is None:
        return ConformOptions()
    keys = node.mapping("'conform'", ("profile", "cases", "expected_failures", "gate", "strict"))
    profile = folder / keys["profile"].string("'profile'") if "profile" in keys else None
    return ConformOptions(
        profile,
        _texts(keys.get("cases")),
        _texts(keys.get("expected_failures")),
        _switch(keys.get("gate"), "'gate'"),
        _switch(keys.get("strict"), "'strict'"),
    )


def _switch(node: Located | None, what: str) -> bool:
    if node is not None and not isinstance(node.value, bool):
        raise node.error(f"{what} is true or false")
    return node is not None and bool(node.value)


def _texts(node: Located | None) -> tuple[str, ...]:
    return () if node is None else tuple(item.string("a case") for item in node.sequence("a list of cases"))
