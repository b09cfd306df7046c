"""The upstream as one aiohttp application."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from aiohttp import web

from mock_openai.hosts import KnownHosts
from mock_openai.upstream import gemini, models
from mock_openai.upstream.admin import Admin
from mock_openai.upstream.chat_completions import ChatCompletions
from mock_openai.upstream.completions import Completions
from mock_openai.upstream.desk import Desk, OwnDesk
from mock_openai.upstream.embeddings import Embeddings
from mock_openai.upstream.errors import openai_refusal, refusal_of
from mock_openai.upstream.exchange import Api
from mock_openai.upstream.handler import route_handler
from mock_openai.upstream.ledger import Ledger, OwnLedger
from mock_openai.upstream.params import Refusal
from mock_openai.upstream.plans import Plan, Plans
from mock_openai.upstream.profiles import DEFAULT_PROFILE, Trace, profile_from
from mock_openai.upstream.quotas import Limits
from mock_openai.upstream.recording import Recorder
from mock_openai.upstream.responses import Responses
from mock_openai.upstream.service import MAX_BYTES_IN_FLIGHT, Service

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 8 << 20
DEFAULT_TOKENS = 80
WRONG_HOST = "This server has another name: it answers on loopback, and to names of --allow-host."

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """What a server is started with.

    `profile`: a name, or a JSON object with parameters. `api_key`: the only key that is let in; None lets everybody
    in. `limits`: rate limits of each key. `traces`: recorded streams by name. `models`: further names that are known,
    `*` for any. `record`: the URL of a real service to pass everything on to, and `traces_folder` where its replies are
    kept. `hosts`: the names that requests may be for. `max_bytes_in_flight`: of replies that are composed and not yet
    over. `style`: of generated texts, see `text.STYLES`.
    """

    profile: str = DEFAULT_PROFILE
    seed: int = 0
    tokens: int = DEFAULT_TOKENS
    api_key: str | None = None
    admin_token: str | None = None
    limits: Limits = field(default_factory=Limits)
    traces: dict[str, Trace] = field(default_factory=dict)
    models: frozenset[str] = frozenset()
    record: str | None = None
    traces_folder: Path | None = None
    style: str = "plain"
    hosts: KnownHosts = field(default_factory=lambda: KnownHosts("127.0.0.1"))
    max_bytes_in_flight: int = MAX_BYTES_IN_FLIGHT


SERVICE: web.AppKey[Service] = web.AppKey("service", Service)
APIS: tuple[type[Api], ...] = (
    ChatCompletions,
    Responses,
    Completions,
    Embeddings,
    gemini.GenerateContent,
    gemini.StreamGenerateContent,
)


def plans_of(settings: UpstreamSettings) -> Plans:
    """The plans of a server that starts: only the default. Raises ValueError for a profile that is not valid."""
    profile = profile_from(_name_or_object(settings.profile), settings.traces)
    default = Plan(None, profile, settings.seed, settings.tokens, style=settings.style)
    return Plans(default, settings.traces)


def app_of_one(settings: UpstreamSettings) -> tuple[web.Application, OwnLedger]:
    """The application of a server that is one process, and its ledger. Raises ValueError as `plans_of`."""
    plans, ledger = plans_of(settings), OwnLedger()
    return create_app(settings, plans, ledger, OwnDesk(plans, ledger)), ledger


def create_app(settings: UpstreamSettings, plans: Plans, ledger: Ledger, desk: Desk) -> web.Application:
    """The application of one process; what it shares with others is behind `ledger` and `desk`."""
    service = Service(plans, ledger, limits=settings.limits, max_bytes_in_flight=settings.max_bytes_in_flight)
    admin = Admin(desk, settings.traces, settings.admin_token)

    @web.middleware
    async def real_service_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if request.headers.get("host") not in settings.hosts:
                raise Refusal(WRONG_HOST, status=421)
            if not request.path.startswith("/_mock/"):
                _check_key(request, settings.api_key)
            return await handler(request)
        except web.HTTPNotFound:
            refusal = Refusal(f"Invalid URL ({request.method} {request.path})", status=404)
        except web.HTTPMethodNotAllowed:
            refusal = Refusal(f"Not allowed to {request.method} on {request.path}", status=405)
        except web.HTTPRequestEntityTooLarge:
            refusal = Refusal("Request body is too large.", status=413, code="request_too_large")
        except Refusal as raised:
            refusal = raised
        except (ConnectionError, web.HTTPException):
            raise
        except Exception:
            log.exception("a bug in the fake upstream, answered with 500")
            refusal = refusal_of(500)
        return (gemini.gemini_refusal if _is_gemini(request) else openai_refusal)(refusal)

    refused = count(1)

    async def identified(request: web.Request, response: web.StreamResponse) -> None:
        """What was refused before it became an entry of the journal has a request id too."""
        if not request.path.startswith("/_mock/") and not _is_gemini(request):
            response.headers.setdefault("x-request-id", f"req_mockrefused{next(refused):06d}")

    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[real_service_errors, admin.guard])
    app[SERVICE] = service
    app[models.MORE_MODELS] = settings.models
    if settings.record is None:
        app.on_response_prepare.append(identified)
    app.add_routes(admin.routes())
    if settings.record is not None:
        assert settings.traces_folder is not None
        recorder = Recorder(settings.record, settings.traces_folder, settings.traces)
        app.add_routes([web.route("*", "/{path:.*}", recorder.pass_on)])
        app.on_cleanup.append(lambda _: recorder.close())
        return app
    for kind in APIS:
        api = kind()
        app.add_routes([web.post(path, route_handler(service, api)) for path in api.routes])
    app.add_routes(
        [
            web.get("/v1/models", models.list_models),
            web.get("/v1/models/{model:.+}", models.one_model),
            web.get("/{version:v1beta1?}/models", gemini.list_models),
            web.get("/{version:v1beta1?}/models/{model}", gemini.one_model),
        ]
    )
    return app


def _name_or_object(profile: str) -> Any:
    """A profile as an option gives it. Raises ValueError."""
    if not profile.lstrip().startswith("{"):
        return profile
    try:
        return json.loads(profile)
    except ValueError as error:
        raise ValueError(f"--profile is a name, or a JSON object: {error}") from None


def _is_gemini(request: web.Request) -> bool:
    return request.path.startswith(("/v1beta/", "/v1beta1/")) or request.path.endswith("enerateContent")


def _check_key(request: web.Request, api_key: str | None) -> None:
    """Refuse a request without the key of the server, where there is one. Raises Refusal."""
    if api_key is None:
        return
    headers = request.headers
    given = headers.get("authorization", "").removeprefix("Bearer ").strip()
    given = given or headers.get("x-goog-api-key", "") or request.query.get("key", "")
    if secrets.compare_digest(given.encode(errors="replace"), api_key.encode()):
        return
    if _is_gemini(request):
        if not given:
            raise Refusal("Method doesn't allow unregistered callers. Please use API Key.", status=403)
        raise Refusal("API key not valid. Please pass a valid API key.", code="api_key_invalid")
    if not given:
        raise Refusal(
            "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer "
            "auth (i.e. Authorization: Bearer YOUR_KEY).",
            status=401,
        )
    # Shown as the real service shows it: enough to recognise one's key, too little to use it.
    shown = f"{given[:3]}***{given[-4:]}" if len(given) > 12 else "***"
    raise Refusal(f"Incorrect API key provided: {shown}.", status=401, code="invalid_api_key")
