"""`POST /v1/responses`: typed events with sequence numbers, ended by `response.completed`; there is no `[DONE]`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from mock_openai.upstream.chat_completions import OBFUSCATED_LENGTH
from mock_openai.upstream.exchange import Exchange
from mock_openai.upstream.models import known_model
from mock_openai.upstream.openai_api import OpenAIApi
from mock_openai.upstream.params import Ask, Refusal, Tool, number, optional, required, text_of
from mock_openai.upstream.reply import Call
from mock_openai.upstream.stream import Frame, Part, numbered

LOWEST_LIMIT = 16


class Responses(OpenAIApi):
    """The route."""

    route = "/v1/responses"
    routes = (route,)

    def read(self, request: web.Request, body: dict[str, Any]) -> Ask:
        """What a request asks for. Raises Refusal."""
        model = known_model(request, body)
        items = body.get("input")
        if items is None:
            raise Refusal(
                'One of "input" or "previous_response_id" or \'prompt\' must be provided.',
                param="input",
                code="missing_required_parameter",
            )
        if not isinstance(items, str | list):
            raise Refusal(
                "Invalid type for 'input': expected one of a string or array of objects.",
                param="input",
                code="invalid_type",
            )
        number(body, "temperature", 0, 2, wanted="a decimal")
        number(body, "top_p", 0, 1, wanted="a decimal")
        tools = _tools(body)
        answered = isinstance(items, list) and bool(items) and _type_of(items[-1]) == "function_call_output"
        options = optional(body, "stream_options", "an object") or {}
        return Ask(
            model,
            _texts(body, items),
            bool(optional(body, "stream", "a boolean")),
            limit=number(body, "max_output_tokens", LOWEST_LIMIT),
            tools=tools,
            call=_wanted_call(body, tools, answered=answered),
            schema=_schema(body),
            include_usage=True,
            obfuscate=bool(options.get("include_obfuscation")),
        )

    def speak(self, exchange: Exchange) -> Response:
        """The reply in this API's form."""
        return Response(exchange)


def _type_of(item: Any) -> Any:
    return item.get("type", "message") if isinstance(item, dict) else None


def _texts(body: dict[str, Any], items: str | list[Any]) -> list[str]:
    texts = [text_of(optional(body, "instructions", "a string"))]
    if isinstance(items, str):
        return [*texts, items]
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            where = f"input[{index}]"
            raise Refusal(f"Invalid type for '{where}': expected an object.", param=where, code="invalid_type")
        texts.append(text_of(item.get("content") or item.get("output")))
    return texts


def _tools(body: dict[str, Any]) -> tuple[Tool, ...]:
    out = []
    for index, tool in enumerate(optional(body, "tools", "an array") or []):
        where = f"tools[{index}]"
        if not isinstance(tool, dict):
            raise Refusal(f"Invalid type for '{where}': expected an object.", param=where, code="invalid_type")
        if tool.get("type") == "function":
            name = required(tool, "name", "a string", f"{where}.name")
            out.append(Tool(name, optional(tool, "parameters", "an object", f"{where}.parameters") or {}))
    return tuple(out)


def _wanted_call(body: dict[str, Any], tools: tuple[Tool, ...], *, answered: bool) -> str | None:
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "function":
        name = choice.get("name")
        if name not in [tool.name for tool in tools]:
            raise Refusal(f"Tool choice '{name}' not found in 'tools' parameter.", param="tool_choice")
        return str(name)
    return tools[0].name if choice == "required" and tools and not answered else None


def _schema(body: dict[str, Any]) -> dict[str, Any] | None:
    wanted = (optional(body, "text", "an object") or {}).get("format") or {}
    if not isinstance(wanted, dict):
        raise Refusal("Invalid type for 'text.format': expected an object.", param="text.format", code="invalid_type")
    if wanted.get("type") == "json_object":
        return {}
    if wanted.get("type") == "json_schema":
        schema: dict[str, Any] = required(wanted, "schema", "an object", "text.format.schema")
        return schema
    return None


