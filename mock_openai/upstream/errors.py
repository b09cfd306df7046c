"""Errors in the shape of the real service, and those of the admin API."""

from __future__ import annotations

from aiohttp import web


def openai_error(
    status: int,
    message: str,
    *,
    type_: str = "invalid_request_error",
    param: str | None = None,
    code: str | None = None,
) -> web.Response:
    """`{"error": {message, type, param, code}}`, as the official SDKs parse it."""
    body = {"error": {"message": message, "type": type_, "param": param, "code": code}}
    return web.json_response(body, status=status)


def admin_error(status: int, message: str) -> web.Response:
    """An error of the admin API: one sentence that says what to change."""
    return web.json_response({"error": message}, status=status)
