"""The target of a suite: where it is, what it speaks, what it promises, and how to ask it something."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from streambench.conformance.case import Need
from streambench.conformance.profile import Profile
from streambench.conformance.upstream import Upstream
from streambench.dialects import Dialect
from streambench.dialects.templates import RenderedRequest, RequestTemplate, fill
from streambench.units import NS_PER_S

_PROMPT = "{prompt}"
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Subject:
    """One target. `mask` hides secrets in whatever is shown. `upstream` is None where only one side is seen."""

    name: str
    dialect: Dialect
    url: str
    headers: tuple[tuple[str, str], ...]
    variables: Mapping[str, str]
    profile: Profile
    upstream: Upstream | None
    timeout_ns: int
    verify: bool | str
    mask: Callable[[str], str]

    def has(self, need: Need) -> bool:
        """Whether the target has what a case needs."""
        profile = self.profile
        has = {
            Need.EVENT_STREAM: self.dialect.transport == "sse",
            Need.TWO_SIDED: self.upstream is not None,
            Need.AUTH: profile.auth and self.credential is not None,
            Need.SECOND_USER: profile.second_user is not None,
            Need.CONVERSATIONS: profile.conversation is not None,
            Need.PARTIAL_MARK: profile.conversation is not None and "partial" in profile.conversation.read,
            Need.JSON_PROMPT: self.prompt_path is not None,
            Need.REFUSES_EMPTY: profile.refuses_empty,
            Need.MAX_CHARS: profile.max_chars is not None,
            Need.MAX_BODY: profile.max_body is not None,
            Need.IDLE_CAP: profile.idle_s is not None,
            Need.HEALTH: profile.health is not None,
            Need.FALLBACK: profile.fallback,
            Need.MODEL: profile.model is not None,
            Need.PARAMS: bool(profile.params),
            Need.USER_IN_PATH: profile.user_in_path is not None,
        }
        return has[need]

    @property
    def credential(self) -> tuple[str, str] | None:
        """The header that says who asks."""
        return next(((n, v) for n, v in self.headers if n.lower() in ("authorization", "cookie", "x-api-key")), None)

    @property
    def prompt_path(self) -> tuple[str | int, ...] | None:
        """Where the prompt is in the request's JSON."""
        return _path_of_prompt(self.dialect.request.json)

    @property
    def timeout_s(self) -> float:
        """How long a whole reply may take."""
        return self.timeout_ns / NS_PER_S

    def request(
        self, variables: Mapping[str, str], *, body: Any = None, headers: Mapping[str, str | None] | None = None
    ) -> tuple[str, str, list[tuple[str, str]], bytes]:
        """Method, URL, headers and body of a question. `body` is the JSON in place of the dialect's; a header with
        the value None is left out.
        """
        known = self.dialect.with_defaults({**self.variables, **variables})
        template = self.dialect.request
        if body is not None:
            template = RequestTemplate(template.method, template.path, template.headers, body)
        rendered = template.render(known)
        return rendered.method, self.url_of(rendered.path), self._headers(rendered, headers or {}), rendered.body

    def json_body(self, variables: Mapping[str, str]) -> Any:
        """The JSON of a question, to be changed."""
        return fill(self.dialect.request.json, self.dialect.with_defaults({**self.variables, **variables}))

    def url_of(self, path: str) -> str:
        """The URL of a path below the target's."""
        parts = urlsplit(self.url)
        if not path:
            return self.url
        base = parts.path.rstrip("/") if self.dialect.path else ""
        return f"{parts.scheme}://{parts.netloc}{base}{path}"

    def url_at_root(self, path: str) -> str:
        """The URL of a path of the target's host."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}{path}"

    def any_values(self) -> dict[str, str]:
        """Values for what a request needs and nobody has given, where it does not matter which."""
        known = self.dialect.with_defaults(self.variables)
        return {name: "streambench" for name in self.dialect.request.placeholders() if name not in known}

    def own_headers(self) -> dict[str, str]:
        """What every request to the target carries, names in lower case."""
        ours = {"accept-encoding": "identity", "user-agent": "streambench-conform", "host": urlsplit(self.url).netloc}
        return ours | {name.lower(): value for name, value in self.headers}

    def _headers(self, rendered: RenderedRequest, changed: Mapping[str, str | None]) -> list[tuple[str, str]]:
        merged: dict[str, str | None] = {name.lower(): value for name, value in rendered.headers}
        merged |= self.own_headers()
        merged |= {name.lower(): value for name, value in changed.items()}
        return [(name, value) for name, value in merged.items() if value is not None]


def placed(template: Any, variables: Mapping[str, str]) -> Any:
    """A JSON value, or a text, with its placeholders filled in; unknown ones stay."""
    if isinstance(template, str):
        return _PLACEHOLDER.sub(lambda match: variables.get(match[1], match[0]), template)
    if isinstance(template, dict):
        return {key: placed(value, variables) for key, value in template.items()}
    return [placed(item, variables) for item in template] if isinstance(template, list) else template


def with_value(data: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """A copy of JSON data with another value at a path; `...` as the value takes the key away."""
    copy = json.loads(json.dumps(data))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return copy


def _path_of_prompt(value: Any) -> tuple[str | int, ...] | None:
    if isinstance(value, str):
        return () if _PROMPT in value else None
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        path = _path_of_prompt(item)
        if path is not None:
            return (key, *path)
    return None
