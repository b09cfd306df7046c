"""Every fault that can be requested, and how a request for one is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mock_openai.upstream.faults import before, content, ending, frames, writing
from mock_openai.upstream.faults.kind import MAX_MS, Fault, Kind, Range, Where, Words

MAX_FAULTS = 32

STAGES: Mapping[str, Sequence[Kind]] = {
    "before the stream": before.KINDS,
    "left out of the reply": content.KINDS,
    "changed frames": frames.KINDS,
    "how the reply is written": writing.KINDS,
    "the end of the reply": ending.KINDS,
}
"""The kinds by stage. The faults of one reply act in this order."""

KINDS: Mapping[str, Kind] = {kind.name: kind for kinds in STAGES.values() for kind in kinds}
"""Every fault by name."""

_WHERE = {"chunk": (0, 1_000_000), "byte": (0, 1 << 40), "ms": (0, MAX_MS), "probability": (0, 1)}


class FaultError(ValueError):
    """A fault that cannot be ordered; the text says why and what is valid."""


def parse_faults(data: Any) -> tuple[Fault, ...]:
    """The faults of a plan's `faults` list. Raises FaultError."""
    if not isinstance(data, list):
        raise FaultError('`faults` is a list of names or of objects such as {"fault": "cut-fin", "at": {"chunk": 5}}')
    if len(data) > MAX_FAULTS:
        raise FaultError(f"at most {MAX_FAULTS} faults in one reply")
    return tuple(parse_fault(item) for item in data)


def parse_fault(data: Any) -> Fault:
    """One fault, by plain name or as an object. Raises FaultError."""
    given = {"fault": data} if isinstance(data, str) else data
    if not isinstance(given, dict) or "fault" not in given:
        raise FaultError("a fault is a name or an object with `fault`")
    name = given["fault"]
    if not isinstance(name, str) or name not in KINDS:
        raise FaultError(f"unknown fault {name!r}: one of {', '.join(KINDS)}")
    kind = KINDS[name]
    unknown = given.keys() - {"fault", "at", "probability"} - kind.options.keys()
    if unknown:
        takes = ", ".join(kind.options) or "no options"
        raise FaultError(f"fault `{name}` does not take {', '.join(sorted(unknown))}; it takes {takes}")
    options = {key: _option(name, key, spec, given.get(key)) for key, spec in kind.options.items()}
    problem = kind.problem(options) if kind.problem is not None else None
    if problem is not None:
        raise FaultError(f"fault `{name}` {problem}")
    return Fault(kind, _where(kind, given.get("at")), _probability(name, given.get("probability")), options)


def _option(fault: str, key: str, spec: Range | Words, value: Any) -> Any:
    if value is None:
        return spec.default
    if isinstance(spec, Range):
        if isinstance(value, bool) or not isinstance(value, int | float) or not spec.low <= value <= spec.high:
            raise FaultError(f"`{key}` of fault `{fault}` is a number from {spec.low:g} to {spec.high:g}")
        return value
    if isinstance(value, bool):
        value = str(value).lower()
    if not isinstance(value, str) or (spec.choices and value not in spec.choices):
        raise FaultError(f"`{key}` of fault `{fault}` is {', '.join(spec.choices) or 'a string'}")
    if "\r" in value or "\n" in value:
        raise FaultError(f"`{key}` of fault `{fault}` is one line")
    return value


def _where(kind: Kind, data: Any) -> Where | None:
    if data is None:
        return None
    if not kind.placed:
        raise FaultError(f"fault `{kind.name}` is about the whole reply and takes no `at`")
    if not isinstance(data, dict) or len(data) != 1:
        raise FaultError(f"`at` of fault `{kind.name}` is an object with one of {', '.join(_WHERE)}")
    ((unit, value),) = data.items()
    if unit not in _WHERE:
        raise FaultError(f"`at` of fault `{kind.name}` is an object with one of {', '.join(_WHERE)}, not {unit!r}")
    low, high = _WHERE[unit]
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise FaultError(f"`at.{unit}` of fault `{kind.name}` is a number from {low} to {high}")
    if unit in ("chunk", "byte") and value != int(value):
        raise FaultError(f"`at.{unit}` of fault `{kind.name}` is an integer")
    return Where(unit, value)


def _probability(name: str, value: Any) -> float:
    if value is None:
        return 1.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise FaultError(f"`probability` of fault `{name}` is a number from 0 to 1")
    return float(value)
