"""`POST /v1/completions`: the older API of plain prompts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from mock_openai.upstream.exchange import Exchange
from mock_openai.upstream.models import known_model
from mock_openai.upstream.openai_api import OpenAIApi
from mock_openai.upstream.params import Ask, Refusal, number, optional, stops
from mock_openai.upstream.reply import Choice
from mock_openai.upstream.stream import Frame, Part, in_turns

DEFAULT_LIMIT = 16


class Completions(OpenAIApi):
    """The route."""

    route = "/v1/completions"
    routes = (route,)

    def read(self, request: web.Request, body: dict[str, Any]) -> Ask:
        """What a request asks for. Raises Refusal."""
        model = known_model(request, body)
        prompt = body.get("prompt", "<|endoftext|>")
        texts = [prompt] if isinstance(prompt, str) else prompt
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise Refusal(
                "Invalid type for 'prompt': expected a string or an array of strings.",
                param="prompt",
                code="invalid_type",
            )
        number(body, "temperature", 0, 2, wanted="a decimal")
        stream = bool(optional(body, "stream", "a boolean"))
        options = optional(body, "stream_options", "an object") or {}
        limit = number(body, "max_tokens", 0)
        return Ask(
            model,
            list(texts),
            stream,
            limit=DEFAULT_LIMIT if limit is None else limit,
            stop=stops(body, "stop", 4),
            # Each prompt of a list gets its own choices.
            n=(number(body, "n", 1, 128) or 1) * max(1, min(len(texts), 128)),
            include_usage=bool(options.get("include_usage")),
        )

    def speak(self, exchange: Exchange) -> TextCompletion:
        """The reply in this API's form."""
        return TextCompletion(exchange)


class TextCompletion:
    """One completion as the objects of this API."""

    content_type = "text/event-stream; charset=utf-8"

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._usage_null: dict[str, Any] = {"usage": None} if exchange.ask.include_usage else {}

    def frames(self) -> Iterator[Frame]:
        """Content, finish, usage where asked for, and the sentinel; there is no role."""
        exchange = self._exchange
        last_ns, left_out = exchange.last_ns, exchange.left_out
        choices = exchange.reply.choices
        yield from in_turns([self._content_frames(index, choice) for index, choice in enumerate(choices)])
        if Part.FINISH not in left_out:
            for index, choice in enumerate(choices):
                yield Frame(last_ns, self._chunk(index, "", choice.finish))
        if exchange.ask.include_usage and Part.USAGE not in left_out:
            yield Frame(last_ns, self._event({"choices": [], "usage": self._usage()}))
        if Part.DONE not in left_out:
            yield Frame(last_ns, b"data: [DONE]\n\n")

    def _content_frames(self, index: int, choice: Choice) -> Iterator[Frame]:
        offset = 0
        for position, (due, token) in enumerate(zip(self._exchange.due_ns, choice.pieces, strict=False), start=1):
            offset += len(token)
            yield Frame(due, self._chunk(index, token), position, offset if index == 0 else None)

    def _chunk(self, index: int, text: str, finish: str | None = None) -> bytes:
        choice = {"text": text, "index": index, "logprobs": None, "finish_reason": finish}
        return self._event({"choices": [choice], **self._usage_null})

    def _object(self, rest: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": f"cmpl-mock{self._exchange.number:08d}",
            "object": "text_completion",
            "created": self._exchange.created,
            "model": self._exchange.ask.model,
            **rest,
        }

    def _event(self, rest: dict[str, Any]) -> bytes:
        encoded = json.dumps(self._object(rest), separators=(",", ":"), ensure_ascii=False)
        return f"data: {encoded}\n\n".encode()

    def whole(self) -> bytes:
        """The reply in one body of JSON."""
        left_out = self._exchange.left_out
        usage = {} if Part.USAGE in left_out else {"usage": self._usage()}
        choices = [self._whole_choice(index, choice) for index, choice in enumerate(self._exchange.reply.choices)]
        return json.dumps(self._object({"choices": choices, **usage}), ensure_ascii=False).encode()

    def _whole_choice(self, index: int, choice: Choice) -> dict[str, Any]:
        finish = None if Part.FINISH in self._exchange.left_out else choice.finish
        return {"text": choice.text, "index": index, "logprobs": None, "finish_reason": finish}

    def _usage(self) -> dict[str, int]:
        prompt, reply = self._exchange.ask.prompt_tokens, self._exchange.reply.tokens
        return {"prompt_tokens": prompt, "completion_tokens": reply, "total_tokens": prompt + reply}

    def surplus(self, text: str) -> bytes:
        """A content frame with `text` that was not planned."""
        return self._chunk(0, text)

    def empty(self) -> bytes:
        """A frame that is valid and carries no choice."""
        return self._event({"choices": [], **self._usage_null})

    def error(self, message: str, type_: str, code: str | None) -> bytes:
        """An error told in the middle of a stream."""
        body = {"error": {"message": message, "type": type_, "param": None, "code": code}}
        return f"data: {json.dumps(body)}\n\n".encode()
