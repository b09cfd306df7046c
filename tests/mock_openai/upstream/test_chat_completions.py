"""Chat completions, as the official Python client and the bytes on the wire show them."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel

WEATHER_TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"enum": ["c", "f"]},
                "days": {"type": "array", "items": {"type": "integer"}, "minItems": 3},
            },
            "required": ["city", "unit", "days"],
        },
    },
}


def ask(upstream: Any, prompt: str, **body: Any) -> httpx.Response:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": prompt}], **body}
    return httpx.post(f"{upstream.base_url}/chat/completions", json=body)


def events(answer: httpx.Response) -> list[Any]:
    """The data of each event; the sentinel as text."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = answer.text.split("\n\n")
    assert blocks.pop() == ""
    data = [block.removeprefix("data: ") for block in blocks]
    return [item if item == "[DONE]" else json.loads(item) for item in data]


def text_of(chunks: list[Any], index: int = 0) -> str:
    choices = [choice for chunk in chunks if chunk != "[DONE]" for choice in chunk["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices if choice["index"] == index)


def test_a_stream_is_role_content_finish_done(upstream: Any) -> None:
    prompt = upstream.plan(text="One two three.")
    chunks = events(ask(upstream, prompt, stream=True))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]
    assert deltas[0] == {"role": "assistant", "content": "", "refusal": None}
    assert [delta["content"] for delta in deltas[1:-1]] == ["One", " two", " three."]
    assert deltas[-1] == {}
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1] == "[DONE]"
    assert {chunk["object"] for chunk in chunks[:-1]} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks[:-1]}) == 1
    assert not any("usage" in chunk for chunk in chunks[:-1])


def test_usage_is_the_last_chunk_and_null_before(upstream: Any) -> None:
    prompt = upstream.plan(text="One two three.")
    chunks = events(ask(upstream, prompt, stream=True, stream_options={"include_usage": True}))
    assert [chunk["usage"] for chunk in chunks[:-2]] == [None] * (len(chunks) - 2)
    assert chunks[-2]["choices"] == []
    assert chunks[-2]["usage"]["completion_tokens"] == 3
    assert chunks[-2]["usage"]["total_tokens"] == chunks[-2]["usage"]["prompt_tokens"] + 3


def test_padding_hides_the_length_of_tokens(upstream: Any) -> None:
    prompt = upstream.plan(text="A considerably longer word")
    chunks = events(ask(upstream, prompt, stream=True, stream_options={"include_obfuscation": True}))
    content = [chunk for chunk in chunks[1:-2] if chunk["choices"]]
    lengths = {len(chunk["choices"][0]["delta"]["content"]) + len(chunk["obfuscation"]) for chunk in content}
    assert lengths == {16}


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_a_limit_ends_the_reply_with_length(upstream: Any, field: str) -> None:
    prompt = upstream.plan(text="One two three four.")
    chunks = events(ask(upstream, prompt, stream=True, **{field: 2}))
    assert text_of(chunks) == "One two"
    assert chunks[-2]["choices"][0]["finish_reason"] == "length"
    whole = ask(upstream, prompt, **{field: 2}).json()
    assert whole["choices"][0]["message"]["content"] == "One two"
    assert whole["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("stop", ["ree", [" three", "zzz"]])
def test_a_stop_sequence_ends_the_reply_before_it(upstream: Any, stop: Any) -> None:
    prompt = upstream.plan(text="One two three four.")
    chunks = events(ask(upstream, prompt, stream=True, stop=stop))
    assert text_of(chunks) == ("One two th" if stop == "ree" else "One two")
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"


def test_several_choices_come_in_turns(upstream: Any) -> None:
    prompt = upstream.plan(tokens=5)
    chunks = events(ask(upstream, prompt, stream=True, n=3))
    content = [chunk["choices"][0]["index"] for chunk in chunks[3:-4]]
    assert content == [0, 1, 2] * 5
    texts = {text_of(chunks, index) for index in range(3)}
    assert len(texts) == 3
    assert upstream.closed(prompt)["text"] == text_of(chunks)
    assert len(ask(upstream, upstream.plan(tokens=5), n=3).json()["choices"]) == 3


def test_headers_are_those_of_the_real_service(upstream: Any) -> None:
    headers = ask(upstream, upstream.plan()).headers
    assert headers["x-request-id"].startswith("req_")
    assert int(headers["openai-processing-ms"]) >= 0
    assert headers["openai-version"] == "2020-10-01"
    for kind in ("requests", "tokens"):
        assert int(headers[f"x-ratelimit-limit-{kind}"]) >= int(headers[f"x-ratelimit-remaining-{kind}"]) > 0
        assert headers[f"x-ratelimit-reset-{kind}"].endswith("s")


def test_the_sdk_streams_and_does_not_stream(upstream: Any) -> None:
    prompt = upstream.plan(text="One two three.")
    client = upstream.sdk()
    arguments: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": prompt}]}
    whole = client.chat.completions.create(**arguments)
    assert whole.choices[0].message.content == "One two three."
    assert whole._request_id.startswith("req_")
    with client.chat.completions.create(**arguments, stream=True) as chunks:
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "One two three."
    with client.chat.completions.stream(**arguments) as helper:
        kinds = [event.type for event in helper]
        assert helper.get_final_completion().choices[0].message.content == "One two three."
    assert kinds.count("content.delta") == 4  # the role comes with an empty text
    assert kinds[-1] == "content.done"


async def test_the_async_sdk_streams(upstream: Any) -> None:
    prompt = upstream.plan(text="One two three.")
    async with AsyncOpenAI(base_url=upstream.base_url, api_key="k", max_retries=0) as client:
        stream = await client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": prompt}], stream=True
        )
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "One two three."


