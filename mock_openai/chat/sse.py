"""Server-sent events on an aiohttp response: headers that keep proxies from buffering, and one write an event."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from aiohttp import web

from mock_openai.chat.debug import streaming
from mock_openai.chat.limits import UNREAD_S

HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "connection": "keep-alive",
    "x-accel-buffering": "no",
}

STARTED = web.RequestKey("started", bool)  # set on a request once its event stream has begun


class EventStream:
    """An event stream that is being sent."""

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self._request = request
        self._response = response

    @classmethod
    async def start(
        cls, request: web.Request, *, status: int = 200, headers: Mapping[str, str] = MappingProxyType({})
    ) -> EventStream:
        """Send the headers, and those given beside them. Raises ConnectionResetError when the client is gone."""
        response = web.StreamResponse(status=status, headers={**HEADERS, **headers})
        await response.prepare(request)
        request[STARTED] = True
        streaming.debug("%s %s: the stream begins", request.method, request.path)
        return cls(request, response)

    async def send(self, data: Any, *, event: str | None = None, event_id: str | None = None) -> None:
        """One event with JSON data. Raises ConnectionResetError when the client is gone, or has stopped reading.

        With an `event_id` a client that gets an event twice can tell, and can say which was the last that it got.
        """
        lines = [] if event_id is None else [f"id: {event_id}"]
        if event is not None:
            lines.append(f"event: {event}")
        lines.append(f"data: {json.dumps(data, ensure_ascii=False)}")
        streaming.debug("%s: %s", self._request.path, lines)
        try:
            async with asyncio.timeout(UNREAD_S):
                await self._response.write("\n".join((*lines, "", "")).encode())
        except TimeoutError:
            streaming.debug("%s: the client does not read", self._request.path)
            if self._request.transport is not None:
                self._request.transport.abort()
            raise ConnectionResetError("the client does not read") from None

    async def end(self) -> web.StreamResponse:
        """End the body; returns the response, for the route to return."""
        streaming.debug("%s: the stream ends", self._request.path)
        await self._response.write_eof()
        return self._response
