"""The models that the service knows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from mock_openai.upstream.errors import openai_refusal
from mock_openai.upstream.params import Refusal, required

CATALOGUE = (
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-4.1",
    "gpt-4.1-mini",
    "gpt-4.1-nano",
    "gpt-5",
    "gpt-5-mini",
    "gpt-5-nano",
    "o3",
    "o4-mini",
    "gpt-3.5-turbo",
    "gpt-3.5-turbo-instruct",
    "text-embedding-3-small",
    "text-embedding-3-large",
    "text-embedding-ada-002",
)
"""What `GET /v1/models` lists."""

GEMINI_CATALOGUE = ("gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.5-flash-lite", "gemini-2.0-flash")

CREATED = 1_715_367_049

_FAMILIES = re.compile(
    r"(gpt-|chatgpt-|o\d|codex|davinci|babbage|text-embedding-|computer-use|ft:|gemini-|gemma-|mock)[\w.:/-]*\Z"
)


_REASONING = re.compile(r"(ft:)?(o\d|gpt-5(?!.*chat))")

MORE_MODELS: web.AppKey[frozenset[str]] = web.AppKey("more_models", frozenset)
ANY_MODEL = "*"


def known(request: web.Request, model: str) -> bool:
    """Whether a name belongs to a family of models of the real services, or was named when the server was started.

    Newer members of a family are known too.
    """
    more = request.app[MORE_MODELS]
    return _FAMILIES.match(model) is not None or model in more or ANY_MODEL in more


def known_model(request: web.Request, body: Mapping[str, Any]) -> str:
    """The model of a request. Raises Refusal."""
    if not body.get("model"):
        raise Refusal("you must provide a model parameter")
    model: str = required(body, "model", "a string")
    if not known(request, model):
        raise unknown_model(model)
    return model


def reasons(model: str) -> bool:
    """Whether a model thinks before it answers; its service takes fewer parameters then."""
    return _REASONING.match(model) is not None


def unknown_model(model: str) -> Refusal:
    """The real service's 404."""
    return Refusal(
        f"The model `{model[:200]}` does not exist or you do not have access to it.",
        status=404,
        code="model_not_found",
    )


def model_object(name: str) -> dict[str, Any]:
    """A model as `GET /v1/models` shows it."""
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "system"}


async def list_models(request: web.Request) -> web.Response:
    """`GET /v1/models`."""
    return web.json_response({"object": "list", "data": [model_object(name) for name in CATALOGUE]})


async def one_model(request: web.Request) -> web.Response:
    """`GET /v1/models/{model}`; 404 for an unknown one."""
    name = request.match_info["model"]
    if not known(request, name):
        return openai_refusal(
            Refusal(f"The model '{name[:200]}' does not exist", status=404, param="model", code="model_not_found")
        )
    return web.json_response(model_object(name))
