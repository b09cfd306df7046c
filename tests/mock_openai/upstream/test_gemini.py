"""Gemini through Google's own client, and its second stream form."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import errors, types
from pydantic import BaseModel

MODEL = "gemini-2.5-flash"
# The client's own transport, in its older and newer versions.
TRANSPORT_ERRORS = tuple(import_module(name).TransportError for name in ("httpx", "httpx2") if find_spec(name))
VERSIONS = ("v1", "v1beta", "v1beta1")


def client_of(upstream: Any, version: str = "v1beta") -> genai.Client:
    return genai.Client(api_key="k", http_options=types.HttpOptions(base_url=upstream.url, api_version=version))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_sdk_generates_and_streams(upstream: Any, version: str) -> None:
    prompt = upstream.plan(text="One twö three.")
    client = client_of(upstream, version)
    whole = client.models.generate_content(model=MODEL, contents=prompt)
    assert whole.text == "One twö three."
    assert whole.candidates is not None
    assert whole.candidates[0].finish_reason == types.FinishReason.STOP
    chunks = list(client.models.generate_content_stream(model=MODEL, contents=prompt))
    assert [chunk.text for chunk in chunks] == ["One", " twö", " three.", ""]
    assert chunks[-1].usage_metadata is not None
    assert chunks[-1].usage_metadata.candidates_token_count == 3
    entry = upstream.closed(prompt, 2)
    assert entry["route"] == f"/{version}/models/{MODEL}:streamGenerateContent"
    assert list(entry["chunks"]["offset"]) == [14]  # one burst, one write


async def test_the_async_sdk_streams(upstream: Any) -> None:
    prompt = upstream.plan(text="One two.")
    stream = await client_of(upstream).aio.models.generate_content_stream(model=MODEL, contents=prompt)
    assert "".join([chunk.text or "" async for chunk in stream]) == "One two."


def test_without_sse_a_stream_is_one_json_array(upstream: Any) -> None:
    prompt = upstream.plan(text="One two.")
    body = {"contents": [{"role": "user", "parts": [{"text": prompt}]}]}
    answer = httpx.post(f"{upstream.url}/v1beta/models/{MODEL}:streamGenerateContent", json=body)
    assert answer.headers["content-type"].startswith("application/json")
    parts = [item["candidates"][0]["content"]["parts"][0]["text"] for item in answer.json()]
    assert parts == ["One", " two.", ""]
    empty = httpx.post(
        f"{upstream.url}/v1beta/models/{MODEL}:streamGenerateContent",
        json={"contents": [{"parts": [{"text": upstream.plan(text="", faults=["missing-finish"])}]}]},
    )
    assert empty.json() == []


def test_events_begin_exactly_as_the_sdk_wants(upstream: Any) -> None:
    body = {"contents": [{"parts": [{"text": "x"}]}]}
    answer = httpx.post(f"{upstream.url}/v1beta/models/{MODEL}:streamGenerateContent?alt=sse", json=body)
    assert answer.headers["server-timing"].startswith("gfet4t7; dur=")
    assert not [name for name in answer.headers if name.startswith(("openai-", "x-ratelimit"))]
    lines = [line for line in answer.text.split("\r\n") if line]
    assert len(lines) == 13
    assert all(line.startswith("data: {") for line in lines)


def test_limits_stops_and_candidates(upstream: Any) -> None:
    client, prompt = client_of(upstream), upstream.plan(text="One two three four.")
    config = types.GenerateContentConfig(max_output_tokens=2, candidate_count=2)
    whole = client.models.generate_content(model=MODEL, contents=prompt, config=config)
    assert whole.candidates is not None
    assert [candidate.finish_reason for candidate in whole.candidates] == [types.FinishReason.MAX_TOKENS] * 2
    config = types.GenerateContentConfig(stop_sequences=[" three"], system_instruction="Be short.")
    assert client.models.generate_content(model=MODEL, contents=prompt, config=config).text == "One two"


class City(BaseModel):
    name: str
    people: int


def test_structured_output_and_function_calls(upstream: Any) -> None:
    client = client_of(upstream)
    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=City)
    assert isinstance(client.models.generate_content(model=MODEL, contents="a city", config=config).parsed, City)

    declaration = types.FunctionDeclaration(
        name="get_weather",
        parameters=types.Schema(
            type=types.Type.OBJECT, properties={"city": types.Schema(type=types.Type.STRING)}, required=["city"]
        ),
    )
    calling = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[declaration])],
        tool_config=types.ToolConfig(
            function_calling_config=types.FunctionCallingConfig(mode=types.FunctionCallingConfigMode.ANY)
        ),
    )
    for chunks in (
        [client.models.generate_content(model=MODEL, contents="weather", config=calling)],
        list(client.models.generate_content_stream(model=MODEL, contents="weather", config=calling)),
    ):
        (call,) = chunks[0].function_calls or []
        assert call.name == "get_weather"
        assert isinstance((call.args or {})["city"], str)


def test_errors_have_googles_shape(upstream: Any) -> None:
    client = client_of(upstream)
    with pytest.raises(errors.ClientError) as raised:
        client.models.generate_content(model="no-such-model", contents="x")
    assert (raised.value.code, raised.value.status) == (404, "NOT_FOUND")
    with pytest.raises(errors.ServerError) as overloaded:
        client.models.generate_content(model=MODEL, contents=upstream.plan(faults=[{"fault": "status", "status": 503}]))
    assert (overloaded.value.code, overloaded.value.status) == (503, "UNAVAILABLE")
    assert MODEL in [str(model.name).removeprefix("models/") for model in client.models.list()]
    assert httpx.get(f"{upstream.url}/v1beta/nothing").json()["error"]["status"] == "NOT_FOUND"


def test_a_stream_that_is_cut_ends_in_an_exception(upstream: Any) -> None:
    prompt = upstream.plan(faults=[{"fault": "cut-rst", "at": {"chunk": 3}}], profile={"name": "fixed", "gap_ms": 1})
    texts = []
    client = client_of(upstream)
    with pytest.raises(TRANSPORT_ERRORS):  # noqa: PT012 - the reply begins before it fails
        for chunk in client.models.generate_content_stream(model=MODEL, contents=prompt):
            texts.append(chunk.text)
    assert len(texts) <= 3
    assert upstream.closed(prompt)["faults"][0]["fault"] == "cut-rst"
