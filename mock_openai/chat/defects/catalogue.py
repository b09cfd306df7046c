"""Every defect that a server can be started with, and the server that has them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from mock_openai.chat.defects import (
    access,
    client_history,
    conversations,
    events,
    frames,
    framing,
    headers,
    memory,
    rates,
    replies,
    requests,
    rooms,
    sockets,
    texts,
)
from mock_openai.chat.defects.defect import Around, Defect
from mock_openai.chat.server import ChatServer, ChatSettings

PARTS = (
    headers,
    framing,
    events,
    requests,
    access,
    conversations,
    memory,
    client_history,
    rates,
    replies,
    sockets,
    frames,
    rooms,
    texts,
)

DEFECTS: dict[str, Defect] = {defect.name: defect for part in PARTS for defect in part.DEFECTS}
"""Every defect by name."""


def server_with(settings: ChatSettings) -> ChatServer:
    """The server that `settings` ask for: a correct one unless they name defects. Raises StoreError."""
    wrong = tuple(dict.fromkeys(defect.server for defect in _of(settings) if defect.server is not ChatServer))
    kind: type[ChatServer] = type("DefectiveServer", wrong, {}) if wrong else ChatServer
    return kind(settings)


def spoil_responses(settings: ChatSettings) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """A signal that spoils the headers of responses as `settings` ask for."""

    async def spoil(_: web.Request, response: web.StreamResponse) -> None:
        for defect in _of(settings):
            if defect.spoil is not None:
                defect.spoil(response)

    return spoil


def spoil_requests(server: ChatServer) -> list[Middleware]:
    """What stands around the handling of requests, as the server's settings ask for."""

    def middleware(around: Around) -> Middleware:
        @web.middleware
        async def wrong(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await around(request, handler, server)

        return wrong

    return [middleware(defect.around) for defect in _of(server.settings) if defect.around is not None]


def _of(settings: ChatSettings) -> list[Defect]:
    """In the order of the catalogue, whatever the order they were asked for in."""
    return [defect for defect in DEFECTS.values() if defect.name in settings.defects]
