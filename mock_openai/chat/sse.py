"""Server-sent events on an aiohttp response: headers that keep proxies from buffering, and one write an event."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
}


class EventStream:
    """An event stream that is being sent."""

    def __init__(self, response: web.StreamResponse) -> None:
        self._response = response

    @classmethod
    async def start(cls, request: web.Request) -> EventStream:
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        return cls(response)

    async def send(self, data: Any) -> None:
        """One event with JSON data. Raises ConnectionResetError when the client is gone."""
        await self._response.write(b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n")

    async def end(self) -> web.StreamResponse:
        await self._response.write_eof()
        return self._response
