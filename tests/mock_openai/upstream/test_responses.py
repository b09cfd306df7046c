"""The Responses API through the official client."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

TOOL: Any = {
    "type": "function",
    "name": "get_weather",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


def test_the_stream_has_every_event_in_its_order(upstream: Any) -> None:
    prompt = upstream.plan(text="One two.")
    stream = upstream.sdk().responses.create(model="gpt-4o", input=prompt, stream=True)
    events = list(stream)
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(10))
    assert events[-1].response.output_text == "One two."
    assert events[-1].response.usage.output_tokens == 2


def test_helper_and_whole_reply_agree(upstream: Any) -> None:
    prompt = upstream.plan(text="One two.")
    client = upstream.sdk()
    with client.responses.stream(model="gpt-4o", input=[{"role": "user", "content": prompt}]) as helper:
        deltas = [event.delta for event in helper if event.type == "response.output_text.delta"]
        assert helper.get_final_response().output_text == "One two."
    assert deltas == ["One", " two."]
    whole = client.responses.create(model="gpt-4o", input=prompt, instructions="Be short.")
    assert whole.output_text == "One two."
    assert whole.status == "completed"
    assert whole.instructions == "Be short."


def test_a_limit_makes_the_response_incomplete(upstream: Any) -> None:
    prompt = upstream.plan(tokens=30)
    stream = upstream.sdk().responses.create(model="gpt-4o", input=prompt, stream=True, max_output_tokens=16)
    last = list(stream)[-1]
    assert last.type == "response.incomplete"
    assert last.response.incomplete_details.reason == "max_output_tokens"


def test_a_function_is_called_and_its_output_gets_a_text(upstream: Any) -> None:
    client = upstream.sdk()
    prompt = upstream.plan(tool_calls=[{"name": "get_weather"}])
    with client.responses.stream(model="gpt-4o", input=prompt, tools=[TOOL]) as helper:
        kinds = {event.type for event in helper}
        (call,) = helper.get_final_response().output
    assert {"response.function_call_arguments.delta", "response.function_call_arguments.done"} <= kinds
    assert isinstance(json.loads(call.arguments)["city"], str)
    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": upstream.plan(text="Sunny.")}
    asked: list[Any] = [{"role": "user", "content": prompt}, call.to_dict(), output]
    assert client.responses.create(model="gpt-4o", input=asked, tools=[TOOL]).output_text == "Sunny."


class City(BaseModel):
    name: str
    people: int


def test_structured_output_is_parsed(upstream: Any) -> None:
    parsed = upstream.sdk().responses.parse(model="gpt-4o", input="a city", text_format=City)
    assert isinstance(parsed.output_parsed, City)
