"""`load` of a scenario file: the phases, one after the other, and their warm-up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streambench.drivers.leaving import Leave
from streambench.load.executors import PHASE_TYPES
from streambench.load.executors.closed import ClosedPhase
from streambench.load.executors.keys import PhaseType
from streambench.load.executors.sweep import SweepPhase
from streambench.load.executors.trace import REPLAY
from streambench.load.fields import TAKERS, Field, Given, Nested, Section
from streambench.load.kinds import Duration, Integer, Plain, Schema
from streambench.load.leaving import SECTION as LEAVE_SECTION
from streambench.load.leaving import read_leave
from streambench.load.phase import Phase
from streambench.load.values import Values
from streambench.located import Located

WARMUP = Field(
    "warmup",
    Duration(),
    "time before the first phase, under that phase's load (a ramp's first rate, the first step): its "
    "streams are recorded but not judged; not allowed before a `trace`",
    0,
)
MAX_WORKERS = 256


class WorkersKind:
    """A number of processes, or `auto`, which is read as None."""

    _number = Integer(1, MAX_WORKERS)

    def read(self, node: Located, values: Values, what: str) -> int | None:
        """The number; None for what the machine decides. Raises ConfigurationError."""
        return None if node.value == AUTO else self._number.read(node, values, what)

    def schema(self) -> Schema:
        """A number, or the word."""
        return {"anyOf": [{"const": AUTO}, self._number.schema()]}

    def show(self, value: Any) -> str:
        """The number."""
        return f"`{value}`"


AUTO = "auto"
WORKERS: Field[int | None] = Field(
    "workers",
    WorkersKind(),
    "processes that share the load, 1 to 256; `auto`: the number of cores, less one for each served component",
    1,
)
PHASES: Field[Any] = Field(
    "phases", Plain(), "a list of phases; the keys of a single phase may also stand in `load` itself", None
)
LEAVE: Field[Given | None] = Field(
    "leave", Nested(LEAVE_SECTION), "users who [leave](#users-who-leave) before their reply is complete", None
)
SECTION = Section("'load'", WARMUP, WORKERS, LEAVE, PHASES)
_PHASE_KEYS = tuple(dict.fromkeys(name for kind in PHASE_TYPES for name in kind.section.fields))


@dataclass(frozen=True, slots=True)
class Load:
    """The phases, one after the other; what starts in the first `warmup_ns` is recorded but not judged.

    `workers` processes share them; None: the machine decides how many. `leave` None: every user waits for the end of
    its reply.
    """

    phases: Sequence[Phase] = (ClosedPhase(users=1, streams=1),)
    warmup_ns: int = 0
    workers: int | None = 1
    leave: Leave | None = None


class LoadKind:
    """`load` as a type: phases, or the keys of one phase."""

    def read(self, node: Located, values: Values, what: str) -> Load:
        """The load. Raises ConfigurationError."""
        keys = node.mapping(what, (*SECTION.fields, *_PHASE_KEYS), elsewhere=TAKERS)
        given = Given(node, keys, values)
        warmup_ns, leave = given[WARMUP], read_leave(given[LEAVE])
        listed = given.get(PHASES)
        if listed is None:
            phases = [_phase(node, {key: keys[key] for key in keys if key not in SECTION.fields}, values)]
        else:
            for key in _PHASE_KEYS:
                if key in keys:
                    raise node.key_error(key, f"{key!r} belongs inside one of the phases, since 'load' lists phases")
            items = listed.sequence("'phases'")
            if not items:
                raise listed.error("the list is empty: there is no phase to run")
            phases = [
                _phase(item, item.mapping("a phase of 'load'", _PHASE_KEYS, elsewhere=TAKERS), values) for item in items
            ]
        if len(phases) > 1 and any(isinstance(phase, SweepPhase) for phase in phases):
            raise node.error("a sweep is a run of its own: leave the other phases out, or give them another scenario")
        first = keys if listed is None else listed.value[0].value
        if warmup_ns and REPLAY.key in first:
            raise node.key_error("warmup", "a trace has no rate to warm up with: put a phase with users before it")
        return Load(tuple(phases), warmup_ns, given[WORKERS], leave)

    def schema(self) -> Schema:
        """One phase with a warm-up, or a list of phases."""
        around = {field.name: field.schema() for field in (WARMUP, WORKERS, LEAVE)}
        phases = {PHASES.name: {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/phase"}}}
        no_trace_first = {PHASES.name: {"prefixItems": [{"not": {"required": [REPLAY.key]}}]}}
        rule = {"if": {"required": [WARMUP.name]}, "then": {"properties": no_trace_first}}
        several = {**Section("'load'").schema({**around, **phases}), **rule}
        return {"type": "object", "if": {"required": [PHASES.name]}, "then": several, "else": phase_schema(around)}

    def show(self, value: Any) -> str:
        """What an absent `load` is."""
        return "one user, one stream"


def phase_schema(more: Mapping[str, Any] | None = None) -> Schema:
    """A phase of any kind: the key that chooses the kind decides which others there may be."""
    first, *others = PHASE_TYPES
    schema = first.section.schema(more)
    for kind in others:
        its_own = {**more, WARMUP.name: {"const": 0}} if more and kind is REPLAY else more
        schema = {"if": {"required": [kind.key]}, "then": kind.section.schema(its_own), "else": schema}
    return schema


def _phase(node: Located, keys: Mapping[str, Located], values: Values) -> Phase:
    kinds = [kind for kind in PHASE_TYPES if kind.key in keys]
    if len(kinds) > 1:
        names = " or ".join(repr(kind.key) for kind in kinds)
        raise node.key_error(kinds[1].key, f"a phase has either {names}")
    kind = kinds[0] if kinds else PHASE_TYPES[0]
    for key in keys:
        if key not in kind.section.fields:
            raise node.key_error(key, f"{key!r} can only be used with {_takers(key)}")
    return kind.read(Given(node, keys, values))


def _takers(key: str) -> str:
    takers: list[PhaseType] = [kind for kind in PHASE_TYPES if key in kind.section.fields]
    return " or ".join(repr(kind.key) for kind in takers)
