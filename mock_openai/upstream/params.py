"""What a request asks for, whichever API it came through, and the refusals of the real service."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class Refusal(Exception):
    """A request that the real service would answer with an error. `param` and `code` as its error bodies have them."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type_: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.type = type_
        self.param = param
        self.code = code
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the reply may call, with the JSON schema of its arguments."""

    name: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `texts`: the prompt's messages, oldest first. `limit`: most tokens of the reply.

    `call`: the name of the tool that must be called. `schema`: the reply is JSON of this schema ({}: any object).
    """

    model: str
    texts: list[str]
    stream: bool = False
    limit: int | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    tools: tuple[Tool, ...] = ()
    call: str | None = None
    schema: Mapping[str, Any] | None = None
    include_usage: bool = False
    obfuscate: bool = False

    @property
    def prompt_tokens(self) -> int:
        """Roughly: a token a word, and a few for the frame of each message."""
        return sum(len(text.split()) + 4 for text in self.texts)

    @property
    def tokens(self) -> int:
        """What it counts for against a limit of tokens: its prompt, and all that it may be answered with."""
        return self.prompt_tokens + (self.limit or 0)


def loads(raw: bytes) -> Any:
    """The value of a JSON text by the letter: no NaN, infinities or halves of characters. Raises ValueError."""
    try:
        value = json.loads(raw, parse_constant=_not_a_number, parse_float=_finite)
        if SURROGATE.search(raw):
            json.dumps(value, ensure_ascii=False).encode()  # halves that belong together have become one character
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def _not_a_number(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:20]} is too large")
    return value


def parse_json(raw: bytes) -> dict[str, Any]:
    """The object in a request body. Raises Refusal."""
    try:
        body = loads(raw)
    except ValueError:
        raise Refusal(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
            "library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)"
        ) from None
    if not isinstance(body, dict):
        raise Refusal("Invalid type for request body: expected an object.", code="invalid_type")
    return body


_TYPES: dict[str, tuple[type, ...]] = {
    "a string": (str,),
    "an integer": (int,),
    "a decimal": (int, float),
    "a boolean": (bool,),
    "an object": (dict,),
    "an array": (list,),
}


def _type_name(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    return next((name for name, types in _TYPES.items() if isinstance(value, types)), "something else")


def optional(body: Mapping[str, Any], name: str, wanted: str, path: str | None = None) -> Any:
    """A field of the type `wanted`, or None where it is missing or null. Raises Refusal."""
    value = body.get(name)
    if value is None:
        return None
    path = path or name
    if not isinstance(value, _TYPES[wanted]) or (isinstance(value, bool) and wanted != "a boolean"):
        raise Refusal(
            f"Invalid type for '{path}': expected {wanted}, but got {_type_name(value)} instead.",
            param=path,
            code="invalid_type",
        )
    return value


def required(body: Mapping[str, Any], name: str, wanted: str, path: str | None = None) -> Any:
    """A field that must be there. Raises Refusal."""
    value = optional(body, name, wanted, path)
    if value is None:
        path = path or name
        raise Refusal(f"Missing required parameter: '{path}'.", param=path, code="missing_required_parameter")
    return value


def number(
    body: Mapping[str, Any], name: str, low: float, high: float | None = None, *, wanted: str = "an integer"
) -> Any:
    """A number within bounds, or None. Raises Refusal."""
    value = optional(body, name, wanted)
    if value is None:
        return None
    kind = "integer" if wanted == "an integer" else "decimal"
    if value < low:
        raise Refusal(
            f"Invalid '{name}': {kind} below minimum value. Expected a value >= {low:g}, but got {value} instead.",
            param=name,
            code=f"{kind}_below_min_value",
        )
    if high is not None and value > high:
        raise Refusal(
            f"Invalid '{name}': {kind} above maximum value. Expected a value <= {high:g}, but got {value} instead.",
            param=name,
            code=f"{kind}_above_max_value",
        )
    return value


def stops(body: Mapping[str, Any], name: str, most: int) -> tuple[str, ...]:
    """Stop sequences, given as one string or a list. Raises Refusal."""
    value = body.get(name)
    if value is None:
        return ()
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list) or not all(isinstance(item, str) for item in given):
        raise Refusal(
            f"Invalid type for '{name}': expected a string or an array of strings.", param=name, code="invalid_type"
        )
    if len(given) > most:
        raise Refusal(
            f"Invalid '{name}': array too long. Expected an array with maximum length {most}, but got an array with "
            f"length {len(given)} instead.",
            param=name,
            code="array_above_max_length",
        )
    return tuple(item for item in given if item)


def text_of(content: Any) -> str:
    """The text of a message's content: a string, or parts that are joined."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict))
        return " ".join(text for text in texts if isinstance(text, str))
    return ""
