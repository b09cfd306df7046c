"""`POST /v1/chat/completions`, streaming and not."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from json.encoder import encode_basestring
from typing import Any

from aiohttp import web

from mock_openai.upstream.exchange import Exchange
from mock_openai.upstream.models import known_model, reasons
from mock_openai.upstream.openai_api import OpenAIApi
from mock_openai.upstream.params import Ask, Refusal, Tool, number, optional, required, stops, text_of
from mock_openai.upstream.reply import Choice
from mock_openai.upstream.stream import Frame, Part, in_turns, numbered

SYSTEM_FINGERPRINT = "fp_mock"
ROLES = ("developer", "system", "user", "assistant", "tool", "function")
CONTENT_MARK = '"content":""'
OBFUSCATED_LENGTH = 16
"""Text and padding of a chunk together are as long as the next multiple of this."""


class ChatCompletions(OpenAIApi):
    """The route."""

    route = "/v1/chat/completions"
    routes = (route,)

    def read(self, request: web.Request, body: dict[str, Any]) -> Ask:
        """What a request asks for. Raises Refusal."""
        model = known_model(request, body)
        messages = required(body, "messages", "an array")
        if not messages:
            raise Refusal(
                "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array "
                "instead.",
                param="messages",
                code="empty_array",
            )
        for index, message in enumerate(messages):
            _check_message(message, f"messages[{index}]")
        stream = bool(optional(body, "stream", "a boolean"))
        options = optional(body, "stream_options", "an object")
        if options is not None and not stream:
            raise Refusal(
                "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
            )
        for name, low, high in (("temperature", 0, 2), ("top_p", 0, 1), ("presence_penalty", -2, 2)):
            number(body, name, low, high, wanted="a decimal")
        if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
            raise Refusal(
                "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
                param="max_tokens",
                code="invalid_parameter_combination",
            )
        if reasons(model):
            _check_reasoning(body)
        limit = number(body, "max_completion_tokens", 1) or number(body, "max_tokens", 1)
        tools = _tools(body)
        return Ask(
            model,
            [text_of(message.get("content")) for message in messages],
            stream,
            limit=limit,
            stop=stops(body, "stop", 4),
            n=number(body, "n", 1, 128) or 1,
            tools=tools,
            call=_wanted_call(body, tools, answered=messages[-1]["role"] == "tool"),
            schema=_schema(body),
            include_usage=bool((options or {}).get("include_usage")),
            obfuscate=bool((options or {}).get("include_obfuscation")),
        )

    def speak(self, exchange: Exchange) -> Completion:
        """The reply in this API's form."""
        return Completion(exchange)


def _check_reasoning(body: dict[str, Any]) -> None:
    """What models that reason refuse. Raises Refusal."""
    if body.get("max_tokens") is not None:
        raise Refusal(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
            "instead.",
            param="max_tokens",
            code="unsupported_parameter",
        )
    for name, default in (("temperature", 1), ("top_p", 1), ("presence_penalty", 0)):
        value = body.get(name)
        if value is not None and value != default:
            raise Refusal(
                f"Unsupported value: '{name}' does not support {value} with this model. Only the default ({default}) "
                "value is supported.",
                param=name,
                code="unsupported_value",
            )


def _check_message(message: Any, where: str) -> None:
    if not isinstance(message, dict):
        raise Refusal(f"Invalid type for '{where}': expected an object.", param=where, code="invalid_type")
    role = required(message, "role", "a string", f"{where}.role")
    if role not in ROLES:
        raise Refusal(
            f"Invalid value: '{role}'. Supported values are: {', '.join(repr(name) for name in ROLES)}.",
            param=f"{where}.role",
            code="invalid_value",
        )
    content = message.get("content")
    if content is None and role != "assistant":
        raise Refusal(
            f"Invalid value for 'content': expected a string, got null. ({where}.content)", param=f"{where}.content"
        )
    if content is not None and not isinstance(content, str | list):
        raise Refusal(
            f"Invalid type for '{where}.content': expected one of a string or array of objects.",
            param=f"{where}.content",
            code="invalid_type",
        )


