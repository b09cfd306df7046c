"""A scenario: what is driven, how hard, and what must hold; and the keys at the top of its file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from streambench.analysis.gates import Gate, GateError
from streambench.analysis.goodput import parse_goodput
from streambench.analysis.waivers import Waiver
from streambench.load.bounds import SECTION as LIMITS_SECTION
from streambench.load.conform import ConformOptions
from streambench.load.fields import Field, Given, Nested, Section
from streambench.load.gate_pattern import gate_pattern
from streambench.load.kinds import Duration, Integer, Number, Plain, Schema
from streambench.load.phases import Load, LoadKind
from streambench.load.prompts import SECTION as PROMPTS_SECTION
from streambench.load.prompts import Prompts
from streambench.load.secrets import Secrets
from streambench.load.serve import MAX_SEED, Serve, ServeKind
from streambench.load.targets import Target
from streambench.load.values import Values
from streambench.load.waivers import ACCEPT, IGNORE
from streambench.located import Located
from streambench.transport.target import Timeouts
from streambench.units import NS_PER_MS

VERSION_NUMBER = 1
MAX_NAME_CHARS = 100
NAME_PATTERN = rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_NAME_CHARS - 1}}}"

_TIMEOUTS = Timeouts()
CONNECT = Field("connect", Duration(), "to open a connection, including TLS", _TIMEOUTS.connect_ns)
FIRST_CHUNK = Field("first_chunk", Duration(), "from the request to the first content", _TIMEOUTS.first_chunk_ns)
IDLE = Field(
    "idle",
    Duration(),
    "after the first content: from one read (on sockets, one message) to the next",
    _TIMEOUTS.idle_ns,
)
TOTAL = Field("total", Duration(), "from the request to the end of the reply", _TIMEOUTS.total_ns)
TIMEOUTS_SECTION = Section("'timeouts'", CONNECT, FIRST_CHUNK, IDLE, TOTAL)


def name_of_file(path: Path) -> str:
    """The name of a scenario that gives itself none: that of its file, as far as a folder may be called so."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).lstrip("._-")[:MAX_NAME_CHARS] or "scenario"


class Name:
    """What becomes the name of a folder."""

    def read(self, node: Located, values: Values, what: str) -> str:
        """The name. Raises ConfigurationError for what a folder should not be called."""
        name = node.string(what)
        if re.fullmatch(NAME_PATTERN, name) is None:
            raise node.error(
                f"a name is made of up to {MAX_NAME_CHARS} letters, digits, `.`, `_` and `-`: it becomes a folder"
            )
        return name

    def schema(self) -> Schema:
        """A string of such characters."""
        return {"type": "string", "pattern": f"^{NAME_PATTERN}$"}

    def show(self, value: Any) -> str:
        """The name."""
        return f"`{value}`"


class GateList:
    """Gates as texts. They are read with the targets, by the loader."""

    def read(self, node: Located, values: Values, what: str) -> Any:
        """The texts without places."""
        return node.plain()

    def schema(self) -> Schema:
        """A list of texts that could be gates."""
        return {"type": ["array", "null"], "items": {"type": "string", "pattern": gate_pattern()}}

    def show(self, value: Any) -> str:
        """Never shown: there are none by default."""
        return ""


class GoodputText:
    """Conditions that a good stream meets, joined by `and`."""

    def read(self, node: Located, values: Values, what: str) -> str:
        """The text. Raises ConfigurationError for conditions that no stream can be held against."""
        text = node.string(what)
        try:
            parse_goodput(text, values.milestones)
        except GateError as error:
            located = node.error(str(error), text=error.text, at=error.at)
            located.suggestion = error.suggestion
            raise located from None
        return text

    def schema(self) -> Schema:
        """A text."""
        return {"type": "string"}

    def show(self, value: Any) -> str:
        """The text."""
        return f"`{value}`"


