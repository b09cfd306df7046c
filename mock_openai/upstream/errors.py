"""Errors in the shape of the real service, and those of the admin API."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from mock_openai.upstream.params import Refusal

VERSION = "2020-10-01"


def openai_refusal(refusal: Refusal) -> web.Response:
    """`{"error": {message, type, param, code}}`, as the official SDKs parse it."""
    error = {"message": refusal.message, "type": refusal.type, "param": refusal.param, "code": refusal.code}
    return web.json_response({"error": error}, status=refusal.status, headers=refusal.headers)


def openai_headers(request_id: str, elapsed_ms: int, limits: Mapping[str, str]) -> dict[str, str]:
    """What the real service adds to every reply; `limits`: the headers of the rate limit."""
    return {
        "x-request-id": request_id,
        "openai-version": VERSION,
        "openai-organization": "mock-openai",
        "openai-processing-ms": str(elapsed_ms),
        **limits,
    }


def admin_error(status: int, message: str) -> web.Response:
    """An error of the admin API: one sentence that says what to change."""
    return web.json_response({"error": message}, status=status)
