"""Server-sent events on an aiohttp response: headers that keep proxies from buffering, and one write an event."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from mock_openai.chat.limits import UNREAD_S

HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
}

STARTED = web.RequestKey("started", bool)  # set on a request once its event stream has begun


class EventStream:
    """An event stream that is being sent."""

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self._request = request
        self._response = response

    @classmethod
    async def start(cls, request: web.Request) -> EventStream:
        """Send the headers. Raises ConnectionResetError when the client is gone."""
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        request[STARTED] = True
        return cls(request, response)

    async def send(self, data: Any, *, event: str | None = None) -> None:
        """One event with JSON data. Raises ConnectionResetError when the client is gone, or has stopped reading."""
        name = b"event: %b\n" % event.encode() if event is not None else b""
        try:
            async with asyncio.timeout(UNREAD_S):
                await self._response.write(name + b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n")
        except TimeoutError:
            if self._request.transport is not None:
                self._request.transport.abort()
            raise ConnectionResetError("the client does not read") from None

    async def end(self) -> web.StreamResponse:
        """End the body; returns the response, for the route to return."""
        await self._response.write_eof()
        return self._response
