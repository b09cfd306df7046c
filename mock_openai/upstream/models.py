"""The models that the service knows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mock_openai.upstream.asking import Refusal, required

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

_FAMILIES = re.compile(
    r"(gpt-|chatgpt-|o\d|codex|davinci|babbage|text-embedding-|computer-use|ft:|gemini-|gemma-|mock)[\w.:/-]*\Z"
)


def known(model: str) -> bool:
    """Whether a name belongs to a family of models of the real services; newer members of a family are known too."""
    return _FAMILIES.match(model) is not None


def known_model(body: Mapping[str, Any]) -> str:
    """The model of a request. Raises Refusal."""
    if not body.get("model"):
        raise Refusal("you must provide a model parameter")
    model: str = required(body, "model", "a string")
    if not known(model):
        raise unknown_model(model)
    return model


def unknown_model(model: str) -> Refusal:
    return Refusal(
        f"The model `{model[:200]}` does not exist or you do not have access to it.",
        status=404,
        code="model_not_found",
    )
