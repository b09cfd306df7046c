"""`prompts` of a scenario file: what users ask, and how the fake upstream replies."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from streambench.errors import ConfigurationError
from streambench.load.fields import Field, Given, Section
from streambench.load.kinds import Integer, Plain, Schema, Text
from streambench.load.profiles import LatencyProfile
from streambench.load.values import Values
from streambench.located import Located

DEFAULT_PROMPT = "Explain quantum computing in simple terms"
MAX_PROMPTS = 100_000
MAX_TOKENS = 100_000
COLUMNS = ("text", "prompt", "tokens")


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a simulated user says. `tokens`: the length of the upstream's reply, None for its default."""

    text: str = DEFAULT_PROMPT
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts, used in turn, and how the fake upstream replies to them where there is one.

    `profile` is a latency profile's name or object, `faults` what the upstream gets wrong on purpose; both as the
    upstream's plans take them.
    """

    prompts: tuple[Prompt, ...] = (Prompt(),)
    profile: Any = None
    faults: tuple[Any, ...] = ()

    def of_stream(self, number: int) -> Prompt:
        """The prompt of a target's stream with this number."""
        return self.prompts[number % len(self.prompts)]


class OneOrMore:
    """A text, or a list of texts."""

    def read(self, node: Located, values: Values, what: str) -> tuple[str, ...]:
        """The texts, at least one."""
        texts = node.value if isinstance(node.value, list) else [node]
        if not texts:
            raise node.error("the list is empty: there is no prompt to send")
        return tuple(values.text(item, "a prompt") for item in texts)

    def schema(self) -> Schema:
        """A string or a list of them."""
        return {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}

    def show(self, value: Any) -> str:
        """The default prompt."""
        return f"`{DEFAULT_PROMPT}`"


TEXT: Field[tuple[str, ...]] = Field("text", OneOrMore(), "the prompt, or a list of prompts", (DEFAULT_PROMPT,))
FILE: Field[str | None] = Field(
    "file",
    Text(),
    "instead of `text`: a JSON Lines file (per line a string, or an object with `text` and optional "
    "`tokens`) or a CSV file (columns `text`, `tokens`); the field may also be called `prompt`; at "
    "most 100,000 rows",
    None,
)
TOKENS: Field[int | None] = Field(
    "tokens",
    Integer(0, MAX_TOKENS),
    "length of the fake upstream's reply in tokens, 0 to 100,000",
    None,
    shown="the upstream's",
)
PROFILE = Field(
    "profile",
    LatencyProfile(),
    "the fake upstream's latency profile, a name or an object",
    None,
    shown="`serve.openai.profile`",
)
FAULTS = Field(
    "faults",
    Plain({"type": "array"}),
    "faults that the fake upstream injects: [how to inject a fault](../howto/inject-a-fault.md)",
    None,
    shown="none",
)
ORDERS = (TOKENS, PROFILE, FAULTS)
SECTION = Section("'prompts'", TEXT, FILE, TOKENS, PROFILE, FAULTS, rules={"not": {"required": [TEXT.name, FILE.name]}})


def read_prompts(given: Given, values: Values, *, has_upstream: bool) -> Prompts:
    """The prompts of a file. `has_upstream`: there is a fake upstream, from which replies can be ordered.

    Raises ConfigurationError.
    """
    if TEXT in given and FILE in given:
        raise given.node.key_error(FILE.name, "prompts have either a 'text' or a 'file'")
    tokens = given[TOKENS]
    if FILE in given:
        prompts = _prompt_file(given.at(FILE), values, tokens)
    else:
        prompts = tuple(Prompt(text, tokens) for text in given[TEXT])
    faults = given.at(FAULTS).sequence("'faults'") if FAULTS in given else []
    ordered = [field.name for field in ORDERS if field in given]
    if ordered and not has_upstream:
        raise given.node.key_error(
            ordered[0],
            f"'{ordered[0]}' is ordered from the bundled upstream, and there is none: serve it, or name one in "
            "the target (upstream: URL)",
        )
    return Prompts(prompts, given[PROFILE], tuple(fault.plain() for fault in faults))


def _prompt_file(node: Located, values: Values, tokens: int | None) -> tuple[Prompt, ...]:
    """A JSON Lines or CSV file; a row has `text` (or `prompt`) and, optionally, `tokens`."""
    name = values.text(node, "'file'")
    path, content = values.file_beside(node, name, f"the prompts in {name}")
    rows = _csv_rows(path, content) if path.suffix == ".csv" else _json_rows(path, content)
    prompts = [_prompt(path, number, row, tokens) for number, row in islice(rows, MAX_PROMPTS)]
    if not prompts:
        raise node.error(f"there are no prompts in {name}")
    return tuple(prompts)


def _csv_rows(path: Path, content: str) -> Iterator[tuple[int, Any]]:
    reader = csv.DictReader(io.StringIO(content, newline=""))
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise ConfigurationError(f"is not CSV: {error}", path=str(path), line=reader.line_num) from None


def _json_rows(path: Path, content: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(content.split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deep, or a long number"
                raise ConfigurationError(f"is not JSON: {reason}", path=str(path), line=number) from None


def _prompt(path: Path, number: int, row: Any, tokens: int | None) -> Prompt:
    """The prompt of a row. Raises ConfigurationError."""
    row = {"text": row} if isinstance(row, str) else row
    text = None
    if isinstance(row, dict) and any(key in row for key in COLUMNS):
        text = row.get("text", row.get("prompt", DEFAULT_PROMPT))
    if not isinstance(text, str):
        raise ConfigurationError(
            "a row is a text, or an object with `text` and, optionally, `tokens`", path=str(path), line=number
        )
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ConfigurationError("the text holds half a character", path=str(path), line=number)
    length = row.get("tokens", tokens)
    try:
        wanted = None if length in (None, "") else int(length)
    except (TypeError, ValueError, OverflowError):
        wanted = -1
    if wanted is not None and not 0 <= wanted <= MAX_TOKENS:
        raise ConfigurationError(f"`tokens` is a whole number up to {MAX_TOKENS:,}", path=str(path), line=number)
    return Prompt(text, wanted)
