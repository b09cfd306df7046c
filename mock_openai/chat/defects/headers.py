"""Responses whose headers are wrong, as proxies and browsers see them."""

from __future__ import annotations

from aiohttp import web

from mock_openai.chat.defects.defect import Defect


def _as_plain_text(response: web.StreamResponse) -> None:
    if response.content_type == "text/event-stream":
        response.content_type = "text/plain"


DEFECTS = [
    Defect("wrong-content-type", "event streams are labelled as plain text", spoil=_as_plain_text),
]