def test_tools_are_called_and_their_answer_gets_a_text(upstream: Any) -> None:
    prompt = upstream.plan(tool_calls=[{"name": "get_weather"}, {"name": "get_weather", "arguments": {"city": "Rīga"}}])
    client = upstream.sdk()
    arguments: Any = {"model": "gpt-4o", "tools": [WEATHER_TOOL]}
    conversation: list[Any] = [{"role": "user", "content": prompt}]
    with client.chat.completions.stream(**arguments, messages=conversation) as helper:
        message = helper.until_done().get_final_completion().choices[0].message
    assert message.tool_calls is not None
    first, second = message.tool_calls
    made_up = json.loads(first.function.arguments)
    assert isinstance(made_up["city"], str)
    assert made_up["unit"] in ("c", "f")
    assert [type(day) for day in made_up["days"]] == [int] * 3
    assert json.loads(second.function.arguments) == {"city": "Rīga"}
    assert first.id != second.id

    whole = client.chat.completions.create(**arguments, messages=conversation)
    assert whole.choices[0].finish_reason == "tool_calls"
    assert whole.choices[0].message.content is None

    answer = {"role": "tool", "tool_call_id": first.id, "content": upstream.plan(text="Sunny.")}
    conversation += [message.model_dump(exclude={"parsed"}), answer, {**answer, "tool_call_id": second.id}]
    replied = client.chat.completions.create(**arguments, messages=conversation, tool_choice="required")
    assert replied.choices[0].message.content == "Sunny."


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_demanded_tool_is_called(upstream: Any, choice: Any) -> None:
    whole = ask(upstream, "hello", tools=[WEATHER_TOOL], tool_choice=choice).json()
    assert whole["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "get_weather"


class Nested(BaseModel):
    street: str
    number: int


class Place(BaseModel):
    """A model whose schema has a reference."""

    name: str
    addresses: list[Nested]
    open: bool


def test_structured_output_satisfies_the_schema(upstream: Any) -> None:
    client = upstream.sdk()
    conversation: list[Any] = [{"role": "user", "content": upstream.plan()}]
    parsed = client.chat.completions.parse(model="gpt-4o", messages=conversation, response_format=Place)
    assert isinstance(parsed.choices[0].message.parsed, Place)
    with client.chat.completions.stream(model="gpt-4o", messages=conversation, response_format=Place) as helper:
        streamed = helper.until_done().get_final_completion()
    assert isinstance(streamed.choices[0].message.parsed, Place)
    plain = ask(upstream, "hello", response_format={"type": "json_object"}).json()
    assert isinstance(json.loads(plain["choices"][0]["message"]["content"]), dict)
