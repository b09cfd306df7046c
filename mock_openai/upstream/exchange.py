"""One request with its reply, and what a route has to do with it: the seam between the service and its protocols."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from aiohttp import web

from mock_openai.upstream.faults.draft import Shapes
from mock_openai.upstream.params import Ask, Refusal
from mock_openai.upstream.reply import Reply
from mock_openai.upstream.stream import Frame, Part


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its reply, for a protocol to speak.

    `due_ns[i]` is when the i-th token of every choice is due, counted from the request's arrival. `left_out`: the
    parts that shall be missing. `obfuscation` draws the padding that hides the length of tokens.
    """

    number: int
    ask: Ask
    body: dict[str, Any]
    query: Mapping[str, str]
    reply: Reply
    due_ns: array[int]
    start_ns: int
    left_out: frozenset[Part]
    obfuscation: Callable[[int], str]
    created: int = field(default_factory=lambda: int(datetime.now(UTC).timestamp()))

    @property
    def first_ns(self) -> int:
        """When the first token is due, counted from the arrival."""
        return self.due_ns[0] if self.due_ns else self.start_ns

    @property
    def last_ns(self) -> int:
        """When the last token is due, counted from the arrival."""
        return self.due_ns[-1] if self.due_ns else self.start_ns


class Speaker(Shapes, Protocol):
    """One reply in the form of its protocol."""

    content_type: str

    def frames(self) -> Iterable[Frame]:
        """The streamed reply; each frame is made when it is asked for, so that beginning a long reply costs little."""

    def whole(self) -> bytes:
        """The reply in one body."""


class Api(Protocol):
    """One route of the service. `route` is how metrics call it."""

    @property
    def route(self) -> str:
        """How metrics call it."""

    @property
    def routes(self) -> tuple[str, ...]:
        """The paths it answers, as patterns of aiohttp."""

    def read(self, request: web.Request, body: dict[str, Any]) -> Ask:
        """What is asked for. Raises Refusal."""

    def speak(self, exchange: Exchange) -> Speaker:
        """The reply's form."""

    def refuse(self, refusal: Refusal) -> web.Response:
        """An error in the API's shape."""

    def headers(self, request_id: str, elapsed_ms: int, limits: Mapping[str, str]) -> dict[str, str]:
        """What the real service adds to every reply; `limits` are the rate limit's."""
