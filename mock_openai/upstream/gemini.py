"""Gemini's `generateContent` and `streamGenerateContent`, in all three versions and both stream forms.

A stream is server-sent events with `?alt=sse`, and otherwise one JSON array that grows. Both end with the connection's
body: the last object carries a `finishReason`, there is no sentinel.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from heapq import merge
from itertools import starmap
from typing import Any

from aiohttp import web

from mock_openai.upstream.exchange import Exchange
from mock_openai.upstream.models import GEMINI_CATALOGUE, known
from mock_openai.upstream.params import Ask, Refusal, Tool, number, optional, required, stops, text_of
from mock_openai.upstream.reply import Call, Choice
from mock_openai.upstream.stream import Frame, Part

STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
FINISH_REASONS = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"}
VERSIONS = "v1|v1beta|v1beta1"


def gemini_refusal(refusal: Refusal) -> web.Response:
    """`{"error": {code, message, status}}`, as Google's SDKs parse it."""
    body = error_body(refusal.status, refusal.message, refusal.code)
    return web.json_response(body, status=refusal.status, headers=refusal.headers)


def error_body(status: int, message: str, reason: str | None = None) -> dict[str, Any]:
    """An error as an object of this API; `reason` is its machine-readable cause."""
    error: dict[str, Any] = {"code": status, "message": message, "status": STATUSES.get(status, "UNKNOWN")}
    if reason is not None:
        info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason.upper()}
        error["details"] = [{**info, "domain": "googleapis.com"}]
    return {"error": error}


class GenerateContent:
    """Both methods, under the short path and under Vertex AI's."""

    method = "generateContent"
    streams = False

    @property
    def routes(self) -> tuple[str, ...]:
        """The paths, as patterns of aiohttp."""
        vertex = "projects/{project}/locations/{location}/publishers/google/"
        return tuple(f"/{{version:{VERSIONS}}}/{prefix}models/{{model:[^/]+}}:{self.method}" for prefix in ("", vertex))

    @property
    def route(self) -> str:
        """How metrics call it."""
        return f"/{{version}}/models/{{model}}:{self.method}"

    def read(self, request: web.Request, body: dict[str, Any]) -> Ask:
        """What a request asks for. Raises Refusal."""
        model = request.match_info["model"]
        if not known(request, model):
            version = request.match_info["version"]
            raise Refusal(
                f"models/{model[:200]} is not found for API version {version}, or is not supported for "
                f"{self.method}. Call ListModels to see the list of available models and their supported methods.",
                status=404,
            )
        config = _given(body, "generationConfig", "an object") or {}
        tools = _tools(body)
        return Ask(
            model,
            _texts(body),
            self.streams,
            limit=number(config, "maxOutputTokens", 1),
            stop=stops(config, "stopSequences", 5),
            n=number(config, "candidateCount", 1, 8) or 1,
            tools=tools,
            call=_wanted_call(body, tools),
            schema=_schema(config),
            include_usage=True,
        )

    def speak(self, exchange: Exchange) -> Generated:
        """The reply in this API's form."""
        return Generated(exchange, sse=exchange.query.get("alt") == "sse")

    def refuse(self, refusal: Refusal) -> web.Response:
        """An error in this API's form."""
        return gemini_refusal(refusal)

    def headers(self, request_id: str, elapsed_ms: int, limits: Mapping[str, str]) -> dict[str, str]:
        """What the real service adds to every reply."""
        return {"server-timing": f"gfet4t7; dur={elapsed_ms}", "x-content-type-options": "nosniff"}


class StreamGenerateContent(GenerateContent):
    """The streaming method."""

    method = "streamGenerateContent"
    streams = True


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def _given(body: Mapping[str, Any], name: str, wanted: str) -> Any:
    """A field in either spelling, as the real service takes them."""
    return optional(body, name if name in body else _snake(name), wanted, name)


def _texts(body: dict[str, Any]) -> list[str]:
    contents = body.get("contents")
    if isinstance(contents, dict):
        contents = [contents]
    if not isinstance(contents, list) or not contents:
        raise Refusal("* GenerateContentRequest.contents: contents is not specified")
    texts = [text_of((_given(body, "systemInstruction", "an object") or {}).get("parts"))]
    for index, content in enumerate(contents):
        if not isinstance(content, dict) or not isinstance(content.get("parts"), list):
            raise Refusal(f"* GenerateContentRequest.contents[{index}].parts: contents.parts must not be empty.")
        texts.append(text_of(content["parts"]))
    return texts


def _tools(body: dict[str, Any]) -> tuple[Tool, ...]:
    out = []
    for tool in optional(body, "tools", "an array") or []:
        functions = _given(tool, "functionDeclarations", "an array") if isinstance(tool, dict) else None
        for function in functions or []:
            if not isinstance(function, dict):
                raise Refusal("Invalid value at 'tools': expected function declarations.")
            schema = function.get("parametersJsonSchema") or function.get("parameters") or {}
            out.append(Tool(required(function, "name", "a string"), schema if isinstance(schema, dict) else {}))
    return tuple(out)


def _wanted_call(body: dict[str, Any], tools: tuple[Tool, ...]) -> str | None:
    config = _given(body, "toolConfig", "an object") or {}
    calling = _given(config, "functionCallingConfig", "an object") or {}
    if calling.get("mode") != "ANY" or not tools:
        return None
    allowed = _given(calling, "allowedFunctionNames", "an array") or [tool.name for tool in tools]
    return next((tool.name for tool in tools if tool.name in allowed), None)


