"""The recording proxy: what it passes on, what it keeps, and that no key is ever kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from mock_openai.upstream.recording import Recording, content_of, without_keys
from mock_openai.upstream.traces import TraceError, load_trace, load_traces

KEY = "sk-secret-key-0123456789"
CHUNKS = [[20, "Once"], [20, " upon"], [50, " a"], [80, " time."]]


@pytest.fixture(scope="module")
def real(start_upstream: Callable[..., Any]) -> Any:
    """The service that is recorded; it wants a key."""
    profile = json.dumps({"name": "trace", "chunks": CHUNKS})
    return start_upstream("--api-key", KEY, "--profile", profile)


def test_a_reply_is_passed_on_kept_without_keys_and_replayed(
    real: Any, start_upstream: Callable[..., Any], tmp_path: Path
) -> None:
    proxy = start_upstream("--record", real.url, "--traces", str(tmp_path))
    client = openai.OpenAI(base_url=proxy.base_url, api_key=KEY, max_retries=0)
    stream = client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": f"My key is {KEY}."}], stream=True
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "Once upon a time."
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=proxy.base_url, api_key="sk-wrong-9876543210", max_retries=0).models.list()
    url = f"{proxy.url}/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse&key={KEY}"
    assert httpx.post(url, json={"contents": [{"parts": [{"text": "hi"}]}]}).status_code == 200

    files = sorted(tmp_path.glob("*.json"))
    kept = [path.read_text() for path in files]
    assert len(kept) == 3
    assert not any(KEY in text or "sk-wrong" in text for text in kept)
    first, refused, gemini = (json.loads(text) for text in kept)
    assert first["request"]["messages"][0]["content"] == "My key is [removed]."
    assert first["complete"]
    assert [text for _, text in first["chunks"]] == [text for _, text in CHUNKS]
    times = [at_ms for at_ms, _ in first["chunks"]]
    assert times == sorted(times)
    assert times[-1] - times[0] > 30
    assert (refused["status"], refused["chunks"]) == (401, [])
    assert gemini["route"].endswith(":streamGenerateContent")
    assert "".join(text for _, text in gemini["chunks"]) == "Once upon a time."
    assert {item["name"] for item in httpx.get(f"{proxy.url}/_mock/traces").json()["traces"]} == {
        files[0].stem,
        files[2].stem,
    }

    replaying = start_upstream("--traces", str(tmp_path))
    prompt = replaying.plan(profile={"name": "trace", "trace": files[0].stem, "speed": 4})
    whole = replaying.sdk().chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": prompt}])
    assert whole.choices[0].message.content == "Once upon a time."


def test_a_service_that_is_not_there_or_breaks_off(
    start_upstream: Callable[..., Any], upstream: Any, tmp_path: Path
) -> None:
    proxy = start_upstream("--record", upstream.url, "--traces", str(tmp_path))
    prompt = upstream.plan(faults=[{"fault": "cut-rst", "at": {"chunk": 3}}], profile={"name": "fixed", "gap_ms": 1})
    body = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": prompt}]}
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(f"{proxy.base_url}/chat/completions", json=body)
    (path,) = tmp_path.glob("*.json")
    assert json.loads(path.read_text())["complete"] is False

    nowhere = start_upstream("--record", "http://127.0.0.1:9", "--traces", str(tmp_path))
    answer = httpx.post(f"{nowhere.base_url}/chat/completions", json=body)
    assert answer.status_code == 502
    assert "cannot be reached" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ('{"choices":[{"delta":{"content":"a"}}]}', "a"),
        ('{"choices":[{"delta":{}}]}', ""),
        ('{"choices":[{"text":"b"}]}', "b"),
        ('{"type":"response.output_text.delta","delta":"c"}', "c"),
        ('{"candidates":[{"content":{"parts":[{"text":"d"},{"text":"e"},5]}}]}', "de"),
        ("[DONE]", ""),
        ("[]", ""),
    ],
)
def test_the_text_of_every_api_is_found(data: str, text: str) -> None:
    assert content_of(data) == text


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_frames_are_found_however_the_bytes_come(size: int) -> None:
    body = 'data: {"choices":[{"text":"ä"}]}\r\n\r\ndata: {"choices":[{"text":"b"}]}\n\ndata: [DONE]'.encode()
    recording = Recording(0)
    for start in range(0, len(body), size):
        recording.take(body[start : start + size], 1_000_000 * start)
    recording.finish(5_000_000_000)
    assert [text for _, text in recording.chunks] == ["ä", "b"]
    assert recording.frames[-1] == (5000, "data: [DONE]")


@pytest.mark.parametrize(
    ("data", "ends"),
    [
        ("[DONE]", True),
        ('{"type": "response.completed", "response": {}}', True),
        ('{"type":"response.failed"}', True),
        ('{"type":"response.output_text.done"}', False),
        ('{"choices":[]}', False),
    ],
)
def test_a_client_that_leaves_after_the_terminal_event_has_missed_nothing(data: str, ends: bool) -> None:
    recording = Recording(0)
    recording.take(f"data: {data}\n\n".encode(), 1)
    assert recording.terminal == ends


def test_what_looks_like_a_key_is_removed_everywhere() -> None:
    data = {
        "a": ["x sk-abcdefghijklmnop y", {"AIzaSyA0123456789abcdefghij": 1}],
        "b": "Bearer abcdefghijklmnop",
        "c": 5,
    }
    assert without_keys(data, {"private"}) == {"a": ["x [removed] y", {"[removed]": 1}], "b": "[removed]", "c": 5}


@pytest.mark.parametrize("content", ["", "[]", '{"schema": "other"}', '{"schema": "mock_openai.trace/1", "chunks": 5}'])
def test_a_file_that_is_no_trace_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(content)
    with pytest.raises(TraceError, match=r"broken\.json"):
        load_trace(path)
    with pytest.raises(TraceError, match="not a folder"):
        load_traces(tmp_path / "missing")
