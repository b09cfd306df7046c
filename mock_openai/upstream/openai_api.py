"""What all routes of the OpenAI service have in common: the form of errors, and the headers."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from mock_openai.upstream.errors import openai_refusal
from mock_openai.upstream.params import Refusal

VERSION = "2020-10-01"


class OpenAIApi:
    """The part of an `Api` that every route of the service shares."""

    def refuse(self, refusal: Refusal) -> web.Response:
        """`{"error": {message, type, param, code}}`."""
        return openai_refusal(refusal)

    def headers(self, request_id: str, elapsed_ms: int, limits: Mapping[str, str]) -> dict[str, str]:
        """What the real service adds to every reply; `limits`: the headers of the rate limit."""
        return {
            "x-request-id": request_id,
            "openai-version": VERSION,
            "openai-organization": "mock-openai",
            "openai-processing-ms": str(elapsed_ms),
            **limits,
        }