def _schema(config: dict[str, Any]) -> dict[str, Any] | None:
    for name in ("responseJsonSchema", "responseSchema"):
        schema: dict[str, Any] | None = _given(config, name, "an object")
        if schema is not None:
            return schema
    return {} if _given(config, "responseMimeType", "a string") == "application/json" else None


class Generated:
    """One reply as the objects of this API."""

    def __init__(self, exchange: Exchange, *, sse: bool) -> None:
        self._exchange = exchange
        self._sse = sse
        self._begun = False
        self.content_type = "text/event-stream" if sse else "application/json; charset=UTF-8"

    def frames(self) -> Iterator[Frame]:
        """Content, then an object with the finish reason; usage stands in all of them."""
        exchange = self._exchange
        choices = exchange.reply.choices
        parts = merge(*starmap(self._turns, enumerate(choices)), key=lambda item: item[:3])
        for sent, (due, _, index, part, offset) in enumerate(parts, start=1):
            data = self._event(self._object([_candidate(index, [part])], sent))
            yield Frame(due, data, sent, offset if index == 0 else None)
        if not {Part.FINISH, Part.DONE} & exchange.left_out:
            ended = [
                _candidate(index, [{"text": ""}], FINISH_REASONS[choice.finish]) for index, choice in enumerate(choices)
            ]
            yield Frame(exchange.last_ns, self._event(self._object(ended, exchange.reply.tokens)))
        if not self._sse:
            yield Frame(exchange.last_ns, b"]" if self._begun else b"[]")

    def _turns(self, index: int, choice: Choice) -> Iterator[tuple[int, int, int, dict[str, Any], int | None]]:
        """The parts of a choice, with what decides their order among those of all: moment, turn and choice."""
        for turn, (due, part, offset) in enumerate(self._parts(choice)):
            yield due, turn, index, part, offset

    def _parts(self, choice: Choice) -> Iterator[tuple[int, dict[str, Any], int | None]]:
        """The parts of a choice with their moments; a call comes whole, when its last token is there."""
        due = self._exchange.due_ns
        tokens = 0
        for call in choice.calls:
            tokens += len(call.pieces)
            yield due[max(0, tokens - 1)], _call_part(call), None
        offset = 0
        for at_ns, token in zip(due, choice.pieces, strict=False):
            offset += len(token)
            yield at_ns, {"text": token}, offset

    def _object(self, candidates: list[dict[str, Any]], tokens: int) -> dict[str, Any]:
        exchange = self._exchange
        prompt = exchange.ask.prompt_tokens
        usage = {
            "promptTokenCount": prompt,
            "candidatesTokenCount": tokens,
            "totalTokenCount": prompt + tokens,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
        }
        return {
            "candidates": candidates,
            **({} if Part.USAGE in exchange.left_out else {"usageMetadata": usage}),
            "modelVersion": exchange.ask.model,
            "responseId": f"mock{exchange.number:08d}",
        }

    def _event(self, value: dict[str, Any]) -> bytes:
        encoded = json.dumps(value, ensure_ascii=False).encode()
        if self._sse:
            return b"data: " + encoded + b"\r\n\r\n"
        opening = b",\r\n" if self._begun else b"["
        self._begun = True
        return opening + encoded

    def whole(self) -> bytes:
        """The reply in one body of JSON."""
        exchange = self._exchange
        candidates = []
        for index, choice in enumerate(exchange.reply.choices):
            parts = [_call_part(call) for call in choice.calls] or [{"text": choice.text}]
            finish = None if Part.FINISH in exchange.left_out else FINISH_REASONS[choice.finish]
            candidates.append(_candidate(index, parts, finish))
        return json.dumps(self._object(candidates, exchange.reply.tokens), ensure_ascii=False).encode()

    def surplus(self, text: str) -> bytes:
        """A content frame with `text` that was not planned."""
        tokens = self._exchange.reply.tokens
        return self._event(self._object([_candidate(0, [{"text": text}])], tokens))

    def empty(self) -> bytes:
        """A frame that is valid and carries no choice."""
        return self._event(self._object([], 0))

    def error(self, message: str, type_: str, code: str | None) -> bytes:
        """An error told in the middle of a stream."""
        return self._event(error_body(500, message, code))


def _candidate(index: int, parts: list[dict[str, Any]], finish: str | None = None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": index}
    if finish is not None:
        candidate["finishReason"] = finish
    return candidate


def _call_part(call: Call) -> dict[str, Any]:
    try:
        arguments = json.loads(call.arguments)
    except ValueError:
        arguments = {}
    return {"functionCall": {"name": call.name, "args": arguments}}


def model_object(name: str) -> dict[str, Any]:
    """A model as `models.list` shows it."""
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": name.replace("-", " ").title(),
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent"],
    }


async def list_models(request: web.Request) -> web.Response:
    """`GET /v1beta/models`."""
    return web.json_response({"models": [model_object(name) for name in GEMINI_CATALOGUE]})


async def one_model(request: web.Request) -> web.Response:
    """`GET /v1beta/models/{model}`; 404 for an unknown one."""
    name = request.match_info["model"]
    if not known(request, name):
        return gemini_refusal(Refusal(f"Model is not found: models/{name[:200]}", status=404))
    return web.json_response(model_object(name))
