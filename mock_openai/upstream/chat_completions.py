"""`POST /v1/chat/completions`, streaming and not.

A streamed reply is frames with absolute deadlines. Frames of one burst leave in one write; the journal keeps when each
write was due and when it really happened.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from mock_openai.upstream.errors import openai_error
from mock_openai.upstream.journal import Entry, Journal
from mock_openai.upstream.pacing import Pacer
from mock_openai.upstream.plans import Order, Plans

ROUTE = "/v1/chat/completions"
VERSION = "2020-10-01"
SYSTEM_FINGERPRINT = "fp_mock"


@dataclass(slots=True)
class Write:
    """One write of a stream: when it is due, its bytes, and how many characters of the text are out after it.

    `offset` is None for a write without content.
    """

    due_ns: int
    data: bytes
    offset: int | None


class ChatCompletions:
    """The route, with what it needs of the server."""

    def __init__(self, plans: Plans, journal: Journal, pacer: Pacer) -> None:
        self._plans = plans
        self._journal = journal
        self._pacer = pacer

    async def handle(self, request: web.Request) -> web.StreamResponse:
        arrived_ns = time.monotonic_ns()
        try:
            body = json.loads(await request.read())
        except ValueError:
            return openai_error(400, "We could not parse the JSON body of your request.")
        problem = invalid(body)
        if problem is not None:
            return problem
        model: str = body["model"]
        order = self._plans.order_for(prompt_texts(body["messages"]), request.headers, model)
        attempt = self._journal.attempt_of(order.mark)
        draw = order.plan.draw(order.member, attempt)
        tokens = order.plan.reply_tokens(draw)
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        finish = "stop"
        if limit is not None and len(tokens) > limit:
            tokens, finish = tokens[:limit], "length"
        due_ns = [arrived_ns + due for due in order.plan.profile.schedule_ns(len(tokens), draw)]
        stream = bool(body.get("stream"))
        entry = self._entry(order, attempt, model, stream, arrived_ns, body)
        entry.text = "".join(tokens)
        entry.finish = finish
        self._journal.open(entry)
        completion = Completion(f"chatcmpl-mock{entry.seq:08d}", model, int(datetime.now(UTC).timestamp()))
        usage = usage_of(body["messages"], len(tokens))
        try:
            if stream:
                include_usage = bool((body.get("stream_options") or {}).get("include_usage"))
                writes = completion.writes(tokens, due_ns, arrived_ns, finish, usage if include_usage else None)
                response = await self._stream(request, entry, writes)
            else:
                await self._wait_until(due_ns[-1] if due_ns else arrived_ns)
                entry.headers_ns = time.monotonic_ns()
                entry.scheduled_ns, entry.written_ns = due_ns[-1:], [entry.headers_ns] if due_ns else []
                entry.offset = [len(entry.text)] if due_ns else []
                response = web.json_response(completion.whole(entry.text, finish, usage), headers=headers_of(entry))
        except asyncio.CancelledError:
            self._journal.close(entry, ended="cancelled", now_ns=time.monotonic_ns())
            raise
        self._journal.close(entry, ended="complete", now_ns=time.monotonic_ns())
        return response

    async def _wait_until(self, due_ns: int) -> None:
        done = asyncio.get_running_loop().create_future()

        def step() -> None:
            if not done.done():
                done.set_result(None)

        self._pacer.start(due_ns, step)
        await done

    async def _stream(self, request: web.Request, entry: Entry, writes: list[Write]) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={
                "content-type": "text/event-stream; charset=utf-8",
                "cache-control": "no-cache",
                **headers_of(entry),
            }
        )
        response.enable_chunked_encoding()
        await response.prepare(request)
        entry.headers_ns = time.monotonic_ns()
        transport = request.transport
        assert transport is not None
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        position = 0

        def step() -> int | None:
            nonlocal position
            if done.done():
                return None
            write = writes[position]
            # Straight to the transport: one system call, stamped where it happens.
            now_ns = time.monotonic_ns()
            transport.write(b"%x\r\n%b\r\n" % (len(write.data), write.data))
            if write.offset is not None:
                entry.scheduled_ns.append(write.due_ns)
                entry.written_ns.append(now_ns)
                entry.offset.append(write.offset)
            position += 1
            if position == len(writes):
                done.set_result(None)
                return None
            return writes[position].due_ns

        self._pacer.start(writes[0].due_ns, step)
        try:
            await done
        except asyncio.CancelledError:
            done.cancel()
            raise
        await response.write_eof()
        return response

    def _entry(
        self, order: Order, attempt: int, model: str, stream: bool, arrived_ns: int, body: dict[str, Any]
    ) -> Entry:
        return Entry(
            seq=0,
            mark=order.mark,
            plan=order.plan.id,
            rule=order.rule,
            attempt=attempt,
            route=ROUTE,
            model=model,
            stream=stream,
            profile=order.plan.profile.name,
            seed=order.plan.seed,
            arrived_ns=arrived_ns,
            body_ns=time.monotonic_ns(),
            request=body,
        )


@dataclass(frozen=True, slots=True)
class Completion:
    """The objects of one completion; only the changing part of a frame is encoded again."""

    id: str
    model: str
    created: int

    def writes(
        self, tokens: list[str], due_ns: list[int], start_ns: int, finish: str, usage: dict[str, int] | None
    ) -> list[Write]:
        """Role, content in bursts, finish, usage where asked for, and the sentinel."""
        include_usage = usage is not None
        first_ns = due_ns[0] if due_ns else start_ns
        writes = [Write(first_ns, self.frame({"role": "assistant", "content": ""}, None, include_usage), None)]
        offset = 0
        for due, token in zip(due_ns, tokens, strict=True):
            offset += len(token)
            frame = self.frame({"content": token}, None, include_usage)
            last = writes[-1]
            if last.offset is not None and last.due_ns == due:
                last.data += frame
                last.offset = offset
            else:
                writes.append(Write(due, frame, offset))
        tail = self.frame({}, finish, include_usage)
        if usage is not None:
            tail += self._encode({"choices": [], "usage": usage})
        last_ns = due_ns[-1] if due_ns else start_ns
        writes.append(Write(last_ns, tail + b"data: [DONE]\n\n", None))
        return writes

    def frame(self, delta: dict[str, Any], finish: str | None, include_usage: bool) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return self._encode({"choices": [choice], **({"usage": None} if include_usage else {})})

    def _encode(self, rest: dict[str, Any]) -> bytes:
        chunk = {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "service_tier": "default",
            "system_fingerprint": SYSTEM_FINGERPRINT,
            **rest,
        }
        return b"data: " + json.dumps(chunk, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"

    def whole(self, text: str, finish: str, usage: dict[str, int]) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
        return {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
            "usage": usage,
            "service_tier": "default",
            "system_fingerprint": SYSTEM_FINGERPRINT,
        }


def invalid(body: Any) -> web.Response | None:
    """The real service's refusal of a body it cannot serve, or None."""
    if not isinstance(body, dict):
        return openai_error(400, "Invalid type for request body: expected an object.")
    if not isinstance(body.get("model"), str) or not body["model"]:
        return openai_error(400, "you must provide a model parameter")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return openai_error(
            400, "Missing required parameter: 'messages'.", param="messages", code="missing_required_parameter"
        )
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            where = f"messages[{index}]"
            return openai_error(400, f"Invalid type for '{where}': expected an object with a role.", param=where)
    for name in ("max_tokens", "max_completion_tokens"):
        value = body.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            return openai_error(400, f"Invalid value for '{name}': expected an integer of at least 1.", param=name)
    return None


def prompt_texts(messages: list[dict[str, Any]]) -> list[str]:
    """The text of each message, oldest first; content parts are joined."""
    texts = []
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            texts.append(content)
        elif isinstance(content, list):
            parts = (part.get("text") for part in content if isinstance(part, dict))
            texts.append(" ".join(part for part in parts if isinstance(part, str)))
    return texts


def usage_of(messages: list[dict[str, Any]], completion_tokens: int) -> dict[str, int]:
    prompt_tokens = sum(len(text.split()) + 4 for text in prompt_texts(messages))
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def headers_of(entry: Entry) -> dict[str, str]:
    """What the real service adds to every reply."""
    return {
        "x-request-id": f"req_mock{entry.seq:08d}",
        "openai-version": VERSION,
        "openai-processing-ms": str((time.monotonic_ns() - entry.arrived_ns) // 1_000_000),
    }
