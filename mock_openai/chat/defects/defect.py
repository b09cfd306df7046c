"""What a defect is: a name, and the wrong part that takes the place of a right one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from mock_openai.chat.server import ChatServer


@dataclass(frozen=True, slots=True)
class Defect:
    """One way to be wrong; the server itself knows nothing of it.

    `told`: what is wrong, for the reference. `server`: a server that overrides the methods it gets wrong and leaves
    the rest to `super()`, so that defects can be combined. `spoil`: changes a response before its headers go out.
    """

    name: str
    told: str
    server: type[ChatServer] = ChatServer
    spoil: Callable[[web.StreamResponse], None] | None = None
