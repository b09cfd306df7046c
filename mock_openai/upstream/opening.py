"""The faults before the stream: what goes out in place of the reply, or delays it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

from aiohttp import web

from mock_openai.upstream.faults import Fault
from mock_openai.upstream.params import Refusal
from mock_openai.upstream.quotas import NS_PER_S, Limits, Verdict
from mock_openai.upstream.writer import finish, reset

if TYPE_CHECKING:
    from mock_openai.upstream.handler import Answer

ERRORS: dict[int, tuple[str, str, str | None]] = {
    400: ("Invalid request.", "invalid_request_error", None),
    401: ("Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
    403: ("Country, region, or territory not supported", "request_forbidden", "unsupported_country_region_territory"),
    404: ("The model does not exist or you do not have access to it.", "invalid_request_error", "model_not_found"),
    408: ("Request timeout.", "invalid_request_error", None),
    409: ("The resource was updated by another process. Please try again.", "invalid_request_error", "conflict"),
    422: ("Unprocessable request.", "invalid_request_error", None),
    429: ("Rate limit reached for requests.", "requests", "rate_limit_exceeded"),
    500: (
        "The server had an error while processing your request. Sorry about that!",
        "server_error",
        None,
    ),
    502: ("Bad gateway.", "server_error", None),
    503: ("The engine is currently overloaded, please try again later.", "server_error", None),
    504: ("The server took too long to respond.", "server_error", None),
}
"""What the real service says with a status: message, type, code."""

HTML = b"<!DOCTYPE html>\n<html><title>Sign in</title><h1>Sign in to the network</h1></html>\n"


def refusal_of(status: int) -> Refusal:
    """What the real service says with a status."""
    message, type_, code = ERRORS.get(status, (f"The service answered {status}.", "server_error", None))
    return Refusal(message, status=status, type_=type_, code=code)


def over_quota(verdict: Verdict) -> Refusal:
    """The 429 of a rate limit that is used up."""
    wait_ms = verdict.retry_ns / 1e6
    return Refusal(
        f"Rate limit reached for {verdict.limit}: Limit {verdict.allowed}, Used {verdict.used}. "
        f"Please try again in {wait_ms:.0f}ms.",
        status=429,
        type_=verdict.limit,
        code="rate_limit_exceeded",
        headers={
            **verdict.headers,
            "retry-after": str(-(-verdict.retry_ns // NS_PER_S)),
            "retry-after-ms": f"{wait_ms:.0f}",
        },
    )


def told_at_once(fault: Fault) -> Refusal:
    """The error of a reply that is not streamed: it can only be told instead of the reply."""
    options = fault.options
    return Refusal(options["message"], status=500, type_=options["type"], code=options["code"])


async def _status(answer: Answer, fault: Fault) -> web.StreamResponse:
    options = fault.options
    refusal = refusal_of(int(options["status"]))
    refusal.message = options["message"] or refusal.message
    refusal.type = options["type"] or refusal.type
    refusal.code = options["code"] or refusal.code
    refusal.headers |= _should_retry(fault)
    return answer.refuse(refusal, fault.name)


def _should_retry(fault: Fault) -> dict[str, str]:
    value = fault.options["should_retry"]
    return {} if value is None else {"x-should-retry": value}


async def _rate_limit(answer: Answer, fault: Fault) -> web.StreamResponse:
    after_ms, limit = fault.options["after_ms"], fault.options["limit"]
    headers = _should_retry(fault)
    match fault.options["retry"]:
        case "retry-after":
            headers["retry-after"] = f"{after_ms / 1000:g}"
        case "retry-after-ms":
            headers["retry-after-ms"] = f"{after_ms:g}"
        case "retry-after-date":
            # Dates have whole seconds: rounded up, so that nobody is told to come too early.
            moment = datetime.now(UTC) + timedelta(milliseconds=after_ms + 999)
            headers["retry-after"] = format_datetime(moment.replace(microsecond=0), usegmt=True)
    if limit == "insufficient_quota":
        refusal = Refusal(
            "You exceeded your current quota, please check your plan and billing details.",
            status=429,
            type_=limit,
            code=limit,
            headers=headers,
        )
    else:
        headers[f"x-ratelimit-remaining-{limit}"] = "0"
        headers[f"x-ratelimit-reset-{limit}"] = f"{after_ms:g}ms"
        refusal = Refusal(
            f"Rate limit reached for {limit}. Please try again in {after_ms:g}ms.",
            status=429,
            type_=limit,
            code="rate_limit_exceeded",
            headers=headers,
        )
    return answer.refuse(refusal, fault.name)


async def _quota(answer: Answer, fault: Fault) -> web.StreamResponse | None:
    options = fault.options
    limits = Limits(
        None if options["requests"] is None else int(options["requests"]),
        None if options["tokens"] is None else int(options["tokens"]),
        fault.ms_ns("window_ms") or NS_PER_S,
    )
    verdict = answer.service.admit(f"plan {answer.plan.id}", limits, answer.ask)
    answer.limits_headers = verdict.headers
    return answer.refuse(over_quota(verdict), fault.name) if verdict.retry_ns else None


async def _slow_headers(answer: Answer, fault: Fault) -> None:
    await answer.service.wait_until(answer.entry.arrived_ns + (fault.ms_ns() or 0))
    answer.applied(fault.name)


async def _silent_headers(answer: Answer, fault: Fault) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8", **answer.headers()})
    response.enable_chunked_encoding()
    await response.prepare(answer.request)
    answer.entry.headers_ns = time.monotonic_ns()
    answer.applied(fault.name)
    await answer.hold(fault.ms_ns())
    answer.close("fault")
    raise ConnectionResetError


async def _refuse(answer: Answer, fault: Fault) -> web.StreamResponse:
    """Reset, and let nobody connect for a while."""
    answer.applied(fault.name)
    answer.close("fault")
    if answer.service.listener is not None:
        answer.service.listener.close_for(fault.ms_ns() or 0)
    _reset_now(answer)
    raise ConnectionResetError


async def _reset(answer: Answer, fault: Fault) -> web.StreamResponse:
    answer.applied(fault.name)
    answer.close("fault")
    _reset_now(answer)
    raise ConnectionResetError


def _reset_now(answer: Answer) -> None:
    transport = answer.request.transport
    if transport is not None:
        reset(transport)


async def _close(answer: Answer, fault: Fault) -> web.StreamResponse:
    answer.applied(fault.name)
    answer.close("fault")
    transport = answer.request.transport
    if transport is not None:
        finish(transport)
        await asyncio.sleep(1.0)  # usually cut short by the client, which closes its side
    raise ConnectionResetError


async def _html(answer: Answer, fault: Fault) -> web.StreamResponse:
    response = web.Response(body=HTML, headers={"content-type": "text/html; charset=utf-8"})
    return answer.instead(response, fault.name)


async def _content_type(answer: Answer, fault: Fault) -> web.StreamResponse:
    answer.applied(fault.name)
    script, _ = answer.prepare(0, 1)
    return await answer.play(script, {"content-type": fault.options["content_type"]})


async def _invalid_json(answer: Answer, fault: Fault) -> web.StreamResponse:
    response = web.Response(
        body=b'{"id":"chatcmpl-mock","object":"chat.completion","choices":[{"index":0,"mess',
        headers={"content-type": "application/json", **answer.headers()},
    )
    return answer.instead(response, fault.name)


OPENINGS: dict[str, Callable[[Answer, Fault], Awaitable[web.StreamResponse | None]]] = {
    "status": _status,
    "rate-limit": _rate_limit,
    "quota": _quota,
    "slow-headers": _slow_headers,
    "silent-headers": _silent_headers,
    "refuse": _refuse,
    "reset": _reset,
    "close": _close,
    "html": _html,
    "content-type": _content_type,
    "invalid-json": _invalid_json,
}
"""What each fault does; a response ends the request, None lets it go on."""
