"""The target of a suite: where it is, what it speaks, what it promises, and how to send it a prompt."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from streambench.conformance.case import Need
from streambench.conformance.profile import Profile
from streambench.conformance.upstream import Upstream
from streambench.dialects import Dialect
from streambench.dialects.templates import RequestTemplate, fill
from streambench.drivers.target import TargetSpec
from streambench.units import NS_PER_S
from streambench.wire.framings import FRAMINGS

_PROMPT = "{prompt}"
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Subject:
    """One target. `mask` hides secrets in whatever is shown. `upstream` is None where only one side is seen."""

    spec: TargetSpec
    profile: Profile
    upstream: Upstream | None
    mask: Callable[[str], str]

    @property
    def name(self) -> str:
        """What the target is called."""
        return self.spec.name

    @property
    def dialect(self) -> Dialect:
        """The protocol that it speaks."""
        return self.spec.dialect

    @property
    def url(self) -> str:
        """Where it is."""
        return self.spec.endpoint.url

    @property
    def on_socket(self) -> bool:
        """Whether questions and replies are messages on a connection that outlives them."""
        return FRAMINGS[self.dialect.transport].is_socket

    def has(self, need: Need) -> bool:
        """Whether the target has what a case needs."""
        profile, transport = self.profile, self.dialect.transport
        talk, rooms = profile.conversation, profile.rooms
        has = {
            Need.EVENT_STREAM: transport == "sse",
            Need.SOCKET: self.on_socket,
            Need.WEBSOCKET: transport == "websocket",
            Need.SOCKET_IO: transport == "socketio",
            Need.TEXT_BODY: transport != "socketio",
            Need.STATUS: transport != "socketio",
            Need.TWO_SIDED: self.upstream is not None,
            Need.AUTH: profile.auth and self.credential is not None,
            Need.SECOND_USER: profile.second_user is not None,
            Need.STORED: talk is not None,
            Need.CONVERSATIONS: talk is not None and not talk.told_by_reply,
            Need.PARTIAL_MARK: talk is not None and "partial" in talk.read,
            Need.CLIENT_HISTORY: self.messages_path is not None,
            Need.HISTORY_BOUND: profile.history_messages is not None,
            Need.ROOMS: rooms is not None,
            Need.ROOM_CHANGES: rooms is not None and rooms.join is not None and rooms.leave is not None,
            Need.ROOM_NEWS: rooms is not None and rooms.joined is not None and rooms.left is not None,
            Need.CLOSED_ROOMS: rooms is not None and rooms.closed,
            Need.JSON_PROMPT: self.prompt_path is not None,
            Need.REFUSES_EMPTY: profile.refuses_empty,
            Need.MAX_CHARS: profile.max_chars is not None,
            Need.MAX_BODY: profile.max_body is not None,
            Need.IDLE_CAP: profile.idle_s is not None,
            Need.HEARTBEAT: profile.heartbeat_s is not None,
            Need.HEALTH: profile.health is not None,
            Need.FALLBACK: profile.fallback,
            Need.MODEL: profile.model is not None,
            Need.PARAMS: bool(profile.params),
            Need.USER_IN_PATH: profile.user_in_path is not None,
            Need.INTERRUPT: profile.interrupt is not None,
            Need.RATE_LIMIT: profile.rate_limit is not None,
        }
        return has[need]

    @property
    def credential(self) -> tuple[str, str] | None:
        """The header that says who asks."""
        headers = self.spec.endpoint.headers
        return next(((n, v) for n, v in headers if n.lower() in ("authorization", "cookie", "x-api-key")), None)

    @property
    def body(self) -> Any:
        """The JSON of a question, with its placeholders: a request's body, the last message on a socket, or the last
        argument of an event. None where there is none.
        """
        template = self.dialect.request
        if template.send:
            return template.send[-1]
        return template.json if template.emit is None else template.emit[1][-1]

    def asking(self, body: Any) -> RequestTemplate:
        """The dialect's request with another body."""
        template = self.dialect.request
        if template.send:
            return replace(template, send=(*template.send[:-1], body))
        if template.emit is not None:
            event, arguments = template.emit
            return replace(template, emit=(event, (*arguments[:-1], body)))
        return replace(template, json=body)

    @property
    def prompt_path(self) -> tuple[str | int, ...] | None:
        """Where the prompt is in a question's JSON."""
        return _path_of_prompt(self.body)

    @property
    def messages_path(self) -> tuple[str | int, ...] | None:
        """Where a question's JSON has the list of messages whose last one is the prompt; None where there is none."""
        path = self.prompt_path or ()
        at = max((i for i, key in enumerate(path) if isinstance(key, int)), default=None)
        if at is None:
            return None
        message = self.body
        for key in path[: at + 1]:
            message = message[key]
        return path[:at] if isinstance(message, dict) and message.get("role") == "user" else None

    @property
    def timeout_s(self) -> float:
        """How long a whole reply may take."""
        return self.spec.endpoint.timeouts.total_ns / NS_PER_S

    def known(self, variables: Mapping[str, str]) -> dict[str, str]:
        """All values for placeholders: the dialect's, the target's, and these."""
        return self.dialect.with_defaults({**self.spec.variables, **variables})

    def route(self, variables: Mapping[str, str]) -> tuple[str, str]:
        """Method and URL of a question over HTTP."""
        rendered = self.dialect.request.render(self.known({**self.any_values(), "prompt": "", **variables}))
        return rendered.method, self.url_of(rendered.path)

    def json_body(self, variables: Mapping[str, str]) -> Any:
        """The JSON of a question, to be changed."""
        return fill(self.body, self.known(variables))

    def url_of(self, path: str) -> str:
        """The URL of a path below the target's."""
        parts = urlsplit(self.url)
        if not path:
            return self.url
        base = parts.path.rstrip("/") if self.dialect.path else ""
        return f"{parts.scheme}://{parts.netloc}{base}{path}"

    def url_at_root(self, path: str) -> str:
        """The URL of a path of the target's host, for a request beside a socket as well."""
        parts = urlsplit(self.url)
        scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
        return f"{scheme}://{parts.netloc}{path}"

    def any_values(self) -> dict[str, str]:
        """Values for what a request needs and nobody has given, where it does not matter which."""
        known = self.known({})
        return {name: "streambench" for name in self.dialect.request.placeholders() if name not in known}

    def own_headers(self) -> dict[str, str]:
        """What every request to the target carries, names in lower case."""
        ours = {"accept-encoding": "identity", "user-agent": "streambench-conform"}
        return ours | {name.lower(): value for name, value in self.spec.endpoint.headers}

    def headers(self, *changes: Mapping[str, str | None]) -> list[tuple[str, str]]:
        """The headers of a request: the target's with changes, of which None leaves one out."""
        merged: dict[str, str | None] = dict(self.own_headers())
        for change in changes:
            merged |= {name.lower(): value for name, value in change.items()}
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
