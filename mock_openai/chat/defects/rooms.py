"""Rooms whose members receive too little, too late, or too much.

A system with rooms tells members of one another's replies by `participantName`; the one with projects does not, so a
socket there remembers in which conversations it has asked.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler

from mock_openai.chat.auth import SEEDED_USERS, Users
from mock_openai.chat.defects.defect import Defect
from mock_openai.chat.defects.messages import Edited, Message, incoming, outgoing, parsed
from mock_openai.chat.defects.sockets import all_open, cut, is_upgrade, open_at
from mock_openai.chat.server import ChatServer

Overheard = Callable[[Message], bool]


def _overhearing(response: web.StreamResponse) -> Overheard:
    """Tells the messages of a socket that are of a reply to somebody else."""
    asked: set[str] = set()

    async def look(text: str, _: ChatServer) -> str:
        message = parsed(text)
        if message is not None and message.get("type") == "user_message":
            asked.add(message.get("data", {}).get("conversation_id", ""))
        return text

    incoming(response, look)

    def overheard(message: Message) -> bool:
        if message.get("type") == "assistant_response":
            return message["data"]["conversation_id"] not in asked
        return message.get("event", "").startswith("stream-") and "participantName" in message

    return overheard


def _ends_reply(message: Message) -> bool:
    if "event" in message:
        return message["event"] in ("stream-complete", "stream-error")
    return bool(message["data"].get("done"))


def _asker_only(response: web.StreamResponse) -> None:
    overheard = _overhearing(response)
    outgoing(response, lambda: lambda message: [] if overheard(message) else [message])


def _late(response: web.StreamResponse) -> None:
    overheard = _overhearing(response)
    held: Edited = []

    def edit(message: Message) -> Edited:
        if not overheard(message):
            return [message]
        held.append(message)
        if not _ends_reply(message):
            return []
        told, held[:] = list(held), []
        return told

    outgoing(response, lambda: edit)


def _waiting(response: web.StreamResponse) -> None:
    overheard = _overhearing(response)

    def edit(message: Message) -> Edited:
        stopped = message.get("event") == "stream-error" or message.get("data", {}).get("interrupted")
        return [] if overheard(message) and stopped else [message]

    outgoing(response, lambda: edit)


def _without(event: str) -> Callable[[web.StreamResponse], None]:
    def spoil(response: web.StreamResponse) -> None:
        outgoing(response, lambda: lambda message: [] if message.get("event") == event else [message])

    return spoil


def _staying(response: web.StreamResponse) -> None:
    """Takes the wish to leave for a question who is there, and calls the answer a leaving."""
    leaving = 0

    async def look(text: str, _: ChatServer) -> str:
        nonlocal leaving
        if '"leave-room"' not in text:
            return text
        leaving += 1
        return text.replace('"leave-room"', '"get-room-info"')

    def edit(message: Message) -> Edited:
        nonlocal leaving
        if leaving and message.get("event") == "room-info":
            leaving -= 1
            return [{**message, "event": "room-left"}]
        return [message]

    incoming(response, look)
    outgoing(response, lambda: edit)


def _listed(response: web.StreamResponse) -> None:
    if isinstance(response, web.WebSocketResponse):
        all_open(response)


async def _ending_all(request: web.Request, handler: Handler, server: ChatServer) -> web.StreamResponse:
    try:
        return await handler(request)
    finally:
        if is_upgrade(request):
            for other in open_at(server):
                cut(other)


class OpenRooms(ChatServer):
    """That takes everybody on a socket for the same user."""

    def open_users(self) -> Users:
        """The users."""
        return OneUserOnSockets({**SEEDED_USERS, **self.settings.users})


class OneUserOnSockets(Users):
    """Who is on a socket is the first one who was."""

    _first: str | None = None

    def of_handshake(self, request: web.Request) -> str | None:
        """The first user of a socket, for everybody who is one."""
        user = super().of_handshake(request)
        if user is not None and self._first is None:
            self._first = user
        return None if user is None else self._first


DEFECTS = [
    Defect("asker-only", "members of a room do not receive the replies to others", spoil=_asker_only),
    Defect("room-hears-late", "members of a room receive a reply to somebody else only at its end", spoil=_late),
    Defect("room-waits", "members of a room are not notified that a reply was stopped", spoil=_waiting),
    Defect("joins-silently", "members of a room are not notified who joins", spoil=_without("participant-joined")),
    Defect("leaves-silently", "members of a room are not notified who leaves", spoil=_without("participant-left")),
    Defect("hears-after-leaving", "users who leave a room still receive its replies", spoil=_staying),
    Defect("listener-ends-all", "a socket that closes closes all others", spoil=_listed, around=_ending_all),
    Defect("open-rooms", "every user can open every project", OpenRooms),
]
