"""What one user may send, and how long one stream may go on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any

from aiohttp import web

MAX_MESSAGE_CHARACTERS = 4000
MAX_BODY_BYTES = 64 << 10
HISTORY_MESSAGES = 10


@dataclass(frozen=True, slots=True)
class Caps:
    """When a stream is ended by the server: its duration, its chunks, and how long the upstream may be silent."""

    duration_s: float = 120.0
    chunks: int = 20_000
    idle_s: float = 30.0


class CapReached(Exception):
    """A stream went beyond a cap; the text is for the user."""


async def within_caps(pieces: AsyncIterator[str], caps: Caps) -> AsyncGenerator[str, None]:
    """`pieces`, until a cap is reached. Raises CapReached."""
    loop = asyncio.get_running_loop()
    ends_s = loop.time() + caps.duration_s
    count = 0
    while True:
        try:
            async with asyncio.timeout_at(min(ends_s, loop.time() + caps.idle_s)):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        except TimeoutError:
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


def error(status: int, message: str, **headers: str) -> web.Response:
    """A refusal before any stream has started."""
    return web.json_response({"error": message}, status=status, headers=headers)


async def read_object(request: web.Request) -> dict[str, Any] | web.Response:
    """The JSON object of a request's body, or the refusal to answer with."""
    try:
        data = json.loads(await request.read())
    except ValueError:
        return error(400, "The body is not valid JSON.")
    if not isinstance(data, dict):
        return error(400, "The body must be a JSON object.")
    return data


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
