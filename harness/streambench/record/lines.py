"""What each kind of line in `records.jsonl` holds, and whether a line that was read holds it.

A file may have been damaged, or written by somebody else. So nothing that is read of it is used before its type is
known: `Shape` says so of the many lines of streams, and `fault` of the few others, with the place.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Any, Literal, TypedDict, Union, get_args, get_origin, get_type_hints, is_typeddict

SCHEMA = "streambench.records/1"
# Moments and counts stay within what 64 bits hold, differences and sums of two of them included.
LIMIT = 1 << 62
MAX_SHAPES = 4096


# What reaches a milestone of a target, and what it is measured from.
Milestone = TypedDict("Milestone", {"events": list[str], "from": str, "text": bool})


class TargetFacts(TypedDict):
    """What the header says of a target."""

    dialect: str
    transport: str
    url: str
    two_sided: bool


class Target(TargetFacts, total=False):
    """What it may say besides."""

    upstream: str | None
    dialect_file: str
    milestones: dict[str, Milestone]


class ScenarioFacts(TypedDict):
    """Which scenario was run."""

    name: str
    path: str
    hash: str


class Environment(TypedDict):
    """What ran the load."""

    cpu: str
    cores: int
    platform: str
    python: str


class Settings(TypedDict):
    """What figures are computed with."""

    stall_after_ms: float
    reading_wpm: float


class _Waiver(TypedDict):
    rule: str


class Waiver(_Waiver, total=False):
    """A rule that may be broken."""

    target: str | None
    reason: str | None


class Header(TypedDict):
    """What the first line must say. It says more; of that, `Additions` is read back."""

    scenario: ScenarioFacts
    started: str
    start_ns: int
    targets: dict[str, Target]
    gates: list[str]
    settings: Settings
    environment: Environment
    streambench: str
    seed: int | None
    warmup_s: float
    phases: list[str]


class Calibration(TypedDict):
    """When this machine was last calibrated, and what came of it."""

    calibrated: str
    sentence: str


class Additions(TypedDict, total=False):
    """What the scenario tolerates, and the machine's calibration; older files lack them."""

    accept: list[Waiver]
    ignore: list[Waiver]
    calibration: Calibration | None


class Generator(TypedDict, total=False):
    """What the generator saw of itself, about once a second."""

    at_ns: int
    loop_lag_p99_ms: float | None
    cpu: float | None
    gc_pause_ms: float
    worker: str


class _Counted(TypedDict):
    streams: int


class Begun(_Counted, total=False):
    """How many streams had begun; with several generators, those of one."""

    at_ns: int
    worker: str


class Step(TypedDict):
    """A step of a sweep that was held: which load, for the streams that were due from when to before when."""

    load: float
    begin_ns: int
    end_ns: int
    server_wait: dict[str, float]


class _Judged(TypedDict):
    valid: bool
    reasons: list[str]


class Worker(TypedDict, total=False):
    """One of several generators."""

    name: str
    late: bool
    lost: bool
    records: int
    cpu: float | None
    loop_lag_p99_ms: float | None
    start_delay_p99_ms: float | None
    coalesced_reads: int


class Verdict(_Judged, total=False):
    """The generator's verdict on itself."""

    requested_rate: float | None
    achieved_rate: float | None
    start_delay_p99_ms: float | None
    loop_lag_p99_ms: float | None
    upstream_late_p95_ms: float | None
    server_wait: dict[str, float]
    cpu: float | None
    gc_pause_ms: float
    stamps: str
    coalesced_reads: int
    reads: int
    workers: list[Worker]
    lost: list[str]


class Server(TypedDict):
    """A server that was started for the run: its resident set in bytes when the load began, and at most."""

    url: str | None
    rss_begin: int
    rss_peak: int


class _Ended(TypedDict):
    at_ns: int
    reason: Literal["finished", "interrupted", "terminated"]
    generator: Verdict


class End(_Ended, total=False):
    """The last line. `streams`: how many had begun, each of which has a record."""

    streams: int
    servers: dict[str, Server]


def fault(value: Any, kind: Any, place: str = "") -> str | None:
    """What is wrong with a value that should be of a type: its place and what it should be; None where nothing is.

    A type is one of this module, a plain one, or `list`, `dict`, `Literal` or a union of such.
    """
    origin = get_origin(kind)
    if kind is Any:
        return None
    if is_typeddict(kind):
        return _fault_in_keys(value, kind, place)
    if origin in (Union, UnionType):
        faults = [fault(value, one, place) for one in get_args(kind)]
        return None if None in faults else faults[0]
    if origin is Literal:
        return None if value in get_args(kind) else f"{place} is none of {', '.join(get_args(kind))}"
    if origin is list:
        if value.__class__ is not list:
            return f"{place} is no list"
        (inner,) = get_args(kind)
        return _first(fault(item, inner, f"{place}[{number}]") for number, item in enumerate(value))
    if origin is dict:
        if value.__class__ is not dict:
            return f"{place} is no object"
        inner = get_args(kind)[1]
        return _first(fault(item, inner, f"{place}.{key}") for key, item in value.items())
    return None if _is_plain(value, kind) else f"{place} is no {_WORDS[kind]}"


_WORDS = {
    int: "whole number",
    float: "number",
    str: "text",
    bool: "yes or no",
    list: "list",
    dict: "object",
    type(None): "null",
}


def _is_plain(value: Any, kind: type) -> bool:
    if kind is int:
        return value.__class__ is int and -LIMIT < value < LIMIT
    if kind is float:
        return value.__class__ in (int, float) and math.isfinite(value) and -LIMIT < value < LIMIT
    return value.__class__ is kind


def _fault_in_keys(value: Any, kind: Any, place: str) -> str | None:
    if value.__class__ is not dict:
        return f"{place or 'the line'} is no object"
    before = f"{place}." if place else ""
    for name, inner in get_type_hints(kind).items():
        if name in value:
            found = fault(value[name], inner, before + name)
            if found is not None:
                return found
        elif name in kind.__required_keys__:
            return f"{before}{name} is missing"
    return None


def _first(faults: Iterable[str | None]) -> str | None:
    return next((found for found in faults if found is not None), None)


class Shape:
    """The keys that the objects of one kind have, and the types of their values; keys of later versions are let be.

    A file has very many objects and very few combinations of types, so each combination is looked at once. What is in
    lists and objects of a value is not looked at. Older files lack the `optional` keys.
    """

    __slots__ = ("_keys", "_known", "_optional", "_required")

    def __init__(
        self, required: Mapping[str, tuple[type, ...]], optional: Mapping[str, tuple[type, ...]] | None = None
    ) -> None:
        self._required = required
        self._optional = optional or {}
        self._keys: list[str] = []  # of the newest object
        self._known: set[tuple[type, ...]] = set()  # what its values may be

    def check(self, data: Any) -> None:
        """Raise ValueError, which says what is wrong, where a value is not such an object."""
        if data.__class__ is not dict:
            raise ValueError("it is no object")
        keys, types = list(data), tuple(map(type, data.values()))
        if types in self._known and keys == self._keys:
            return
        self._judge(data)
        if keys != self._keys or len(self._known) == MAX_SHAPES:
            self._keys, self._known = keys, set()
        self._known.add(types)

    def _judge(self, data: dict[str, Any]) -> None:
        for name, kinds in [*self._required.items(), *self._optional.items()]:
            if name in data:
                if data[name].__class__ not in kinds:
                    raise ValueError(f"{name} is no {' or '.join(_WORDS[kind] for kind in kinds)}")
            elif name in self._required:
                raise ValueError(f"{name} is missing")
