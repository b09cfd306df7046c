"""The upstream as one aiohttp application."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from mock_openai.upstream.admin import Admin
from mock_openai.upstream.asking import Refusal
from mock_openai.upstream.chat_completions import ChatCompletions
from mock_openai.upstream.errors import openai_refusal
from mock_openai.upstream.journal import Journal
from mock_openai.upstream.plans import Plan, Plans
from mock_openai.upstream.profiles import DEFAULT_PROFILE, profile_from
from mock_openai.upstream.service import Api, Service, route_handler

MAX_BODY_BYTES = 8 << 20
DEFAULT_TOKENS = 80

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """What a server is started with. `api_key`: the only key that is let in; None lets everybody in."""

    profile: str = DEFAULT_PROFILE
    seed: int = 0
    tokens: int = DEFAULT_TOKENS
    api_key: str | None = None
    admin_token: str | None = None


SERVICE: web.AppKey[Service] = web.AppKey("service", Service)
APIS: tuple[type[Api], ...] = (ChatCompletions,)


def create_app(settings: UpstreamSettings) -> web.Application:
    """The application; raises ValueError for an unknown profile."""
    plans = Plans(Plan(None, profile_from(settings.profile), settings.seed, settings.tokens))
    service = Service(plans, Journal())
    admin = Admin(plans, service.journal, settings.admin_token)

    @web.middleware
    async def real_service_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPNotFound:
            return openai_refusal(Refusal(f"Invalid URL ({request.method} {request.path})", status=404))
        except web.HTTPMethodNotAllowed:
            return openai_refusal(Refusal(f"Not allowed to {request.method} on {request.path}", status=405))
        except web.HTTPRequestEntityTooLarge:
            return openai_refusal(Refusal("Request body is too large.", status=413, code="request_too_large"))

    @web.middleware
    async def key_required(request: web.Request, handler: Handler) -> web.StreamResponse:
        if settings.api_key is not None and not request.path.startswith("/_mock/"):
            given = request.headers.get("authorization", "").removeprefix("Bearer ")
            if not secrets.compare_digest(given.encode(), settings.api_key.encode()):
                return openai_refusal(Refusal("Incorrect API key provided.", status=401, code="invalid_api_key"))
        return await handler(request)

    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[real_service_errors, admin.guard, key_required])
    app[SERVICE] = service
    app.add_routes([web.post(api.route, route_handler(service, api())) for api in APIS])
    app.add_routes(admin.routes())
    return app
