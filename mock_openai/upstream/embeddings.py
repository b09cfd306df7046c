"""`POST /v1/embeddings`: unit vectors that depend on nothing but the text and the model."""

from __future__ import annotations

import base64
import json
import math
import random
import struct
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from mock_openai.upstream.exchange import Exchange
from mock_openai.upstream.models import known_model
from mock_openai.upstream.openai_api import OpenAIApi
from mock_openai.upstream.params import Ask, Refusal, number
from mock_openai.upstream.stream import Frame

DIMENSIONS = {"text-embedding-3-large": 3072}
DEFAULT_DIMENSIONS = 1536
MAX_INPUTS = 2048


class Embeddings(OpenAIApi):
    """The route."""

    route = "/v1/embeddings"
    routes = (route,)

    def read(self, request: web.Request, body: dict[str, Any]) -> Ask:
        """What a request asks for. Raises Refusal."""
        model = known_model(request, body)
        encoding = body.get("encoding_format", "float")
        if encoding not in ("float", "base64"):
            raise Refusal(
                f"Invalid value: '{encoding}'. Supported values are: 'float' and 'base64'.",
                param="encoding_format",
                code="invalid_value",
            )
        number(body, "dimensions", 1, 3072)
        return Ask(model, _inputs(body.get("input")), limit=0)

    def speak(self, exchange: Exchange) -> EmbeddingList:
        """The reply in this API's form."""
        return EmbeddingList(exchange)


def _inputs(value: Any) -> list[str]:
    """Each text to embed; arrays of token numbers are texts too."""
    if isinstance(value, str) and value:
        return [value]
    if isinstance(value, list) and 0 < len(value) <= MAX_INPUTS:
        if all(isinstance(item, int) for item in value):
            return [str(value)]
        if all(isinstance(item, str | list) and item for item in value):
            return [item if isinstance(item, str) else str(item) for item in value]
    raise Refusal(f"'$.input' is invalid: expected a text, or 1 to {MAX_INPUTS} of them.", param="input")


class EmbeddingList:
    """The vectors of one request."""

    content_type = "application/json"

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def whole(self) -> bytes:
        """The reply in one body of JSON."""
        ask, body = self._exchange.ask, self._exchange.body
        size = body.get("dimensions") or DIMENSIONS.get(ask.model, DEFAULT_DIMENSIONS)
        vectors = [vector(f"{ask.model}\0{text}", size) for text in ask.texts]
        tokens = sum(len(text.split()) for text in ask.texts)
        data = [
            {"object": "embedding", "index": index, "embedding": _encoded(item, body.get("encoding_format"))}
            for index, item in enumerate(vectors)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return json.dumps({"object": "list", "data": data, "model": ask.model, "usage": usage}).encode()

    def frames(self) -> Iterable[Frame]:
        """Nothing: vectors are never streamed."""
        return []  # never streamed

    def surplus(self, text: str) -> bytes:
        """Nothing."""
        return b""

    def empty(self) -> bytes:
        """Nothing."""
        return b""

    def error(self, message: str, type_: str, code: str | None) -> bytes:
        """Nothing."""
        return b""


def vector(text: str, size: int) -> list[float]:
    """A unit vector of `size` numbers, always the same for a text."""
    draw = random.Random(text)
    numbers = [draw.gauss(0, 1) for _ in range(size)]
    length = math.sqrt(sum(value * value for value in numbers))
    return [value / length for value in numbers]


def _encoded(numbers: list[float], encoding: str | None) -> list[float] | str:
    if encoding == "base64":
        return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
    return numbers
