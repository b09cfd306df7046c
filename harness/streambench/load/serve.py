"""`serve` of a scenario file: the bundled servers that a run starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streambench.load.fields import Field, Given, Nested, Section
from streambench.load.kinds import Integer, Plain, Scalar, ScalarMap, Schema
from streambench.load.prompts import MAX_TOKENS, PROFILE_SCHEMA
from streambench.load.values import Values
from streambench.located import Located

MAX_SEED = 2**63 - 1

PROFILE = Field(
    "profile",
    Plain(PROFILE_SCHEMA),
    "latency profile: a name, or an object with its parameters (`{name: fixed, ttft_ms: 200, gap_ms: 20}`)",
    None,
    shown="`openai-fast`",
)
SEED = Field("seed", Integer(0, MAX_SEED), "its own seed, for requests without a mark", 0)
TOKENS = Field("tokens", Integer(0, MAX_TOKENS), "length of a reply", 80)
OPENAI_SECTION = Section("'serve.openai'", PROFILE, SEED, TOKENS)

MODES = ("real", "paced", "rapid", "sentence", "blocking-typed", "blocking-at-once")
STREAMING = Field("streaming", Scalar(MODES), ", ".join(f"`{mode}`" for mode in MODES), "real")
DB = Field("db", Scalar(), "its SQLite file, or `:memory:`", ":memory:")
USERS: Field[Any] = Field("users", ScalarMap("the token of"), "more users: a mapping from name to token", None)
RATE_LIMIT = Field("rate_limit", Scalar(), "requests of one user, such as `5/s`", None, shown="none")
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
    """The bundled servers to start: their options, or None for not starting one."""

    openai: Mapping[str, Any] | None = None
    chat: Mapping[str, Any] | None = None


class ServeKind:
    """`serve` as a type."""

    def read(self, node: Located, values: Values, what: str) -> Serve:
        """The servers; from now on `${serve.…}` may name them. Raises ConfigurationError."""
        given = SECTION.read(node, values)
        values.served = {field.name for field in SECTION if field in given}
        if CHAT in given and OPENAI not in given:
            raise node.key_error(CHAT.name, "the chat server needs its upstream: add openai: {} beside it")
        return Serve(_options(given, OPENAI, OPENAI_SECTION), _options(given, CHAT, CHAT_SECTION))

    def schema(self) -> Schema:
        """The section's."""
        return SECTION.schema()

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
