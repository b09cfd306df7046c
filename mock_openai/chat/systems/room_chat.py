"""System 3, `room-chat`: Socket.IO, with rooms in which everybody sees every reply come.

from the client                          to the client                        to the others in the room
                                         connected {message, clientId}
join-room {roomName, participantName}    room-joined                          participant-joined
leave-room {roomName}                    room-left                            participant-left
get-room-info {roomName}                 room-info, or room-error {error}
stream-chat {messages, model?,           stream-start {message, timestamp}    the same with participantName
             streaming?}                 stream-chunk {content, isComplete, timestamp, fullResponse} ...
                                         stream-complete {fullResponse, timestamp, message}
                                         stream-error {error, timestamp}

The last chunk has isComplete: true and no content. A disconnect stops the reply and leaves the room.
The same for clients without sockets is in `room_chat_rest`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import socketio
from aiohttp import web
from engineio.packet import NOOP, Packet

from mock_openai.chat.clock import now_iso
from mock_openai.chat.limits import HISTORY_MESSAGES, MAX_BODY_BYTES, UNREAD_S, is_text, message_problem, text_problem
from mock_openai.chat.modes import MODES
from mock_openai.chat.provider import Prompt
from mock_openai.chat.reply import Question, ReplyFailed
from mock_openai.chat.server import ChatServer

SYSTEM = "room-chat"

log = logging.getLogger(__name__)

WAITING_STREAMS = 8  # of one client; they are answered one after the other
UNSENT_PACKETS = 100
HEARTBEAT_S = 25.0
GOODBYE_S = 1.0  # how long a client may take to read what it is yet to be sent, when the server ends
REFUSED_S = 1.0  # how long somebody who was refused may stay connected to hear of it


@dataclass(slots=True)
class Client:
    """One connected client. `conversation` is where its messages are stored, once there are some."""

    sid: str
    user: str
    mode: str
    name: str
    room: str | None = None
    conversation: str | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    streams: set[asyncio.Task[Any]] = field(default_factory=set)


Answer = Callable[[Client, Any], Awaitable[dict[str, Any] | None]]


class RoomChat:
    """The Socket.IO events of the system."""

    def __init__(self, server: ChatServer) -> None:
        self._server = server
        self._clients: dict[str, Client] = {}
        self._rooms: dict[str, list[Client]] = {}
        self._websockets: list[web.Request] = []
        # What clients do wrong on the wire is theirs: the library would log it as our error, with a traceback.
        quiet = logging.getLogger("mock_openai.chat.wire")
        quiet.setLevel(logging.CRITICAL)
        self._sio = socketio.AsyncServer(
            async_mode="aiohttp",
            cors_allowed_origins=[],  # origins are checked for all systems alike, see `cors`
            max_http_buffer_size=MAX_BODY_BYTES,
            ping_interval=server.settings.heartbeat_s or HEARTBEAT_S,
            engineio_logger=quiet,
            logger=quiet,
        )
        self._sio.on("connect", self.connect)
        self._sio.on("disconnect", self.disconnect)
        for event, answer in (
            ("join-room", self.join_room),
            ("leave-room", self.leave_room),
            ("get-room-info", self.room_info),
            ("stream-chat", self.stream_chat),
        ):
            self._sio.on(event, self._from_a_client(answer))

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._clients)

    def routes(self) -> list[web.RouteDef]:
        """The routes, for aiohttp."""
        return [web.route(method, "/socket.io/", self.engine) for method in ("GET", "POST", "OPTIONS")]

    async def engine(self, request: web.Request) -> web.StreamResponse:
        """What the library does with HTTP, and two things that it leaves undone.

        When a WebSocket is over, its client is gone: also where a malformed packet or a cancellation ended the
        library's task. And when a polling client has said goodbye, its open poll is answered, not left until a ping.
        """
        socket = self._sio.eio.sockets.get(request.query.get("sid"))
        is_websocket = request.headers.get("upgrade", "").lower() == "websocket"
        if is_websocket:
            self._websockets.append(request)
        try:
            response: web.StreamResponse = await self._sio.handle_request(request)
        except Exception as failure:
            log.info("a malformed packet: %s: %s", type(failure).__name__, failure)
            raise ConnectionResetError from failure
        finally:
            if is_websocket:
                self._websockets.remove(request)
                await self._forget(request)
        if request.method == "POST" and socket is not None and socket.closed:
            socket.queue.put_nowait(Packet(NOOP))
        return response

    async def _forget(self, request: web.Request) -> None:
        """Close what a WebSocket has left open."""
        socket = self._sio.eio.sockets.get(request.query.get("sid") or self._first_sid(request))
        if socket is not None and not socket.closed:
            await socket.close(wait=False, abort=True, reason=self._sio.reason.TRANSPORT_ERROR)
            await socket.queue.put(None)  # ends the task that writes
            if request.transport is not None:
                request.transport.close()

    async def stop(self, _: web.Application) -> None:
        """Disconnect everybody, and end what the library does in the background."""
        leaving = [asyncio.create_task(self._sio.disconnect(client.sid)) for client in self._clients.values()]
        if leaving:
            unread = (await asyncio.wait(leaving, timeout=GOODBYE_S))[1]
            for one in unread:
                one.cancel()
            for request in self._websockets if unread else ():
                if request.transport is not None:
                    request.transport.abort()
        for socket in list(self._sio.eio.sockets.values()):
            await socket.close(wait=False)
            await socket.queue.put(None)  # ends the task that writes, which closes the WebSocket
        await self._sio.shutdown()

    async def connect(self, sid: str, environ: dict[str, Any], auth: Any = None) -> None:
        """Let a user in, by the token of the CONNECT packet or of the HTTP request."""
        request: web.Request = environ["aiohttp.request"]
        token = auth.get("token") if isinstance(auth, dict) else None
        users = self._server.users
        user = users.of_token(token) if isinstance(token, str) else users.of_handshake(request)
        mode = request.query.get("streaming", self._server.settings.streaming)
        if user is None or mode not in MODES:
            asyncio.get_running_loop().call_later(
                REFUSED_S, self._hang_up, self._sio.manager.eio_sid_from_sid(sid, "/")
            )
            raise socketio.exceptions.ConnectionRefusedError(
                "Sign in first." if user is None else f"`streaming` is one of {', '.join(MODES)}."
            )
        self._clients[sid] = Client(sid, user, mode, user)
        # The library confirms the connection when this method returns: what is sent now would come before that.
        asyncio.get_running_loop().call_soon(self._greet, sid)

    async def disconnect(self, sid: str, _reason: str = "") -> None:
        """Stop what the client asked for, then tell the others that it has left."""
        client = self._clients.pop(sid, None)
        if client is None:
            return
        streams = list(client.streams)
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*streams, return_exceptions=True)
        await self._leave(client)

    def _from_a_client(self, answer: Answer) -> Callable[..., Awaitable[dict[str, Any] | None]]:
        """What the library calls for an event: with the client it is from, and with one argument, whatever was sent."""

        async def received(sid: str, data: Any = None, *_: Any) -> dict[str, Any] | None:
            client = self._clients.get(sid)
            if client is None:
                return None  # it has left in the meantime
            return await answer(client, data if is_text(data) else None)

        return received

    async def join_room(self, client: Client, data: Any) -> dict[str, Any]:
        """A client is in one room at a time; who joins another leaves the first."""
        problem = _room_problem(data) or text_problem(data, "participantName")
        if problem is not None:
            return await self._refuse(client, problem)
        name = data.get("participantName") or client.user
        if any(other.name == name and other.user != client.user for other in self._rooms.get(data["roomName"], ())):
            return await self._refuse(client, "Somebody else in the room has this name.")
        await self._leave(client)
        if client.sid not in self._clients:
            return {}  # it has left in the meantime
        client.room, client.name = data["roomName"], name
        self._rooms.setdefault(data["roomName"], []).append(client)
        await self._sio.enter_room(client.sid, _room(data["roomName"]))
        joined = {"roomName": client.room, "participantName": name, "clientId": client.sid, "timestamp": now_iso()}
        await self._sio.emit("participant-joined", joined, room=_room(data["roomName"]), skip_sid=client.sid)
        return await self._answer(
            client, "room-joined", {**joined, "participants": self._participants(joined["roomName"])}
        )

    async def leave_room(self, client: Client, data: Any) -> dict[str, Any]:
        """Leave the room that the client is in; the others are told."""
        problem = _room_problem(data)
        if problem is not None or client.room != data["roomName"]:
            return await self._refuse(client, problem or "You are not in this room.")
        await self._leave(client)
        return await self._answer(client, "room-left", {"roomName": data["roomName"], "timestamp": now_iso()})

    async def room_info(self, client: Client, data: Any) -> dict[str, Any]:
        """Who is in a room: for those who are in it themselves."""
        problem = _room_problem(data)
        if problem is not None or client.room != data["roomName"]:
            return await self._refuse(client, problem or "You are not in this room.")
        participants = self._participants(data["roomName"])
        info = {"roomName": data["roomName"], "participants": participants, "count": len(participants)}
        return await self._answer(client, "room-info", {**info, "timestamp": now_iso()})

    async def stream_chat(self, client: Client, data: Any) -> None:
        """One reply, to the client and to the others in its room. A client's replies come one after the other."""
        problem = self._stream_problem(client, data)
        if problem is not None:
            await self._sio.emit("stream-error", {"error": problem, "timestamp": now_iso()}, to=client.sid)
            return
        task = asyncio.current_task()
        assert task is not None
        client.streams.add(task)
        try:
            async with client.turn:
                await self._stream(client, data)
        except (asyncio.CancelledError, ConnectionResetError):
            pass  # the client has gone
        finally:
            client.streams.discard(task)

    async def _stream(self, client: Client, data: dict[str, Any]) -> None:
        async def tell(event: str, **fields: Any) -> None:
            fields["timestamp"] = now_iso()
            await self._wait_for_reader(client)
            await self._sio.emit(event, fields, to=client.sid)
            await self._tell_others(client, event, fields)

        conversation = self._conversation(client, data["messages"][-1]["content"])
        prompt = Prompt(last_messages(data["messages"]), data.get("model"))
        reply = self._server.reply(Question(SYSTEM, prompt, data.get("streaming") or client.mode, conversation))
        try:
            start = {"message": "The assistant is answering.", "timestamp": now_iso()}
            # Told at the beginning: a reply that is cut short is stored as well, and has no stream-complete.
            await self._sio.emit("stream-start", {**start, "conversationId": client.conversation}, to=client.sid)
            # The others have not typed the question, and a reply without one says little.
            await self._tell_others(client, "stream-start", {**start, "question": data["messages"][-1]["content"]})
            async with aclosing(reply.pieces()) as pieces:
                async for piece in pieces:
                    await tell("stream-chunk", content=piece, isComplete=False, fullResponse=reply.text)
            await tell("stream-chunk", content="", isComplete=True, fullResponse=reply.text)
            await tell(
                "stream-complete",
                fullResponse=reply.text,
                message="The answer is complete.",
                conversationId=client.conversation,
            )
        except ReplyFailed as failed:
            await tell("stream-error", error=str(failed))
        except (asyncio.CancelledError, ConnectionResetError):
            # Who asked is gone; the others must not wait for the rest.
            left = {"error": f"{client.name} has left.", "timestamp": now_iso()}
            await self._tell_others(client, "stream-error", left)
            raise

    def _conversation(self, client: Client, message: str) -> tuple[str, str] | None:
        """Where the reply will be stored, after the message; None where the store has failed."""
        store = self._server.store
        if client.conversation is None:
            created = self._server.survive(lambda: store.create_conversation(client.user, "Room chat"))
            client.conversation = created.id if created is not None else None
        if client.conversation is None:
            return None
        self._server.remember(client.user, client.conversation, message)
        return client.user, client.conversation

    def _stream_problem(self, client: Client, data: Any) -> str | None:
        problem = prompt_problem(data)
        if problem is not None:
            return problem
        if data.get("streaming") not in (None, *MODES):
            return f"`streaming` is one of {', '.join(MODES)}."
        if len(client.streams) >= WAITING_STREAMS:
            return "Too many replies are waiting already."
        wait_s = self._server.rate_limit.wait_s(client.user)
        return f"Too many requests. Please try again in {max(1, round(wait_s))} s." if wait_s > 0 else None

    async def _wait_for_reader(self, client: Client) -> None:
        """A reply is not taken from the upstream faster than it is read. Raises ConnectionResetError."""
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + UNREAD_S
        while client.sid in self._clients:
            socket = self._engine_socket(client.sid)
            if socket is None or socket.queue.qsize() < UNSENT_PACKETS:
                return
            if loop.time() > ends_s:
                self._drop(client)
                break
            await asyncio.sleep(0.01)
        raise ConnectionResetError("the client has gone")

    def _drop(self, client: Client) -> None:
        """Cut a client's WebSocket; `engine` then cleans up. A client that polls is given up by the library in time."""
        eio_sid = self._sio.manager.eio_sid_from_sid(client.sid, "/")
        for request in self._websockets:
            if eio_sid in (request.query.get("sid"), self._first_sid(request)) and request.transport is not None:
                request.transport.abort()

    def _first_sid(self, request: web.Request) -> str | None:
        """The library's name of the connection that began with this request, if one did."""
        environs = self._sio.environ.items()
        return next((sid for sid, environ in environs if environ["aiohttp.request"] is request), None)

    def _engine_socket(self, sid: str) -> Any:
        """The library's transport of a client; None once it is gone."""
        return self._sio.eio.sockets.get(self._sio.manager.eio_sid_from_sid(sid, "/"))

    async def _tell_others(self, client: Client, event: str, fields: dict[str, Any]) -> None:
        if client.room is not None and len(self._rooms[client.room]) > 1:
            named = {name: value for name, value in fields.items() if name != "conversationId"}
            named["participantName"] = client.name
            await self._sio.emit(event, named, room=_room(client.room), skip_sid=client.sid)

    async def _leave(self, client: Client) -> None:
        if client.room is None:
            return
        room, client.room = client.room, None
        self._rooms[room].remove(client)
        if not self._rooms[room]:
            del self._rooms[room]
        await self._sio.leave_room(client.sid, _room(room))
        left = {"roomName": room, "participantName": client.name, "clientId": client.sid, "timestamp": now_iso()}
        await self._sio.emit("participant-left", left, room=_room(room), skip_sid=client.sid)

    async def _answer(self, client: Client, event: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Send an event; who asked with an acknowledgement gets the same as that."""
        await self._sio.emit(event, fields, to=client.sid)
        return fields

    async def _refuse(self, client: Client, problem: str) -> dict[str, Any]:
        return await self._answer(client, "room-error", {"error": problem, "timestamp": now_iso()})

    def _participants(self, room: str) -> list[dict[str, str]]:
        return [{"participantName": client.name, "clientId": client.sid} for client in self._rooms.get(room, ())]

    def _greet(self, sid: str) -> None:
        self._sio.start_background_task(
            self._sio.emit, "connected", {"message": "Welcome to room chat.", "clientId": sid}, to=sid
        )

    def _hang_up(self, eio_sid: str) -> None:
        self._sio.start_background_task(self._sio.eio.disconnect, eio_sid)


def prompt_problem(data: Any) -> str | None:
    """Why `{messages, model?}` is refused, or None."""
    if not isinstance(data, dict):
        return "Send an object with `messages`."
    messages = data.get("messages")
    if not isinstance(messages, list) or not messages:
        return "`messages` must be a list of messages, and not empty."
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in ("system", "user", "assistant"):
            return "Every message must be an object with the role system, user or assistant."
        if not isinstance(message.get("content"), str):
            return "`content` of every message must be a string."
    if messages[-1]["role"] != "user":
        return "The last message must be the user's."
    return message_problem(messages[-1]["content"], "content") or text_problem(data, "model", "streaming")


def last_messages(messages: list[dict[str, str]]) -> tuple[dict[str, str], ...]:
    """What the upstream gets of the client's history: a leading system prompt, the last messages, and the new one."""
    leading = messages[:1] if messages[0]["role"] == "system" else []
    kept = [*leading, *messages[len(leading) :][-HISTORY_MESSAGES - 1 :]]
    return tuple({"role": item["role"], "content": item["content"]} for item in kept)


def _room_problem(data: Any) -> str | None:
    if not isinstance(data, dict):
        return "Send an object with `roomName`."
    return message_problem(data.get("roomName"), "roomName") or text_problem(data, "roomName")


def _room(name: str) -> str:
    """The library's name of a room. Every client is a room of its own there: without the prefix, one could join it."""
    return f"room:{name}"
