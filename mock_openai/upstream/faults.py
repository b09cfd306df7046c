"""The faults that can be ordered: their names, their options, and where in a reply they happen.

A fault is a plain name (`"missing-done"`) or an object::

    {"fault": "cut-fin", "at": {"chunk": 5}, "probability": 0.2}

`at` is one of `{"chunk": n}` (the n-th content chunk from 1; what ends or delays a reply does so right after it, and 0
is before the first), `{"byte": n}` (after n bytes of the body), `{"ms": t}` (t ms after the request came) or
`{"probability": p}` (drawn for every content chunk). `probability` beside it is drawn once for each reply.
Every draw comes from the seed of the plan, so a fault happens again to the same reply.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

MAX_FAULTS = 32
MAX_MS = 3_600_000
MAX_BYTES = 16 << 20


class FaultError(ValueError):
    """A fault that cannot be ordered; the text says why and what is valid."""


class Stage(Enum):
    """When a fault acts."""

    BEFORE = "before the stream"
    CONTENT = "left out of the reply"
    STREAM = "in the stream"
    AFTER = "after the stream"


@dataclass(frozen=True, slots=True)
class Range:
    """A number option: its default (None: not given) and its bounds."""

    default: float | None
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Words:
    """A string option; `choices` empty: any text."""

    default: str | None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Kind:
    """One entry of the catalogue. `placed`: an `at` may be given. `stream_only`: replies in one body are spared."""

    stage: Stage
    options: Mapping[str, Range | Words] = field(default_factory=dict)
    placed: bool = False
    stream_only: bool = False


_MS = Range(1000, 0, MAX_MS)
_FOREVER_MS = Range(None, 0, MAX_MS)
_GAP_MS = Range(20, 0, MAX_MS)


def _in_stream(**options: Range | Words) -> Kind:
    return Kind(Stage.STREAM, options, placed=True)


def _between_frames(**options: Range | Words) -> Kind:
    return Kind(Stage.STREAM, options, placed=True, stream_only=True)


KINDS: Mapping[str, Kind] = {
    # Before the stream.
    "status": Kind(
        Stage.BEFORE,
        {
            "status": Range(500, 300, 599),
            "message": Words(None),
            "type": Words(None),
            "code": Words(None),
            "should_retry": Words(None, ("true", "false")),
        },
    ),
    "rate-limit": Kind(
        Stage.BEFORE,
        {
            "retry": Words("retry-after", ("retry-after", "retry-after-ms", "retry-after-date", "none")),
            "after_ms": _MS,
            "limit": Words("requests", ("requests", "tokens", "insufficient_quota")),
            "should_retry": Words(None, ("true", "false")),
        },
    ),
    "quota": Kind(
        Stage.BEFORE,
        {
            "requests": Range(None, 1, 1_000_000),
            "tokens": Range(None, 1, 1_000_000_000),
            "window_ms": Range(60_000, 1, MAX_MS),
        },
    ),
    "slow-headers": Kind(Stage.BEFORE, {"ms": _MS}),
    "silent-headers": Kind(Stage.BEFORE, {"ms": _FOREVER_MS}),
    "refuse": Kind(Stage.BEFORE, {"ms": Range(500, 1, 60_000)}),
    "reset": Kind(Stage.BEFORE),
    "close": Kind(Stage.BEFORE),
    "html": Kind(Stage.BEFORE),
    "content-type": Kind(Stage.BEFORE, {"content_type": Words("text/plain; charset=utf-8")}),
    "invalid-json": Kind(Stage.BEFORE),
    # Left out of the reply.
    "missing-finish": Kind(Stage.CONTENT),
    "missing-usage": Kind(Stage.CONTENT),
    "missing-done": Kind(Stage.CONTENT, stream_only=True),
    # In the stream.
    "cut-fin": _in_stream(),
    "cut-rst": _in_stream(),
    "cut-end": _in_stream(),
    "stall": _in_stream(ms=_MS),
    "stall-forever": _in_stream(ms=_FOREVER_MS),
    "error": _in_stream(
        message=Words("The server had an error while processing your request. Sorry about that!"),
        type=Words("server_error"),
        code=Words(None),
    ),
    "malformed-json": _in_stream(),
    "duplicate-chunk": _between_frames(),
    "reorder-chunks": _between_frames(),
    "lost-chunk": _between_frames(),
    "empty-choices": _between_frames(),
    "giant-chunk": _in_stream(bytes=Range(1 << 20, 1, MAX_BYTES)),
    "text-after-done": Kind(Stage.STREAM, {"text": Words(" and more")}, stream_only=True),
    "comments": _between_frames(text=Words("keep-alive"), every=Range(1, 1, 100_000)),
    "crlf": Kind(Stage.STREAM, stream_only=True),
    "split-utf8": _in_stream(gap_ms=_GAP_MS),
    "split-frame": _in_stream(gap_ms=_GAP_MS, byte=Range(None, 1, MAX_BYTES)),
    "coalesce": Kind(Stage.STREAM, {"chunks": Range(5, 2, 100_000)}, stream_only=True),
    "drip": _in_stream(gap_ms=Range(1, 0, 10_000), bytes=Range(1, 1, 65_536)),
    "gzip": Kind(Stage.STREAM),
    # After the stream.
    "hold-open": Kind(Stage.AFTER, {"ms": _FOREVER_MS}),
    "ignore-cancel": Kind(Stage.AFTER, {"ms": _FOREVER_MS}),
}
"""Every fault by name."""

_WHERE = {"chunk": (0, 1_000_000), "byte": (0, 1 << 40), "ms": (0, MAX_MS), "probability": (0, 1)}


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a reply: `unit` is chunk, byte, ms or probability."""

    unit: str
    value: float


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault as ordered, with every option filled in. `where` None: the default place, or a fault without a place."""

    name: str
    where: Where | None = None
    probability: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        return KINDS[self.name]

    def ms_ns(self, option: str = "ms") -> int | None:
        """A duration option in nanoseconds; None where it was left open."""
        value = self.options[option]
        return None if value is None else round(value * 1_000_000)


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
    if name == "quota" and options["requests"] is None and options["tokens"] is None:
        raise FaultError("fault `quota` needs `requests` or `tokens`")
    return Fault(name, _where(name, kind, given.get("at")), _probability(name, given.get("probability")), options)


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


def _where(name: str, kind: Kind, data: Any) -> Where | None:
    if data is None:
        return None
    if not kind.placed:
        raise FaultError(f"fault `{name}` is about the whole reply and takes no `at`")
    if not isinstance(data, dict) or len(data) != 1:
        raise FaultError(f"`at` of fault `{name}` is an object with one of {', '.join(_WHERE)}")
    ((unit, value),) = data.items()
    if unit not in _WHERE:
        raise FaultError(f"`at` of fault `{name}` is an object with one of {', '.join(_WHERE)}, not {unit!r}")
    low, high = _WHERE[unit]
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise FaultError(f"`at.{unit}` of fault `{name}` is a number from {low} to {high}")
    if unit in ("chunk", "byte") and value != int(value):
        raise FaultError(f"`at.{unit}` of fault `{name}` is an integer")
    return Where(unit, value)


def _probability(name: str, value: Any) -> float:
    if value is None:
        return 1.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise FaultError(f"`probability` of fault `{name}` is a number from 0 to 1")
    return float(value)


def drawn(faults: tuple[Fault, ...], draw: random.Random) -> tuple[Fault, ...]:
    """Those that happen to this reply. One number is drawn for each, so that one fault never moves another."""
    return tuple(fault for fault in faults if draw.random() < fault.probability)
