"""Errors as the real service words and shapes them, and those of the admin API."""

from __future__ import annotations

from aiohttp import web

from mock_openai.upstream.params import Refusal
from mock_openai.upstream.quotas import NS_PER_S, Verdict

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


def openai_refusal(refusal: Refusal) -> web.Response:
    """`{"error": {message, type, param, code}}`, as the official SDKs parse it."""
    error = {"message": refusal.message, "type": refusal.type, "param": refusal.param, "code": refusal.code}
    return web.json_response({"error": error}, status=refusal.status, headers=refusal.headers)


def admin_error(status: int, message: str) -> web.Response:
    """An error of the admin API: one sentence that says what to change."""
    return web.json_response({"error": message}, status=status)


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
