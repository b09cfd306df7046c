"""Requests that are accepted, refused or answered wrongly."""

from __future__ import annotations

import html
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from mock_openai.chat.auth import SEEDED_USERS, Users
from mock_openai.chat.defects.access import SharedStore
from mock_openai.chat.defects.defect import Around, Defect
from mock_openai.chat.defects.messages import framed, incoming, outgoing, parsed, question_of
from mock_openai.chat.limits import MAX_BODY_BYTES, MAX_MESSAGE_CHARACTERS, error
from mock_openai.chat.provider import Prompt
from mock_openai.chat.server import ChatServer
from mock_openai.chat.store import Message, Store

HELLO = "Hello there."
KNOWN = {"message", "conversationId", "model", "content", "session_id", "title"}
KNOWN_ON_SOCKETS = {"type", "data", "timestamp", "event", "messages", "model", "streaming"}
KNOWN_ON_SOCKETS |= {"roomName", "participantName"}

Answer = Callable[[web.Request, web.StreamResponse, ChatServer], Awaitable[web.StreamResponse]]


def asks(request: web.Request) -> bool:
    """Whether the request is a question to one of the systems."""
    return request.method == "POST" and ("stream" in request.path) and "conversations" not in request.path


def field_of(request: web.Request) -> str:
    """The field that has the message."""
    return "content" if "/threads/" in request.path else "message"


def rewriting(name: str, told: str, change: Callable[[dict[str, Any], str], None]) -> Defect:
    """Changes a question before it is read: the object that has its text, and the name of the field."""

    async def on_socket(text: str, _: ChatServer) -> str:
        message = parsed(text)
        found = None if message is None else question_of(message)
        if message is None or found is None:
            return text
        change(*found)
        return framed(message)

    return Defect(name, told, spoil=lambda response: incoming(response, on_socket), around=_rewriting(change))


def _rewriting(change: Callable[[dict[str, Any], str], None]) -> Around:

    async def around(request: web.Request, handler: Handler, server: ChatServer) -> web.StreamResponse:
        if asks(request):
            try:
                data = json.loads(await request.read())
            except (ValueError, RecursionError):
                data = None
            if isinstance(data, dict):
                change(data, field_of(request))
                request._read_bytes = json.dumps(data).encode()
        return await handler(request)

    return around


def accepting(name: str, told: str, wrong: Callable[[Any], bool]) -> Defect:
    """Takes something else for the message where it is wrong in this way; `...` stands for a missing one."""

    def change(data: dict[str, Any], field: str) -> None:
        if wrong(data.get(field, ...)):
            data[field] = HELLO

    return rewriting(name, told, change)


def failing(name: str, told: str, wrong: Callable[[bytes], bool]) -> Defect:
    """Fails where the body, or a socket's message, is wrong in this way."""

    async def on_socket(text: str, _: ChatServer) -> str | None:
        return None if wrong(text.encode("utf-8", "replace")) else text

    async def around(request: web.Request, handler: Handler, server: ChatServer) -> web.StreamResponse:
        if asks(request) and wrong(await request.read()):
            return error(500, "Something went wrong here.")
        return await handler(request)

    return Defect(name, told, spoil=lambda response: incoming(response, on_socket), around=around)


def answering(change: Answer) -> Around:
    """Changes the answer to a request that does not stream."""

    async def around(request: web.Request, handler: Handler, server: ChatServer) -> web.StreamResponse:
        response = await handler(request)
        return response if response.prepared else await change(request, response, server)

    return around


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except RecursionError:
        return [[]]
    except ValueError:
        return None


