"""Which origins may use the server, and under which host names: only its own, unless more are configured."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from mock_openai.chat.limits import error
from mock_openai.hosts import KnownHosts

ANY = "*"


def for_known_hosts(hosts: KnownHosts) -> Middleware:
    """A middleware that refuses requests for names that are not this server's.

    Any page can have its own name lead to this machine, and would then be of the same origin.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.headers.get("host") not in hosts:
            return error(421, "This server has another name: it answers on loopback, and to names of --allow-host.")
        return await handler(request)

    return check


def same_origin_or(allowed: Collection[str]) -> Middleware:
    """A middleware that refuses browsers' requests from other pages than ours and `allowed` (`*` for every page).

    A cookie signs a browser in wherever the request comes from, and sockets know no preflight: so the origin is
    checked here, before anything is read or written.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get("origin")
        if origin is None or urlsplit(origin).netloc == request.host:
            return await handler(request)
        if not {origin, ANY} & set(allowed):
            return error(403, f"Pages of {origin} may not use this server.")
        if request.method == "OPTIONS" and "access-control-request-method" in request.headers:
            return web.Response(status=204)
        return await handler(request)

    return check


def allow_origin(allowed: Collection[str]) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """A signal that tells browsers, on every response, what the middleware lets pass."""

    async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
        origin = request.headers.get("origin")
        if origin is None or not {origin, ANY} & set(allowed):
            return
        response.headers["access-control-allow-origin"] = origin
        response.headers["vary"] = "origin"
        if request.method == "OPTIONS":
            response.headers["access-control-allow-methods"] = "GET, POST, PUT"
            response.headers["access-control-allow-headers"] = "authorization, content-type, last-event-id"
            response.headers["access-control-max-age"] = "600"
        else:
            response.headers["access-control-expose-headers"] = "retry-after, x-conversation-id"
        if ANY not in allowed:
            response.headers["access-control-allow-credentials"] = "true"

    return add_headers
