"""What one user may send, and how long one stream may go on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import web

MAX_MESSAGE_CHARACTERS = 4000
MAX_BODY_BYTES = 64 << 10
HISTORY_MESSAGES = 10
BODY_S = 30.0  # a body that has not come by then is not waited for
UNREAD_S = 30.0  # a client that has not read for so long is taken for gone

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Caps:
    """When a stream is ended by the server: its duration, its chunks, and how long the upstream may be silent.

    `first_text_s`: how long a provider may be silent before its first text while there is another one to ask.
    """

    duration_s: float = 120.0
    chunks: int = 20_000
    idle_s: float = 30.0
    first_text_s: float = 10.0


class CapReached(Exception):
    """A stream went beyond a cap; the text is for the user."""


async def within_caps(pieces: AsyncIterator[T], caps: Caps, *, replaceable: bool = False) -> AsyncGenerator[T, None]:
    """`pieces`, until a cap is reached. Raises CapReached.

    `replaceable`: another source can still be asked, so a silence before the first piece raises TimeoutError, and soon.
    """
    loop = asyncio.get_running_loop()
    ends_s = loop.time() + caps.duration_s
    count = 0
    while True:
        first = replaceable and count == 0
        try:
            async with asyncio.timeout_at(min(ends_s, loop.time() + (caps.first_text_s if first else caps.idle_s))):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        except TimeoutError:
            if first:
                raise
            if loop.time() >= ends_s:
                raise CapReached(f"The reply took longer than {caps.duration_s:g} s.") from None
            raise CapReached(f"The model was silent for {caps.idle_s:g} s.") from None
        count += 1
        if count > caps.chunks:
            raise CapReached(f"The reply had more than {caps.chunks:,} parts.")
        yield piece


class RateLimit:
    """A token bucket a user: `per_s` requests a second, in bursts of at most that many (at least one)."""

    def __init__(self, per_s: float | None) -> None:
        self._per_s = per_s
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait_s(self, user: str) -> float:
        """Take one token; 0 when there was one, else the seconds until there will be."""
        if self._per_s is None:
            return 0.0
        now_s = asyncio.get_running_loop().time()
        size = max(1.0, self._per_s)
        tokens, since_s = self._buckets.get(user, (size, now_s))
        tokens = min(size, tokens + (now_s - since_s) * self._per_s)
        if tokens >= 1:
            self._buckets[user] = (tokens - 1, now_s)
            return 0.0
        self._buckets[user] = (tokens, now_s)
        return (1 - tokens) / self._per_s


def parse_rate(text: str) -> float:
    """`5/s`, `90/min` or `100/h` of the command line, as requests a second. Raises ValueError with the remedy."""
    count, _, unit = text.partition("/")
    seconds = {"s": 1, "min": 60, "h": 3600}.get(unit)
    try:
        if seconds is not None and float(count) > 0:
            return float(count) / seconds
    except ValueError:
        pass
    raise ValueError(f"{text!r} is not a rate: write for example 5/s, 90/min or 100/h")


def error(status: int, message: str, **headers: str) -> web.Response:
    """A refusal before any stream has started."""
    return web.json_response({"error": message}, status=status, headers=headers)


def parse_object(raw: str | bytes) -> dict[str, Any] | str:
    """A JSON object that a user sent, or what is wrong with it."""
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError):
        return "not valid JSON"
    if not is_text(data):
        return "not valid Unicode"
    return data if isinstance(data, dict) else "not a JSON object"


def is_text(data: Any) -> bool:
    """Whether what a client sent can be stored and sent on as JSON.

    JSON can spell half a surrogate pair, UTF-8 cannot; and Socket.IO brings bytes, which JSON has not.
    """
    try:
        json.dumps(data, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        return False
    return True


async def read_object(request: web.Request) -> dict[str, Any] | web.Response:
    """The JSON object of a request's body, or the refusal to answer with."""
    try:
        async with asyncio.timeout(BODY_S):
            data = parse_object(await request.read())
    except TimeoutError:
        return error(408, "The body did not come.")
    return error(400, f"The body is {data}.") if isinstance(data, str) else data


def message_problem(value: Any, name: str = "message") -> str | None:
    """Why a user's message is refused, or None."""
    if value is None:
        return f"`{name}` is required."
    if not isinstance(value, str):
        return f"`{name}` must be a string."
    if not value.strip():
        return f"`{name}` must not be empty."
    if len(value) > MAX_MESSAGE_CHARACTERS:
        return f"`{name}` must not be longer than {MAX_MESSAGE_CHARACTERS:,} characters."
    return None


def text_problem(data: dict[str, Any], *names: str) -> str | None:
    """Why one of the optional short texts `names` is refused, or None."""
    for name in names:
        value = data.get(name)
        if value is not None and not isinstance(value, str):
            return f"`{name}` must be a string."
        if value is not None and len(value) > 200:
            return f"`{name}` must not be longer than 200 characters."
    return None
