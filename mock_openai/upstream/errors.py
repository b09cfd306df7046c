"""Errors in the shape of the real service, and those of the admin API."""

from __future__ import annotations

from aiohttp import web

from mock_openai.upstream.asking import Refusal


def openai_refusal(refusal: Refusal) -> web.Response:
    """`{"error": {message, type, param, code}}`, as the official SDKs parse it."""
    error = {"message": refusal.message, "type": refusal.type, "param": refusal.param, "code": refusal.code}
    return web.json_response({"error": error}, status=refusal.status, headers=refusal.headers)


def admin_error(status: int, message: str) -> web.Response:
    """An error of the admin API: one sentence that says what to change."""
    return web.json_response({"error": message}, status=status)
