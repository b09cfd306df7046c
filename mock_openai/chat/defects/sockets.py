"""Sockets that are opened, kept and ended wrongly."""

from __future__ import annotations

import json
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from aiohttp import web
from aiohttp.typedefs import Handler

from mock_openai.chat.defects.defect import Defect
from mock_openai.chat.defects.messages import incoming, parsed, question_of, server_of
from mock_openai.chat.limits import error
from mock_openai.chat.server import ChatServer

ENGINE_PING = "2"
KNOWN = {"create_conversation", "user_message", "chat_interrupted", "ping"}
KNOWN_EVENTS = {"join-room", "leave-room", "get-room-info", "stream-chat"}


def is_upgrade(request: web.Request) -> bool:
    """Whether a request is a WebSocket's handshake."""
    return request.headers.get("upgrade", "").lower() == "websocket"


async def _failing(request: web.Request, handler: Handler, server: ChatServer) -> web.StreamResponse:
    if request.path == "/ws/chat" and not is_upgrade(request):
        return error(500, "Something went wrong here.")
    return await handler(request)


async def _of_any_origin(request: web.Request, handler: Handler, server: ChatServer) -> web.StreamResponse:
    if "origin" in request.headers and (is_upgrade(request) or request.path == "/socket.io/"):
        headers = request.headers.copy()
        del headers["origin"]
        request._headers = headers  # type: ignore[assignment]
        request._cache.pop("headers", None)
    return await handler(request)


def _without_pong(response: web.StreamResponse) -> None:
    if isinstance(response, web.WebSocketResponse):
        response._autoping = False


def _without_close(response: web.StreamResponse) -> None:
    if isinstance(response, web.WebSocketResponse):

        async def close(**_: Any) -> bool:
            cut(response)
            return True

        response.close = close  # type: ignore[method-assign]


def _without_heartbeat(response: web.StreamResponse) -> None:
    if isinstance(response, web.WebSocketResponse):
        response._heartbeat = None
        send = response.send_str

        async def send_str(data: str, *arguments: Any, **options: Any) -> None:
            if data != ENGINE_PING:
                await send(data, *arguments, **options)

        response.send_str = send_str  # type: ignore[method-assign]


def _one_question(response: web.StreamResponse) -> None:
    asked = False

    async def look(text: str, _: ChatServer) -> str | None:
        nonlocal asked
        message = parsed(text)
        if message is None or question_of(message) is None:
            return text
        again, asked = asked, True
        return None if again else text

    incoming(response, look)


def _known_only(response: web.StreamResponse) -> None:
    async def look(text: str, _: ChatServer) -> str | None:
        message = parsed(text)
        if message is None:
            return text
        known = message["event"] in KNOWN_EVENTS if "event" in message else message.get("type") in KNOWN
        return text if known else None

    incoming(response, look)


def _no_mistakes(response: web.StreamResponse) -> None:
    async def look(text: str, _: ChatServer) -> str | None:
        message = parsed(text)
        found = None if message is None else question_of(message)
        return text if found is None or found[0].get(found[1]) else None

    incoming(response, look)


def _without_interrupt(response: web.StreamResponse) -> None:
    async def look(text: str, _: ChatServer) -> str | None:
        message = parsed(text)
        ignored = message is not None and message.get("type") == "chat_interrupted"
        return json.dumps({"type": "ping"}) if ignored else text

    incoming(response, look)


_open: WeakKeyDictionary[ChatServer, WeakSet[web.WebSocketResponse]] = WeakKeyDictionary()


def all_open(response: web.WebSocketResponse) -> WeakSet[web.WebSocketResponse]:
    """The sockets of its server, of those that were asked for; this one is among them from now on."""
    everybody = _open.setdefault(server_of(response), WeakSet())
    everybody.add(response)
    return everybody


def open_at(server: ChatServer) -> list[web.WebSocketResponse]:
    """The sockets of a server that were asked for."""
    return list(_open.get(server, ()))


def cut(response: web.WebSocketResponse) -> None:
    """End a socket without a word."""
    if response._req is not None and response._req.transport is not None:
        response._req.transport.abort()


def _ends_all(response: web.StreamResponse) -> None:
    if not isinstance(response, web.WebSocketResponse):
        return
    everybody = all_open(response)

    async def look(text: str, _: ChatServer) -> str | None:
        if text[:1] in ("{", "4") and parsed(text) is None and ("{" in text):
            for other in list(everybody):
                cut(other)
        return text

    incoming(response, look)


def _tells_all(response: web.StreamResponse) -> None:
    if not isinstance(response, web.WebSocketResponse):
        return
    everybody, send = all_open(response), response.send_str
    response._tell = send  # type: ignore[attr-defined]

    async def send_str(data: str, *arguments: Any, **options: Any) -> None:
        for other in list(everybody):
            if other is not response and not other.closed and ("assistant_response" in data or "stream-chunk" in data):
                try:
                    await other._tell(data)  # type: ignore[attr-defined]
                except (ConnectionResetError, RuntimeError):
                    continue
        await send(data, *arguments, **options)

    response.send_str = send_str  # type: ignore[method-assign]


_lost: WeakKeyDictionary[ChatServer, set[str]] = WeakKeyDictionary()


async def _locking_out(request: web.Request, handler: Handler, server: ChatServer) -> web.StreamResponse:
    user = server.users.of_handshake(request)
    if user is None or not (is_upgrade(request) or request.path == "/socket.io/"):
        return await handler(request)
    lost = _lost.setdefault(server, set())
    if user in lost:
        return error(409, "You are connected already.")
    try:
        response = await handler(request)
    except BaseException:
        lost.add(user)
        raise
    if isinstance(response, web.WebSocketResponse) and response.close_code in (None, 1006):
        lost.add(user)
    return response


DEFECTS = [
    Defect("fails-without-upgrade", "a plain request to a socket's route causes a server error", around=_failing),
    Defect("any-socket-origin", "pages from any origin may open sockets", around=_of_any_origin),
    Defect("no-pong", "pings are not answered", spoil=_without_pong),
    Defect("no-close-answer", "sockets are dropped without a close frame", spoil=_without_close),
    Defect("no-heartbeat", "clients are never pinged", spoil=_without_heartbeat),
    Defect("one-question-a-socket", "a second prompt on a socket closes it", spoil=_one_question),
    Defect("dies-on-unknown", "messages of unknown types close the socket", spoil=_known_only),
    Defect("refusal-closes", "empty messages close the socket", spoil=_no_mistakes),
    Defect("malformed-ends-all", "a malformed message closes all sockets", spoil=_ends_all),
    Defect("no-reconnect", "a user who lost a connection cannot reconnect", around=_locking_out),
    Defect("ignores-interrupt", "a reply cannot be stopped", spoil=_without_interrupt),
    Defect("tells-everybody", "replies go to all sockets", spoil=_tells_all),
]
