"""One client's WebSocket, with a bounded queue of outgoing messages."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from mock_openai.chat.clock import now_ms
from mock_openai.chat.limits import UNREAD_S

UNSENT_OWN = 100  # then the one who asked has to read before there is more
UNSENT_SHOWN = 1000  # then one who watches is dropped


class Connection:
    """Messages leave in the order in which they were given. `replies` are the ones that this client asked for."""

    def __init__(
        self, request: web.Request, socket: web.WebSocketResponse, user: str, project: str, mode: str, accumulated: bool
    ) -> None:
        self.socket = socket
        self.user = user
        self.project = project
        self.mode = mode
        self.accumulated = accumulated
        self.replies: set[asyncio.Task[None]] = set()
        self._request = request
        self._unsent: asyncio.Queue[str] = asyncio.Queue()
        self._written = asyncio.Event()

    async def send(self, kind: str, data: dict[str, Any]) -> None:
        """Send to the one who asked: a reply is not taken from the upstream faster than it is read.

        Raises ConnectionResetError when the client has stopped reading.
        """
        try:
            async with asyncio.timeout(UNREAD_S):
                while self._unsent.qsize() >= UNSENT_OWN:
                    self._written.clear()
                    await self._written.wait()
        except TimeoutError:
            self._drop()
            raise ConnectionResetError("the client does not read") from None
        self._unsent.put_nowait(_message(kind, data))

    def show(self, kind: str, data: dict[str, Any]) -> None:
        """Send without waiting, to one who watches. Who is too far behind is dropped, so that nobody has to wait."""
        if self._unsent.qsize() < UNSENT_SHOWN:
            self._unsent.put_nowait(_message(kind, data))
        else:
            self._drop()

    async def write(self) -> None:
        """Send what is in the queue, for as long as the client is there."""
        try:
            while True:
                await self.socket.send_str(await self._unsent.get())
                self._written.set()
        except ConnectionResetError:
            pass  # who reads from the socket notices too, and cleans up

    def _drop(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()


def _message(kind: str, data: dict[str, Any]) -> str:
    return json.dumps({"type": kind, "data": data, "timestamp": now_ms()}, ensure_ascii=False)