VERSION = Field("version", Plain({"const": VERSION_NUMBER}), "version of this format", VERSION_NUMBER)
NAME: Field[str | None] = Field(
    "name", Name(), "up to 100 letters, digits, `.`, `_`, `-`; the folder of its runs", None, shown="the file's name"
)
SERVE: Field[Serve] = Field("serve", ServeKind(), "[servers](#serve) to start", Serve(), shown="none")
TARGET: Field[Any] = Field(
    "target",
    Plain({"$ref": "#/$defs/target"}),
    "the one [system under test](#target-and-targets), named after its dialect",
    None,
)
TARGETS: Field[Any] = Field(
    "targets",
    Plain(
        {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": f"^{NAME_PATTERN}$"},
            "additionalProperties": {"$ref": "#/$defs/target"},
        }
    ),
    "several of them, by name; instead of `target`",
    None,
)
PROMPTS: Field[Given | None] = Field(
    "prompts",
    Nested(PROMPTS_SECTION, in_table=False),
    "[what users ask](#prompts), and how the fake upstream replies",
    None,
    shown="one prompt",
)
LOAD: Field[Load] = Field("load", LoadKind(), "[how hard](#load)", Load(), shown="one user, one stream")
TIMEOUTS: Field[Given | None] = Field(
    "timeouts", Nested(TIMEOUTS_SECTION, in_table=False), "[how long to wait](#timeouts)", None
)
LIMITS: Field[Given | None] = Field(
    "limits", Nested(LIMITS_SECTION, in_table=False), "[how much a server may send](#limits)", None
)
GATES: Field[Any] = Field(
    "gates",
    GateList(),
    "[what must hold](gates.md), a list of gates",
    None,
)
GOODPUT: Field[str | None] = Field(
    "goodput",
    GoodputText(),
    "what makes a stream [good](metrics.md#goodput), such as `ttfc < 1s and gap_max < 200ms`",
    None,
    shown="not counted",
)
CONFORM: Field[Any] = Field(
    "conform",
    Plain(
        {
            "type": ["object", "null"],
            "properties": {
                "profile": {"type": "string"},
                "cases": {"type": "array", "items": {"type": "string"}},
                "expected_failures": {"type": "array", "items": {"type": "string"}},
                "gate": {"type": "boolean"},
                "strict": {"type": "boolean"},
            },
            "additionalProperties": False,
        }
    ),
    "[conformance cases](conformance/README.md): `profile`, a file beside the scenario; `cases`, "
    "patterns of the cases to run; `expected_failures`, ids of cases that may fail; `gate: true` "
    "makes `run` run the cases too, and fail if one fails; `strict: true` makes a broken SHOULD a "
    "failure",
    None,
    shown="all cases, and the dialect's bundled profile",
)
SEED = Field(
    "seed", Integer(0, MAX_SEED), "seed of the arrivals and of the fake upstream's texts and latencies, from 0", 0
)
STALL_AFTER = Field("stall_after", Duration(), "a longer gap is a stall", 500 * NS_PER_MS)
READING_WPM = Field(
    "reading_wpm",
    Number(1, 10_000),
    "reading speed for `qoe` and `reading_stall`, in words per minute, 1 to 10,000",
    250.0,
)
SECTION = Section(
    "a scenario",
    VERSION,
    NAME,
    SERVE,
    TARGET,
    TARGETS,
    PROMPTS,
    LOAD,
    TIMEOUTS,
    LIMITS,
    GATES,
    GOODPUT,
    ACCEPT,
    IGNORE,
    CONFORM,
    SEED,
    STALL_AFTER,
    READING_WPM,
    rules={"oneOf": [{"required": [TARGET.name]}, {"required": [TARGETS.name]}]},
)


def read_timeouts(given: Given | None) -> Timeouts:
    """The timeouts of a file; None where it has none."""
    if given is None:
        return Timeouts()
    return Timeouts(given[CONNECT], given[FIRST_CHUNK], given[IDLE], given[TOTAL])


@dataclass(frozen=True, slots=True)
class Source:
    """What a scenario was read from, so that another process can read the same: `path` is what the text is called.

    `overrides` replace what the text says, `gates` are added to its own.
    """

    text: str
    path: str
    overrides: Sequence[str] = ()
    gates: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Scenario:
    """A loaded scenario. `path` is the file it came from, `content_hash` the SHA-256 of it and of its overrides."""

    name: str
    path: str
    content_hash: str
    targets: tuple[Target, ...]
    serve: Serve = field(default_factory=Serve)
    prompts: Prompts = field(default_factory=Prompts)
    load: Load = field(default_factory=Load)
    timeouts: Timeouts = field(default_factory=Timeouts)
    gates: tuple[Gate, ...] = ()
    goodput: str | None = None
    waivers: tuple[Waiver, ...] = ()
    conform: ConformOptions = field(default_factory=ConformOptions)
    seed: int = SEED.default
    stall_after_ns: int = STALL_AFTER.default
    reading_wpm: float = READING_WPM.default
    secrets: Secrets = field(default_factory=Secrets)
    source: Source | None = None

    def served_by(self, urls: Mapping[str, str]) -> Scenario:
        """The scenario with the started servers' URLs in place of `${serve.…}`."""
        return replace(self, targets=tuple(target.served_by(urls) for target in self.targets))
