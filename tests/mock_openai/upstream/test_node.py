"""The official OpenAI client for Node."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CLIENT = Path(__file__).resolve().parents[2] / "node" / "openai_client.mjs"
PACED: dict[str, Any] = {"name": "fixed", "ttft_ms": 0, "gap_ms": 2}

pytestmark = pytest.mark.node

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(node: str, upstream: Any) -> Run:
    """Runs one request of the Node client and returns what it saw."""

    def run(mode: str, prompt: str, **order: Any) -> dict[str, Any]:
        command = [node, str(CLIENT), upstream.base_url, json.dumps({"mode": mode, "prompt": prompt, **order})]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        seen: dict[str, Any] = json.loads(done.stdout)
        return seen

    return run


def test_it_streams_and_does_not_stream(run: Run, upstream: Any) -> None:
    prompt = upstream.plan(text="Ein schöner Tag.", faults=[{"fault": "split-utf8", "at": {"probability": 1}}])
    streamed = run("stream", prompt)
    assert (streamed["text"], streamed["finish"], streamed["error"]) == ("Ein schöner Tag.", "stop", None)
    whole = run("whole", prompt)
    assert whole["text"] == "Ein schöner Tag."
    assert whole["usage"]["completion_tokens"] == 3
    assert run("helper", prompt)["text"] == "Ein schöner Tag."


def test_it_calls_tools(run: Run, upstream: Any) -> None:
    answer = upstream.plan(text="It is sunny.")
    prompt = upstream.plan(tool_calls=[{"name": "get_weather", "arguments": {"city": "Rīga"}}])
    seen = run("tools", prompt, options={"answer": answer})
    assert (seen["city"], seen["text"], seen["error"]) == ("Rīga", "It is sunny.", None)


def test_it_reads_responses(run: Run, upstream: Any) -> None:
    seen = run("responses", upstream.plan(text="One two."))
    assert seen["text"] == "One two."
    assert seen["events"][0] == "response.created"
    assert seen["events"][-1] == "response.completed"


def test_it_retries_as_it_is_told(run: Run, upstream: Any) -> None:
    fault = {"fault": "rate-limit", "retry": "retry-after-ms", "after_ms": 5}
    prompt = upstream.plan(text="At last.", attempts=[{"faults": [fault]}, {"faults": [{**fault, "limit": "tokens"}]}])
    assert run("stream", prompt, options={"maxRetries": 2})["text"] == "At last."
    assert [entry["status"] for entry in upstream.entries(prompt)] == [429, 429, 200]


@pytest.mark.parametrize(
    ("fault", "text", "error"),
    [
        ({"fault": "status", "status": 503}, "", "InternalServerError"),
        ("rate-limit", "", "RateLimitError"),
        ("reset", "", "APIConnectionError"),
        ({"fault": "error", "at": {"chunk": 2}}, "One two", "APIError"),
        ({"fault": "cut-fin", "at": {"chunk": 2}}, "One two", None),
        ({"fault": "cut-rst", "at": {"chunk": 2}}, "One two", None),
        ({"fault": "malformed-json", "at": {"chunk": 2}}, "One", "SyntaxError"),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_it_sees_faults(run: Run, upstream: Any, fault: Any, text: str, error: str | None) -> None:
    prompt = upstream.plan(text="One two three.", profile=PACED, faults=[fault])
    seen = run("stream", prompt)
    assert seen["text"] == text
    assert seen["error"] is not None
    if error is not None:
        assert seen["error"]["name"] == error
    assert upstream.closed(prompt)["faults"][0]["fault"] == (fault if isinstance(fault, str) else fault["fault"])


def test_its_timeout_and_abort_are_cancels(run: Run, upstream: Any) -> None:
    slow = upstream.plan(faults=[{"fault": "slow-headers", "ms": 60_000}])
    assert run("stream", slow, options={"timeout": 200})["error"]["name"] == "APIConnectionTimeoutError"
    assert upstream.closed(slow)["ended"] == "cancelled"
    aborted = upstream.plan(tokens=5000, profile=PACED)
    assert run("abort", aborted)["chunks"] >= 5
    assert upstream.closed(aborted)["ended"] == "cancelled"
