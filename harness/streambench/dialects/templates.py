"""Request templates: JSON with `{name}` placeholders in its texts.

A placeholder stands inside a text value, so that a value with quotes or line breaks can never change the JSON around
it. `{{` and `}}` stand for the braces themselves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from streambench.dialects.checks.check import as_json
from streambench.errors import ConfigurationError
from streambench.paths import MISSING, compile_path

MAX_CAPTURED_CHARS = 8192

_UNSENDABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(slots=True, frozen=True)
class RenderedRequest:
    """What to send for one prompt or one step of the setup.

    HTTP: `method`, `path` (empty: the target's URL as it is), `headers`, `body`. WebSocket: `send`, text messages in
    order. Socket.IO: `emit`, an event's name and arguments.
    """

    method: str = "GET"
    path: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    send: tuple[str, ...] = ()
    emit: tuple[str, tuple[Any, ...]] | None = None


@dataclass(slots=True, frozen=True)
class RequestTemplate:
    """A request with placeholders. `json` is None where there is no body; `text_body` is a body that is not JSON."""

    method: str = "GET"
    path: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    text_body: str | None = None
    send: tuple[Any, ...] = ()
    emit: tuple[str, tuple[Any, ...]] | None = None

    def with_fields(self, fields: Mapping[str, Any]) -> RequestTemplate:
        """The same request with fields added to its JSON object, in place of those of the same name.

        Objects within are merged, anything else is replaced. On a socket it is the last message, or the event's last
        argument. Raises ValueError where that is no object.
        """
        if isinstance(self.json, dict):
            return replace(self, json=_merged(self.json, fields))
        if self.send and isinstance(self.send[-1], dict):
            return replace(self, send=(*self.send[:-1], _merged(self.send[-1], fields)))
        if self.emit is not None and self.emit[1] and isinstance(self.emit[1][-1], dict):
            event, arguments = self.emit
            return replace(self, emit=(event, (*arguments[:-1], _merged(arguments[-1], fields))))
        raise ValueError("the request has no JSON object to add fields to")

    def placeholders(self) -> set[str]:
        """The variables that rendering needs."""
        parts = [self.path, dict(self.headers), self.json, self.text_body, list(self.send)]
        parts += list(self.emit[1]) if self.emit else []
        return set().union(*(placeholders(part) for part in parts))

    def render(self, variables: Mapping[str, str]) -> RenderedRequest:
        """The request with the variables in place. Raises ConfigurationError for a variable that has no value."""
        path = self.path
        if "{" in path or "}" in path:
            path = _fill(path, {name: quote(value, safe="", errors="replace") for name, value in variables.items()})
        body = b""
        if self.json is not None:
            body = _dump(fill(self.json, variables)).encode("utf-8", "replace")
        elif self.text_body is not None:
            body = _fill(self.text_body, variables).encode("utf-8", "replace")
        return RenderedRequest(
            method=self.method,
            path=path,
            headers=tuple((name, _header(name, _fill(value, variables))) for name, value in self.headers.items()),
            body=body,
            send=tuple(item if isinstance(item, str) else _dump(item) for item in fill(list(self.send), variables)),
            emit=(self.emit[0], tuple(fill(list(self.emit[1]), variables))) if self.emit else None,
        )


@dataclass(slots=True, frozen=True)
class SetupStep:
    """One thing to do once per user before the first prompt: a request, something to send on the socket, or nothing
    but waiting.

    On a socket `wait_for` is the dialect's event that ends the step (the `await` of the file); None goes on at once.
    With `only_after` it is waited for only where that event comes within `within_ns`, such as a greeting that not
    every service has. `capture` maps variables to the path of their value, in the JSON response or in the awaited
    event's data.
    `is_http` says whether it is a request beside the stream's own transport.
    """

    request: RequestTemplate
    is_http: bool
    wait_for: str | None = None
    only_after: str | None = None
    within_ns: int = 0
    capture: Mapping[str, str] = field(default_factory=dict)

    def render(self, variables: Mapping[str, str]) -> RenderedRequest:
        """The step's request. Raises ConfigurationError for a variable that has no value."""
        return self.request.render(variables)

    def capture_from(self, data: Any) -> dict[str, str]:
        """The captured values of a decoded JSON response or event.

        Raises LookupError, with a message for the user, where the server's answer lacks one.
        """
        captured: dict[str, str] = {}
        for name, path in self.capture.items():
            value = compile_path(path)(data)
            if value is MISSING or value is None:
                excerpt = as_json(data)[:200]
                raise LookupError(f"the setup's answer has no {path!r} to capture as {{{name}}}: {excerpt}")
            text = value if isinstance(value, str) else as_json(value)
            if len(text) > MAX_CAPTURED_CHARS or _UNSENDABLE.search(text) or text in (".", ".."):
                raise LookupError(
                    f"the setup's answer has a value at {path!r} that cannot be sent on as {{{name}}}: it holds more "
                    f"than {MAX_CAPTURED_CHARS:,} characters, a control character, or half a character, or it is a "
                    "step of a path"
                )
            captured[name] = text
        return captured


def placeholders(value: Any) -> set[str]:
    """The names of the placeholders in a JSON value, at any depth."""
    if isinstance(value, str):
        return {match[1] for match in _PLACEHOLDER.finditer(value) if match[1]}
    if isinstance(value, dict):
        return set().union(*(placeholders(item) for item in value.values())) if value else set()
    if isinstance(value, list):
        return set().union(*(placeholders(item) for item in value)) if value else set()
    return set()


def fill(value: Any, variables: Mapping[str, str]) -> Any:
    """A JSON value with the placeholders of its texts filled."""
    if isinstance(value, str):
        return _fill(value, variables)
    if isinstance(value, dict):
        return {key: fill(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, variables) for item in value]
    return value


def _fill(text: str, variables: Mapping[str, str]) -> str:
    if "{" not in text and "}" not in text:
        return text

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        if not name:
            return match[0][0]
        try:
            return variables[name]
        except KeyError:
            raise ConfigurationError(
                f"the request needs a value for {{{name}}}: give it in the target's variables, or capture it in setup",
                text=name,
            ) from None

    return _PLACEHOLDER.sub(replace, text)


def _merged(object_: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(object_)
    for name, value in fields.items():
        before = merged.get(name)
        merged[name] = _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _header(name: str, value: str) -> str:
    if any(character < " " for character in value):
        raise ConfigurationError(f"the header {name} would get a line break or control character", text=name)
    return value