def _has_half_a_character(body: bytes) -> bool:
    try:
        json.dumps(_parsed(body), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _shorten(data: dict[str, Any], field: str) -> None:
    if isinstance(data.get(field), str):
        data[field] = data[field][:MAX_MESSAGE_CHARACTERS]


def _garble(data: dict[str, Any], field: str) -> None:
    if isinstance(data.get(field), str):
        data[field] = html.escape(" ".join(data[field].split()))


async def _counting_bytes(request: web.Request, handler: Handler, server: ChatServer) -> web.StreamResponse:
    if asks(request):
        data = _parsed(await request.read())
        message = data.get(field_of(request)) if isinstance(data, dict) else None
        if isinstance(message, str) and len(message.encode("utf-8", "replace")) > MAX_MESSAGE_CHARACTERS:
            return error(400, "The message is too long.")
    return await handler(request)


async def _strict(request: web.Request, handler: Handler, server: ChatServer) -> web.StreamResponse:
    if asks(request):
        data = _parsed(await request.read())
        if isinstance(data, dict) and set(data) - KNOWN:
            return error(400, "There is an unknown field.")
    return await handler(request)


async def _boundless(request: web.Request, handler: Handler, server: ChatServer) -> web.StreamResponse:
    if asks(request):
        request._client_max_size = MAX_BODY_BYTES * 100
    return await handler(request)


async def _asking_first(request: web.Request, server: ChatServer) -> None:
    """Ask the model what the user wants to know, whoever it is and whatever it is."""
    data = _parsed(await request.read())
    message = data.get(field_of(request)) if isinstance(data, dict) else None
    if isinstance(message, str):
        await server.openai.complete(Prompt(({"role": "user", "content": message},), max_tokens=1))


async def _asking_before_checking(request: web.Request, handler: Handler, server: ChatServer) -> web.StreamResponse:
    if asks(request) and server.users.of_request(request) is not None:
        await _asking_first(request, server)
    return await handler(request)


async def _asking_before_auth(request: web.Request, handler: Handler, server: ChatServer) -> web.StreamResponse:
    if asks(request) and server.users.of_request(request) is None:
        await _asking_first(request, server)
    return await handler(request)


async def _asking_on_socket(text: str, server: ChatServer) -> str:
    message = parsed(text)
    found = None if message is None else question_of(message)
    if found is not None and isinstance(found[0].get(found[1]), str):
        await server.openai.complete(Prompt(({"role": "user", "content": found[0][found[1]]},), max_tokens=1))
    return text


def _boundless_socket(response: web.StreamResponse) -> None:
    if isinstance(response, web.WebSocketResponse):
        response._max_msg_size = MAX_BODY_BYTES * 100


def _counting_on_socket(response: web.StreamResponse) -> None:
    async def look(text: str, _: ChatServer) -> str | None:
        message = parsed(text)
        found = None if message is None else question_of(message)
        said = None if found is None else found[0].get(found[1])
        too_long = isinstance(said, str) and len(said.encode("utf-8", "replace")) > MAX_MESSAGE_CHARACTERS
        return None if too_long else text

    incoming(response, look)


def _strict_on_socket(response: web.StreamResponse) -> None:
    async def look(text: str, _: ChatServer) -> str | None:
        message = parsed(text)
        return None if message is not None and set(message) - KNOWN_ON_SOCKETS else text

    incoming(response, look)


def _silent_on_socket(response: web.StreamResponse) -> None:
    def edit(message: dict[str, Any]) -> list[dict[str, Any] | bytes]:
        if message.get("type") == "error":
            message["data"]["message"] = ""
        if "error" in message:
            message["error"] = ""
        return [message]

    outgoing(response, lambda: edit)


async def _any_path(request: web.Request, handler: Handler, server: ChatServer) -> web.StreamResponse:
    user = server.users.of_request(request)
    if user is not None and "user_id" in request.match_info:
        request.match_info["user_id"] = user
    return await handler(request)


async def _as_stream(request: web.Request, response: web.StreamResponse, server: ChatServer) -> web.StreamResponse:
    if not asks(request) or not 400 <= response.status < 500 or not isinstance(response, web.Response):
        return response
    return web.Response(text=f"data: {response.text}\n\n", content_type="text/event-stream")


async def _silent(request: web.Request, response: web.StreamResponse, server: ChatServer) -> web.StreamResponse:
    return web.json_response({}, status=response.status) if response.status >= 400 else response


async def _as_page(request: web.Request, response: web.StreamResponse, server: ChatServer) -> web.StreamResponse:
    if response.status < 400:
        return response
    return web.Response(text="<h1>Error</h1>", content_type="text/html", status=response.status)


async def _everything(request: web.Request, response: web.StreamResponse, server: ChatServer) -> web.StreamResponse:
    unknown = request.match_info.http_exception is not None and response.status == 404
    return web.json_response({}) if unknown else response


async def _no_allow(request: web.Request, response: web.StreamResponse, server: ChatServer) -> web.StreamResponse:
    response.headers.popall("allow", None)
    return response


async def _no_challenge(request: web.Request, response: web.StreamResponse, server: ChatServer) -> web.StreamResponse:
    response.headers.popall("www-authenticate", None)
    return response


async def _echoing(request: web.Request, response: web.StreamResponse, server: ChatServer) -> web.StreamResponse:
    if response.status != 401:
        return response
    return error(401, f"{request.headers.get('authorization')} is not known.", **{"www-authenticate": "Bearer"})


async def _telling(request: web.Request, response: web.StreamResponse, server: ChatServer) -> web.StreamResponse:
    if request.method != "GET" or response.status != 404 or "id" not in request.match_info:
        return response
    table = "threads" if "/threads/" in request.path else "conversations"
    there = server.store.run(f"SELECT 1 FROM {table} WHERE id = ?", (request.match_info["id"],))  # noqa: S608
    return error(403, "This is somebody else's.") if there else response


def _for_any_page(response: web.StreamResponse) -> None:
    response.headers["access-control-allow-origin"] = "*"


class AnyToken(ChatServer):
    """With users of whom each token is one."""

    def open_users(self) -> Users:
        """Every token is somebody's."""
        return AnyTokenUsers({**SEEDED_USERS, **self.settings.users})


class AnyTokenUsers(Users):
    """A token that nobody has is the first user's."""

    def of_token(self, token: str) -> str | None:
        """The token's user, or else the first user; nobody without a token."""
        return super().of_token(token) or (next(iter(SEEDED_USERS)) if token else None)


class TokenPrefix(ChatServer):
    """With tokens that are compared as far as they go."""

    def open_users(self) -> Users:
        """The beginning of a token is the token."""
        return PrefixUsers({**SEEDED_USERS, **self.settings.users})


class PrefixUsers(Users):
    """Compares as many characters as were sent."""

    def of_token(self, token: str) -> str | None:
        """The first user whose token begins so."""
        known = self._tokens.items()
        return next((name for name, whole in known if token and whole.startswith(token)), None)


class ReadableStore(SharedStore):
    """Everybody reads everything, and writes what is theirs."""

    def add_message(
        self,
        owner: str,
        conversation_id: str,
        role: str,
        content: str,
        *,
        interrupted: bool = False,
        message_id: str | None = None,
    ) -> Message | None:
        """Append a message where the conversation is the owner's."""
        return Store.add_message(
            self, owner, conversation_id, role, content, interrupted=interrupted, message_id=message_id
        )


class ReadsOfOthers(ChatServer):
    """With conversations that everybody can read."""

    def open_store(self) -> Store:
        """Raises StoreError."""
        return ReadableStore(self.settings.db)


class UnknownConversation(ChatServer):
    """That does not look whether a conversation is there."""

    def is_missing(self, owner: str, conversation_id: str) -> bool:
        """None is."""
        return False


async def _in_a_new_thread(request: web.Request, handler: Handler, server: ChatServer) -> web.StreamResponse:
    user = server.users.of_request(request)
    if user is not None and asks(request) and "/threads/" in request.path:
        known = server.store.conversation(user, request.match_info["id"])
        if known is None:
            made = server.store.create_conversation(user, "New conversation")
            server.store.run("INSERT INTO threads (id, steps) VALUES (?, '[]')", (made.id,))
            request.match_info["id"] = made.id
    return await handler(request)


DEFECTS = [
    accepting("accepts-empty", "empty messages are accepted", lambda value: value == ""),
    accepting(
        "accepts-blank",
        "messages of only white space are accepted",
        lambda value: isinstance(value, str) and value != "" and not value.strip(),
    ),
    accepting("accepts-missing", "requests without a message are accepted", lambda value: value is ...),
    accepting("accepts-null", "null messages are accepted", lambda value: value is None),
    accepting("accepts-number", "messages that are numbers are accepted", lambda value: isinstance(value, int)),
    accepting("accepts-object", "messages that are objects are accepted", lambda value: isinstance(value, dict)),
    rewriting("accepts-long", "messages that are too long are truncated and accepted", _shorten),
    Defect("accepts-large-body", "bodies of any size are accepted", spoil=_boundless_socket, around=_boundless),
    Defect("counts-bytes", "message length is counted in bytes", spoil=_counting_on_socket, around=_counting_bytes),
    Defect(
        "refuses-unknown-fields", "requests with unknown fields are refused", spoil=_strict_on_socket, around=_strict
    ),
    failing(
        "fails-on-bad-json",
        "a body that is not JSON causes a server error",
        lambda body: body != b"" and _parsed(body) is None,
    ),
    failing("fails-on-no-body", "a request without a body causes a server error", lambda body: body == b""),
    failing(
        "fails-on-array",
        "a body that is not an object causes a server error",
        lambda body: isinstance(_parsed(body), list),
    ),
    failing("fails-on-surrogate", "half a surrogate pair causes a server error", _has_half_a_character),
    failing("fails-on-deep-json", "deep nesting causes a server error", lambda body: body.startswith(b"[[[")),
    rewriting("garbles-prompt", "messages are HTML-escaped and their spaces collapsed", _garble),
    Defect("errors-as-stream", "refusals are streams with status 200", around=answering(_as_stream)),
    Defect("silent-refusals", "refusals give no reason", spoil=_silent_on_socket, around=answering(_silent)),
    Defect("html-errors", "refusals are HTML pages", around=answering(_as_page)),
    Defect("answers-everything", "routes that do not exist are answered with 200", around=answering(_everything)),
    Defect("no-allow", "405 responses have no Allow header", around=answering(_no_allow)),
    Defect("no-challenge", "401 responses do not say how to authenticate", around=answering(_no_challenge)),
    Defect("echoes-token", "401 responses repeat the token", around=answering(_echoing)),
    Defect("tells-existence", "other users' conversations are refused with 403", around=answering(_telling)),
    Defect("any-origin", "pages from any origin may read responses", spoil=_for_any_page),
    Defect(
        "asks-before-checking",
        "the model is called before the message is validated",
        spoil=lambda response: incoming(response, _asking_on_socket),
        around=_asking_before_checking,
    ),
    Defect("asks-before-auth", "the model is called before the user is authenticated", around=_asking_before_auth),
    Defect("any-user-id", "any user's name may be in the path", around=_any_path),
    Defect("any-token", "any token signs in as the first user", AnyToken),
    Defect("token-prefix", "the beginning of a token is accepted", TokenPrefix),
    Defect("reads-of-others", "conversations of other users can be read", ReadsOfOthers),
    Defect(
        "unknown-conversation",
        "prompts in conversations that do not exist are answered",
        UnknownConversation,
        around=_in_a_new_thread,
    ),
]
