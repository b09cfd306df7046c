"""`serve` of a scenario file: the servers that a run starts, bundled ones and the user's own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from streambench.load.commands import COMMAND, Command, read_command
from streambench.load.commands import SECTION as COMMAND_SECTION
from streambench.load.fields import Field, Given, Nested, Section
from streambench.load.kinds import Integer, Scalar, ScalarMap, Schema
from streambench.load.profiles import LatencyProfile
from streambench.load.prompts import MAX_TOKENS
from streambench.load.values import Values
from streambench.located import Located

MAX_SEED = 2**63 - 1
NAME = r"[A-Za-z][A-Za-z0-9_-]*"

PROFILE = Field(
    "profile",
    LatencyProfile(),
    "latency profile: a name, or an object with its parameters (`{name: fixed, ttft_ms: 200, gap_ms: 20}`)",
    None,
    shown="`openai-fast`",
)
SEED = Field("seed", Integer(0, MAX_SEED), "seed for requests without a mark", 0)
TOKENS = Field("tokens", Integer(0, MAX_TOKENS), "length of a reply in tokens", 80)
STYLES = ("plain", "markdown")
STYLE = Field(
    "style", Scalar(STYLES), "style of generated texts: " + " or ".join(f"`{style}`" for style in STYLES), "plain"
)
MAX_WORKERS = 64
WORKERS = Field(
    "workers",
    Integer(1, MAX_WORKERS),
    "processes that serve as one upstream, with one port, one journal and the same plans",
    1,
)
OPENAI_SECTION = Section("'serve.openai'", PROFILE, SEED, TOKENS, STYLE, WORKERS)

MODES = (
    *("real", "paced", "rapid", "sentence", "hold-2", "hold-3", "hold-5", "hold-10"),
    *("slide-1", "slide-4", "slide-10", "blocking-typed", "blocking-at-once"),
)
STREAMING = Field("streaming", Scalar(MODES), ", ".join(f"`{mode}`" for mode in MODES), "real")
DB = Field("db", Scalar(), "its SQLite file, or `:memory:`", ":memory:")
USERS: Field[Any] = Field("users", ScalarMap("the token of"), "additional users: a mapping from name to token", None)
RATE_LIMIT = Field("rate_limit", Scalar(), "limit on the requests of one user, such as `5/s`", None, shown="none")
CHAT_SECTION = Section("'serve.chat'", STREAMING, DB, USERS, RATE_LIMIT)

OPENAI: Field[Given | None] = Field(
    "openai", Nested(OPENAI_SECTION, nullable=True), "the [fake upstream](mock.md)", None, shown="not started"
)
CHAT: Field[Given | None] = Field(
    "chat",
    Nested(CHAT_SECTION, nullable=True),
    "the reference chat server, in front of the fake upstream; needs `openai` beside it",
    None,
    shown="not started",
)
SECTION = Section("'serve'", OPENAI, CHAT, rules={"dependentRequired": {CHAT.name: [OPENAI.name]}})


@dataclass(frozen=True, slots=True)
class Serve:
    """The servers to start: the bundled ones' options, None for not starting one; then the commands, in order."""

    openai: Mapping[str, Any] | None = None
    chat: Mapping[str, Any] | None = None
    commands: tuple[Command, ...] = ()


class ServeKind:
    """`serve` as a type."""

    def read(self, node: Located, values: Values, what: str) -> Serve:
        """The servers; from now on `${serve.…}` may name them. Raises ConfigurationError."""
        keys = node.mapping(what)
        bundled = {name: keys[name] for name in SECTION.fields if name in keys}
        given = Given(node, bundled, values)
        values.served = set(bundled)
        if CHAT in given and OPENAI not in given:
            raise node.key_error(CHAT.name, "the chat server needs its upstream: add openai: {} beside it")
        openai, chat = _options(given, OPENAI, OPENAI_SECTION), _options(given, CHAT, CHAT_SECTION)
        return Serve(openai, chat, tuple(self._commands(node, keys, values)))

    def _commands(self, node: Located, keys: Mapping[str, Located], values: Values) -> Iterator[Command]:
        for name, item in keys.items():
            if name in SECTION.fields:
                continue
            if not isinstance(item.value, dict) or COMMAND.name not in item.value:
                raise node.key_error(
                    name,
                    f"'serve' starts {' and '.join(SECTION.fields)}; {name!r} would be a server of your own, and needs "
                    "its command: {command: …}.",
                    valid=SECTION.fields,
                )
            if re.fullmatch(NAME, name) is None:
                raise node.key_error(name, "a server's name is made of letters, digits, `_` and `-`")
            values.served.add(name)  # its own URL may be among its arguments
            yield read_command(name, item, values)

    def schema(self) -> Schema:
        """The bundled servers, and any other name with a command."""
        return {
            **SECTION.schema(),
            "additionalProperties": COMMAND_SECTION.schema(),
            "propertyNames": {"pattern": f"^({NAME})$"},
        }

    def show(self, value: Any) -> str:
        """What an absent `serve` is."""
        return "none"


def _options(given: Given, server: Field[Given | None], section: Section) -> dict[str, Any] | None:
    """The options of a server as they are written, each of them checked."""
    options = given[server]
    if options is None:
        return None
    for field in section:
        options[field]
    return {field.name: options.at(field).plain() for field in section if field in options}