class Response:
    """One response as the objects and events of this API."""

    content_type = "text/event-stream; charset=utf-8"

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._choice = exchange.reply.choices[0]
        self._item_id = f"msg_mock{exchange.number:08d}"
        self._sequence = 0

    def frames(self) -> Iterator[Frame]:
        """Created, in progress, the output items with their deltas, completed."""
        exchange = self._exchange
        first_ns, last_ns = exchange.first_ns, exchange.last_ns
        yield Frame(first_ns, self._event("response.created", {"response": self._response("in_progress")}))
        yield Frame(first_ns, self._event("response.in_progress", {"response": self._response("in_progress")}))
        yield from numbered(self._call_frames() if self._choice.calls else self._text_frames())
        if Part.DONE not in exchange.left_out:
            status = self._final_status
            yield Frame(last_ns, self._event(f"response.{status}", {"response": self._response(status)}))

    @property
    def _final_status(self) -> str:
        return "incomplete" if self._choice.finish == "length" else "completed"

    def _text_frames(self) -> Iterator[Frame]:
        exchange = self._exchange
        first_ns, last_ns = exchange.first_ns, exchange.last_ns
        place = {"item_id": self._item_id, "output_index": 0, "content_index": 0}
        item = self._message("in_progress", None)
        yield Frame(first_ns, self._event("response.output_item.added", {"output_index": 0, "item": item}))
        yield Frame(first_ns, self._event("response.content_part.added", {**place, "part": _part("")}))
        offset = 0
        for due, token in zip(exchange.due_ns, self._choice.pieces, strict=False):
            offset += len(token)
            delta = {**place, "delta": token, "logprobs": []}
            if exchange.ask.obfuscate:
                delta["obfuscation"] = exchange.obfuscation(-len(token) % OBFUSCATED_LENGTH)
            yield Frame(due, self._event("response.output_text.delta", delta), 1, offset)
        if Part.FINISH not in exchange.left_out:
            text = self._choice.text
            item = self._message(self._final_status, text)
            ended = {**place, "text": text, "logprobs": []}
            yield Frame(last_ns, self._event("response.output_text.done", ended))
            yield Frame(last_ns, self._event("response.content_part.done", {**place, "part": _part(text)}))
            yield Frame(last_ns, self._event("response.output_item.done", {"output_index": 0, "item": item}))

    def _call_frames(self) -> Iterator[Frame]:
        due = iter(self._exchange.due_ns)
        for index, call in enumerate(self._choice.calls):
            at_ns = self._exchange.first_ns
            place = {"item_id": f"fc_{call.id}", "output_index": index}
            for position, piece in enumerate(call.pieces):
                at_ns = next(due)
                if position == 0:
                    opened = {"output_index": index, "item": _call_item(call, "in_progress")}
                    yield Frame(at_ns, self._event("response.output_item.added", opened))
                delta = self._event("response.function_call_arguments.delta", {**place, "delta": piece})
                yield Frame(at_ns, delta, 1)
            if Part.FINISH not in self._exchange.left_out:
                ended = {**place, "arguments": call.arguments, "name": call.name}
                item = {"output_index": index, "item": _call_item(call, "completed")}
                yield Frame(at_ns, self._event("response.function_call_arguments.done", ended))
                yield Frame(at_ns, self._event("response.output_item.done", item))

    def _event(self, name: str, rest: dict[str, Any]) -> bytes:
        data = {"type": name, "sequence_number": self._sequence, **rest}
        self._sequence += 1
        encoded = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
        return f"event: {name}\ndata: {encoded}\n\n".encode()

    def _message(self, status: str, text: str | None) -> dict[str, Any]:
        content = [] if text is None else [_part(text)]
        return {"id": self._item_id, "type": "message", "status": status, "role": "assistant", "content": content}

    def _response(self, status: str, error: dict[str, Any] | None = None) -> dict[str, Any]:
        exchange, body = self._exchange, self._exchange.body
        ended = status in ("completed", "incomplete")
        output: list[dict[str, Any]] = []
        if ended and self._choice.calls:
            output = [_call_item(call, "completed") for call in self._choice.calls]
        elif ended:
            output = [self._message(status, self._choice.text)]
        return {
            "id": f"resp_mock{exchange.number:08d}",
            "object": "response",
            "created_at": exchange.created,
            "status": status,
            "background": False,
            "error": error,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": body.get("instructions"),
            "max_output_tokens": exchange.ask.limit,
            "max_tool_calls": None,
            "model": exchange.ask.model,
            "output": output,
            "parallel_tool_calls": body.get("parallel_tool_calls", True),
            "previous_response_id": body.get("previous_response_id"),
            "reasoning": {"effort": None, "summary": None},
            "safety_identifier": None,
            "service_tier": "default",
            "store": body.get("store", True),
            "temperature": body.get("temperature", 1.0),
            "text": body.get("text") or {"format": {"type": "text"}},
            "tool_choice": body.get("tool_choice", "auto"),
            "tools": body.get("tools", []),
            "top_logprobs": 0,
            "top_p": body.get("top_p", 1.0),
            "truncation": body.get("truncation", "disabled"),
            "usage": self._usage() if ended and Part.USAGE not in exchange.left_out else None,
            "user": body.get("user"),
            "metadata": body.get("metadata") or {},
        }

    def _usage(self) -> dict[str, Any]:
        prompt, reply = self._exchange.ask.prompt_tokens, self._exchange.reply.tokens
        return {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": reply,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + reply,
        }

    def whole(self) -> bytes:
        """The reply in one body of JSON."""
        return json.dumps(self._response(self._final_status), ensure_ascii=False).encode()

    def surplus(self, text: str) -> bytes:
        """A content frame with `text` that was not planned."""
        place = {"item_id": self._item_id, "output_index": 0, "content_index": 0}
        return self._event("response.output_text.delta", {**place, "delta": text, "logprobs": []})

    def empty(self) -> bytes:
        """A frame that is valid and carries no choice."""
        return self.surplus("")

    def error(self, message: str, type_: str, code: str | None) -> bytes:
        """An error told in the middle of a stream."""
        error = {"type": type_, "code": code, "message": message, "param": None}
        failed = {"code": code or "server_error", "message": message}
        return self._event("error", {"error": error}) + self._event(
            "response.failed", {"response": self._response("failed", failed)}
        )


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _call_item(call: Call, status: str) -> dict[str, Any]:
    arguments = call.arguments if status == "completed" else ""
    return {
        "id": f"fc_{call.id}",
        "type": "function_call",
        "status": status,
        "call_id": call.id,
        "name": call.name,
        "arguments": arguments,
    }
