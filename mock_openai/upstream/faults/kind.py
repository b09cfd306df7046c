"""What a kind of fault is: its name, its options, where it may be placed, and what it needs of a reply.

A fault is a plain name (`"missing-done"`) or an object::

    {"fault": "cut-fin", "at": {"chunk": 5}, "probability": 0.2}

`at` is one of `{"chunk": n}` (the n-th content chunk from 1; what ends or delays a reply does so right after it, and 0
is before the first), `{"byte": n}` (after n bytes of the body), `{"ms": t}` (t ms after the request came) or
`{"probability": p}` (drawn for every content chunk). `probability` beside it is drawn once for each reply.
Every draw comes from the seed of the plan, so a fault happens again to the same reply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mock_openai.upstream.params import Refusal

MAX_MS = 3_600_000
MAX_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Range:
    """A number option: its default (None: not given) and its bounds. `shown`: what the reference calls the default."""

    default: float | None
    low: float
    high: float
    shown: str = ""


@dataclass(frozen=True, slots=True)
class Words:
    """A string option of one line; `choices` empty: any text."""

    default: str | None
    choices: tuple[str, ...] = ()
    shown: str = ""


MS = Range(1000, 0, MAX_MS)
FOREVER_MS = Range(None, 0, MAX_MS, "forever")
GAP_MS = Range(20, 0, MAX_MS)


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a reply: `unit` is chunk, byte, ms or probability."""

    unit: str
    value: float


@dataclass(frozen=True, slots=True)
class Kind:
    """One entry of the catalogue; each stage adds its effect in a subclass.

    `told`: what happens, for the reference. `placed`: an `at` may be given. `stream_only`: replies in one body are
    spared. `wide_text`: generated text has characters of several bytes. `problem`: what is wrong with a set of options,
    or None. `instead_of_whole`: the error that a reply in one body is replaced by.
    """

    name: str
    told: str
    options: Mapping[str, Range | Words] = field(default_factory=dict)
    placed: bool = False
    stream_only: bool = False
    wide_text: bool = False
    problem: Callable[[Mapping[str, Any]], str | None] | None = None
    instead_of_whole: Callable[[Fault], Refusal] | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault as ordered, with every option filled in. `where` None: the default place, or a fault without a place."""

    kind: Kind
    where: Where | None = None
    probability: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What plans and the journal call it."""
        return self.kind.name

    def ms_ns(self, option: str = "ms") -> int | None:
        """A duration option in nanoseconds; None where it was left open."""
        value = self.options[option]
        return None if value is None else round(value * 1_000_000)
