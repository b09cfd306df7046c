"""Rate limits that are reported wrongly, or apply to the wrong users."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from mock_openai.chat.defects.defect import Defect
from mock_openai.chat.defects.messages import parsed
from mock_openai.chat.defects.requests import answering
from mock_openai.chat.limits import RateLimit
from mock_openai.chat.server import ChatServer, ChatSettings

EVERYBODY = "everybody"


async def _as_503(request: web.Request, response: web.StreamResponse, server: ChatServer) -> web.StreamResponse:
    if response.status == 429:
        response.set_status(503)
    return response


async def _without_time(request: web.Request, response: web.StreamResponse, server: ChatServer) -> web.StreamResponse:
    response.headers.popall("retry-after", None)
    return response


def _closing(response: web.StreamResponse) -> None:
    if not isinstance(response, web.WebSocketResponse):
        return
    send = response.send_str

    async def send_str(data: str, *arguments: Any, **options: Any) -> None:
        message = parsed(data)
        if message is not None and "Too many" in str(message.get("error") or message.get("data")):
            await response.close(code=1013)
        else:
            await send(data, *arguments, **options)

    response.send_str = send_str  # type: ignore[method-assign]


class SharedLimit(RateLimit):
    """One bucket for all users."""

    def wait_s(self, user: str) -> float:
        """Take one token of everybody's."""
        return super().wait_s(EVERYBODY)


class EndlessLimit(RateLimit):
    """Whoever was refused once is refused from then on."""

    def __init__(self, per_s: float | None) -> None:
        super().__init__(per_s)
        self._refused: set[str] = set()

    def wait_s(self, user: str) -> float:
        """Take one token, where the user was never refused."""
        wait_s = 1.0 if user in self._refused else super().wait_s(user)
        if wait_s > 0:
            self._refused.add(user)
        return wait_s


def limited_by(kind: type[RateLimit]) -> type[ChatServer]:
    """A server with another rate limit."""

    class Limited(ChatServer):
        """The server."""

        def __init__(self, settings: ChatSettings) -> None:
            super().__init__(settings)
            self.rate_limit = kind(settings.rate_limit_per_s)

    return Limited


DEFECTS = [
    Defect("limit-as-503", "rate-limited requests get 503", around=answering(_as_503)),
    Defect("no-retry-after", "429 responses have no Retry-After", around=answering(_without_time)),
    Defect("limit-closes", "rate-limited sockets are closed without an error", spoil=_closing),
    Defect("limit-for-all", "all users share one rate limit", limited_by(SharedLimit)),
    Defect("limit-for-good", "a user who was refused once is refused for good", limited_by(EndlessLimit)),
]