def _tools(body: dict[str, Any]) -> tuple[Tool, ...]:
    out = []
    for index, tool in enumerate(optional(body, "tools", "an array") or []):
        where = f"tools[{index}]"
        if not isinstance(tool, dict):
            raise Refusal(f"Invalid type for '{where}': expected an object.", param=where, code="invalid_type")
        function = required(tool, "function", "an object", f"{where}.function")
        name = required(function, "name", "a string", f"{where}.function.name")
        parameters = optional(function, "parameters", "an object", f"{where}.function.parameters")
        out.append(Tool(name, parameters or {}))
    return tuple(out)


def _wanted_call(body: dict[str, Any], tools: tuple[Tool, ...], *, answered: bool) -> str | None:
    """The tool that `tool_choice` demands; a prompt that ends with a tool's answer is replied to with text."""
    choice = body.get("tool_choice")
    if choice is not None and choice not in ("none", "auto", "required") and not isinstance(choice, dict):
        raise Refusal(f"Invalid value: '{choice}'.", param="tool_choice", code="invalid_value")
    if choice not in (None, "none") and not tools:
        raise Refusal("'tool_choice' is only allowed when 'tools' are specified.", param="tool_choice")
    if isinstance(choice, dict):
        function = choice.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if name not in [tool.name for tool in tools]:
            raise Refusal(
                f"Tool choice '{name}' not found in 'tools' parameter.", param="tool_choice", code="invalid_value"
            )
        return str(name)
    return tools[0].name if choice == "required" and not answered else None


def _schema(body: dict[str, Any]) -> dict[str, Any] | None:
    wanted = optional(body, "response_format", "an object")
    kind = (wanted or {"type": "text"}).get("type")
    if wanted is None or kind == "text":
        return None
    if kind == "json_object":
        return {}
    if kind != "json_schema":
        raise Refusal(
            f"Invalid value: '{kind}'. Supported values are: 'json_object', 'json_schema', and 'text'.",
            param="response_format.type",
            code="invalid_value",
        )
    named = required(wanted, "json_schema", "an object", "response_format.json_schema")
    required(named, "name", "a string", "response_format.json_schema.name")
    schema: dict[str, Any] = required(named, "schema", "an object", "response_format.json_schema.schema")
    return schema


