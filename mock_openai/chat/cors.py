"""Which other pages may use the server: none, unless one is named."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from mock_openai.chat.limits import error


def same_origin_or(allowed: str | None) -> Middleware:
    """A middleware that refuses browsers' requests from other pages than ours and `allowed` (`*` for every page).

    A cookie signs a browser in wherever the request comes from, and sockets know no preflight: so the origin is
    checked here, before anything is read or written.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get("origin")
        if origin is None or urlsplit(origin).netloc == request.host:
            return await handler(request)
        if allowed not in (origin, "*"):
            return error(403, f"Pages of {origin} may not use this server.")
        if request.method == "OPTIONS" and "access-control-request-method" in request.headers:
            return web.Response(status=204)
        return await handler(request)

    return check


def allow_origin(allowed: str | None) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """A signal that tells browsers, on every response, what the middleware lets pass."""

    async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
        origin = request.headers.get("origin")
        if origin is None or allowed not in (origin, "*"):
            return
        response.headers["access-control-allow-origin"] = origin
        response.headers["vary"] = "origin"
        if request.method == "OPTIONS":
            response.headers["access-control-allow-methods"] = "GET, POST, PUT"
            response.headers["access-control-allow-headers"] = "authorization, content-type"
            response.headers["access-control-max-age"] = "600"
        if allowed != "*":
            response.headers["access-control-allow-credentials"] = "true"

    return add_headers
