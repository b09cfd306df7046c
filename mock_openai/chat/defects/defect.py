"""What a defect is: a name, and the wrong part that takes the place of a right one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler

from mock_openai.chat.server import ChatServer

Around = Callable[[web.Request, Handler, ChatServer], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Defect:
    """One way to be wrong; the server itself knows nothing of it.

    `told`: what is wrong, for the reference. `server`: a server that overrides the methods it gets wrong and leaves
    the rest to `super()`, so that defects can be combined. `spoil`: changes a response before its headers go out.
    `around`: stands between a request and what handles it.
    """

    name: str
    told: str
    server: type[ChatServer] = ChatServer
    spoil: Callable[[web.StreamResponse], None] | None = None
    around: Around | None = None
