"""The chat server as one aiohttp application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from mock_openai.chat.limits import MAX_BODY_BYTES, error
from mock_openai.chat.server import ChatServer, ChatSettings
from mock_openai.chat.systems.chat_stream import ChatStream

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def create_app(settings: ChatSettings) -> web.Application:
    """The application with every system on it."""
    server = ChatServer(settings)

    @web.middleware
    async def json_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except ConnectionResetError:
            return web.Response()  # the client is gone: nobody will read this
        except web.HTTPRequestEntityTooLarge:
            return error(413, f"The body must not be larger than {MAX_BODY_BYTES // 1024} KiB.")
        except web.HTTPNotFound:
            return error(404, "No such route.")
        except web.HTTPMethodNotAllowed as refused:
            return error(405, f"Use {', '.join(sorted(refused.allowed_methods))}.")

    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[json_errors])
    app.add_routes([*ChatStream(server).routes(), web.get("/health", health)])

    async def close(_: web.Application) -> None:
        await server.close()

    app.on_cleanup.append(close)
    return app


async def health(request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})
