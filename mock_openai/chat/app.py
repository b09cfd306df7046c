"""The chat server as one aiohttp application."""

from __future__ import annotations

import logging

from aiohttp import web
from aiohttp.typedefs import Handler

from mock_openai.chat import page_routes
from mock_openai.chat.cors import ANY, allow_origin, for_known_hosts, same_origin_or
from mock_openai.chat.defects.catalogue import server_with, spoil_requests, spoil_responses
from mock_openai.chat.limits import MAX_BODY_BYTES, error
from mock_openai.chat.server import ChatServer, ChatSettings
from mock_openai.chat.sse import STARTED
from mock_openai.chat.systems.assistant_ws import AssistantWs
from mock_openai.chat.systems.chat_stream import ChatStream
from mock_openai.chat.systems.conversation_stream import ConversationStream
from mock_openai.chat.systems.room_chat import RoomChat
from mock_openai.chat.systems.room_chat_rest import RoomChatRest
from mock_openai.chat.systems.thread_events import ThreadEvents

log = logging.getLogger(__name__)

SERVER = web.AppKey("server", ChatServer)


def create_app(settings: ChatSettings) -> web.Application:
    """The application with every system on it. Raises StoreError when the database cannot be opened."""
    server = server_with(settings)
    origins = (*settings.cors_origins, ANY) if settings.open else settings.cors_origins
    app = web.Application(
        client_max_size=MAX_BODY_BYTES,
        middlewares=[*spoil_requests(server), json_errors, for_known_hosts(settings.hosts), same_origin_or(origins)],
    )
    app[SERVER] = server
    app.on_response_prepare.append(allow_origin(origins))
    if settings.defects:
        app.on_response_prepare.append(spoil_responses(settings))
    assistant = AssistantWs(server)
    rooms = RoomChat(server)
    conversations = ConversationStream(server)
    app.add_routes(
        [
            *page_routes.routes(),
            *ChatStream(server).routes(),
            *assistant.routes(),
            *ThreadEvents(server).routes(),
            *rooms.routes(),
            *RoomChatRest(server).routes(),
            *conversations.routes(),
        ]
    )
    app.on_startup.append(assistant.start)
    app.on_shutdown.extend([assistant.stop, rooms.stop, conversations.stop])

    async def health(_: web.Request) -> web.Response:
        return web.json_response(
            {
                "status": "ok",
                "upstream": assistant.upstream,
                "streams": server.figures.streams,
                "connections": assistant.connections + rooms.connections,
                "counters": dict(server.figures.counters),
                "systems": {name: figures.to_json() for name, figures in server.figures.systems.items()},
            }
        )

    async def close(_: web.Application) -> None:
        await server.close()

    app.add_routes([web.get("/health", health)])
    app.on_cleanup.append(close)
    return app


@web.middleware
async def json_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every refusal is JSON, and nothing internal is shown."""
    try:
        return await handler(request)
    except ConnectionResetError:
        return web.Response()  # the client is gone: nobody will read this
    except web.HTTPRequestEntityTooLarge:
        return error(413, f"The body must not be larger than {MAX_BODY_BYTES // 1024} KiB.")
    except web.HTTPNotFound:
        return error(404, "No such route.")
    except web.HTTPMethodNotAllowed as refused:
        allowed = ", ".join(sorted(refused.allowed_methods))
        return error(405, f"Use {allowed}.", allow=allowed)
    except web.HTTPException:
        raise
    except Exception:
        if STARTED in request:
            raise  # too late for an answer: the connection is closed instead
        log.exception("%s %s", request.method, request.path)
        return error(500, "Something went wrong here. It has been logged.")