class Completion:
    """One completion as the objects of this API."""

    content_type = "text/event-stream; charset=utf-8"

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._id = f"chatcmpl-mock{exchange.number:08d}"
        # `usage` stands in every chunk once it was asked for, as null up to the last one.
        self._usage_null: dict[str, Any] = {"usage": None} if exchange.ask.include_usage else {}

    def frames(self) -> Iterator[Frame]:
        """Role, content in bursts, finish, usage where asked for, and the sentinel."""
        exchange = self._exchange
        choices = exchange.reply.choices
        first_ns, last_ns, left_out = exchange.first_ns, exchange.last_ns, exchange.left_out
        for index, choice in enumerate(choices):
            yield Frame(first_ns, self._chunk(index, _opening(choice)))
        yield from in_turns([self._content_frames(index, choice) for index, choice in enumerate(choices)])
        if Part.FINISH not in left_out:
            for index, choice in enumerate(choices):
                yield Frame(last_ns, self._chunk(index, {}, choice.finish))
        if exchange.ask.include_usage and Part.USAGE not in left_out:
            yield Frame(last_ns, self._event({"choices": [], "usage": self._usage()}))
        if Part.DONE not in left_out:
            yield Frame(last_ns, b"data: [DONE]\n\n")

    def _content_frames(self, index: int, choice: Choice) -> Iterable[Frame]:
        return numbered(self._call_frames(index, choice)) if choice.calls else self._text_frames(index, choice)

    def _text_frames(self, index: int, choice: Choice) -> Iterator[Frame]:
        # Only the text changes from chunk to chunk: what stands around it is encoded once.
        obfuscated = self._exchange.ask.obfuscate
        head, _, tail = self._chunk(index, {"content": ""}).partition(CONTENT_MARK.encode())
        head += b'"content":'
        offset = 0
        for position, (due, token) in enumerate(zip(self._exchange.due_ns, choice.pieces, strict=False), start=1):
            offset += len(token)
            data = head + encode_basestring(token).encode() + (self._padded(tail, token) if obfuscated else tail)
            yield Frame(due, data, position, offset if index == 0 else None)

    def _call_frames(self, index: int, choice: Choice) -> list[Frame]:
        due = iter(self._exchange.due_ns)
        frames = []
        for position, call in enumerate(choice.calls):
            for piece_index, piece in enumerate(call.pieces):
                at_ns = next(due)
                delta: dict[str, Any] = {"index": position, "function": {"arguments": piece}}
                if piece_index == 0 and position > 0:
                    frames.append(Frame(at_ns, self._chunk(index, {"tool_calls": [_call_head(position, choice)]}), 1))
                frames.append(Frame(at_ns, self._chunk(index, {"tool_calls": [delta]}), 1))
        return frames

    def _padded(self, tail: bytes, token: str) -> bytes:
        length = -len(token) % OBFUSCATED_LENGTH
        padding = f',"obfuscation":"{self._exchange.obfuscation(length)}"'
        return tail.removesuffix(b"}\n\n") + padding.encode() + b"}\n\n"

    def _chunk(self, index: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return self._event({"choices": [choice], **self._usage_null})

    def _event(self, rest: dict[str, Any]) -> bytes:
        chunk = {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._exchange.created,
            "model": self._exchange.ask.model,
            "service_tier": "default",
            "system_fingerprint": SYSTEM_FINGERPRINT,
            **rest,
        }
        return b"data: " + json.dumps(chunk, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"

    def whole(self) -> bytes:
        """The reply in one body of JSON."""
        exchange = self._exchange
        whole: dict[str, Any] = {
            "id": self._id,
            "object": "chat.completion",
            "created": exchange.created,
            "model": exchange.ask.model,
            "choices": [self._whole_choice(index, choice) for index, choice in enumerate(exchange.reply.choices)],
            "usage": self._usage(),
            "service_tier": "default",
            "system_fingerprint": SYSTEM_FINGERPRINT,
        }
        if Part.USAGE in exchange.left_out:
            del whole["usage"]
        return json.dumps(whole, ensure_ascii=False).encode()

    def _whole_choice(self, index: int, choice: Choice) -> dict[str, Any]:
        content = None if choice.calls else choice.text
        message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None, "annotations": []}
        if choice.calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in choice.calls
            ]
        finish = None if Part.FINISH in self._exchange.left_out else choice.finish
        return {"index": index, "message": message, "logprobs": None, "finish_reason": finish}

    def _usage(self) -> dict[str, Any]:
        prompt, completion = self._exchange.ask.prompt_tokens, self._exchange.reply.tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    def surplus(self, text: str) -> bytes:
        """A content frame with `text` that was not planned."""
        return self._chunk(0, {"content": text})

    def empty(self) -> bytes:
        """A frame that is valid and carries no choice."""
        return self._event({"choices": [], **self._usage_null})

    def error(self, message: str, type_: str, code: str | None) -> bytes:
        """An error told in the middle of a stream."""
        body = {"error": {"message": message, "type": type_, "param": None, "code": code}}
        return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


def _opening(choice: Choice) -> dict[str, Any]:
    """The first delta of a choice: its role, and its first tool call where it has one."""
    if choice.calls:
        return {"role": "assistant", "content": None, "tool_calls": [_call_head(0, choice)], "refusal": None}
    return {"role": "assistant", "content": "", "refusal": None}


def _call_head(position: int, choice: Choice) -> dict[str, Any]:
    call = choice.calls[position]
    return {
        "index": position,
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": ""},
    }
