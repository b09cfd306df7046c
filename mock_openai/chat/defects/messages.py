"""What goes wrong on a socket, in either direction: the socket's own methods are replaced, and its system sees nothing.

A message is an object to whoever edits it. One of Socket.IO's events is its argument, with the event's name in `event`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import WSMessage, WSMsgType, web

from mock_openai.chat.server import ChatServer

EVENT = "42"  # an event of Socket.IO in a message of Engine.IO

Message = dict[str, Any]
Edited = list[Message | bytes]
Edit = Callable[[Message], Edited]
Change = Callable[[str, ChatServer], Awaitable[str | None]]
"""What becomes of a text; None closes the socket, as a failure would."""


def parsed(text: str) -> Message | None:
    """The message of a text; None where it is none that a system speaks."""
    try:
        data = json.loads(text.removeprefix(EVENT))
    except (ValueError, RecursionError):
        return None
    if text.startswith(EVENT):
        name, *arguments = data
        fields = arguments[0] if arguments else {}
        return {**fields, "event": name} if isinstance(fields, dict) else None
    return data if isinstance(data, dict) else None


def framed(message: Message, *, ascii_only: bool = False) -> str:
    """The text of a message."""
    if "event" not in message:
        return json.dumps(message, ensure_ascii=ascii_only)
    fields = {name: value for name, value in message.items() if name != "event"}
    return EVENT + json.dumps([message["event"], fields], ensure_ascii=ascii_only)


def outgoing(response: web.StreamResponse, make: Callable[[], Edit]) -> None:
    """Edits the messages that a socket sends."""
    if not isinstance(response, web.WebSocketResponse):
        return
    send, edit = response.send_str, make()

    async def send_str(data: str, *arguments: Any, **options: Any) -> None:
        message = parsed(data)
        if message is None:
            await send(data, *arguments, **options)
            return
        for item in edit(message):
            await send(item.decode() if isinstance(item, bytes) else framed(item), *arguments, **options)

    response.send_str = send_str  # type: ignore[method-assign]


def incoming(response: web.StreamResponse, change: Change) -> None:
    """Changes the texts that a socket receives."""
    if not isinstance(response, web.WebSocketResponse):
        return
    receive = response.receive

    async def received(*arguments: Any, **options: Any) -> WSMessage:
        message = await receive(*arguments, **options)
        if message.type is not WSMsgType.TEXT:
            return message
        text = await change(message.data, server_of(response))
        if text is None:
            await response.close(code=1011)
            return WSMessage(WSMsgType.CLOSED, None, None)
        return WSMessage(WSMsgType.TEXT, text, None)

    response.receive = received  # type: ignore[method-assign]


def server_of(response: web.StreamResponse) -> ChatServer:
    """The server that a response is of."""
    request = response._req
    assert isinstance(request, web.Request)
    return next(value for value in request.app.values() if isinstance(value, ChatServer))


def question_of(message: Message) -> tuple[Message, str] | None:
    """Where a question has its text: an object, and the name of the field in it."""
    if message.get("type") == "user_message" and isinstance(message.get("data"), dict):
        return message["data"], "content"
    messages = message.get("messages")
    if message.get("event") == "stream-chat" and isinstance(messages, list) and messages:
        return (messages[-1], "content") if isinstance(messages[-1], dict) else None
    return None
