"""A client that leaves: what is a cancel, what is none, and what the upstream did afterwards."""

from __future__ import annotations

import socket
import time
from typing import Any

import httpx
import openai
import pytest

ENDLESS: dict[str, Any] = {"name": "fixed", "ttft_ms": 0, "gap_ms": 5}


def leave_after(upstream: Any, prompt: str, chunks: int) -> int:
    """Read so many chunks, then close; returns the moment of closing."""
    stream = upstream.sdk().chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": prompt}], stream=True
    )
    for _, _ in zip(range(chunks), stream, strict=False):
        pass
    left_ns = time.monotonic_ns()
    stream.close()
    return left_ns


def test_a_cancel_is_journalled_with_its_time(upstream: Any) -> None:
    prompt = upstream.plan(tokens=5000, profile=ENDLESS)
    left_ns = leave_after(upstream, prompt, 10)
    entry = upstream.closed(prompt)
    assert entry["ended"] == "cancelled"
    assert entry["cancelled_ns"] >= left_ns
    assert entry["ended_ns"] >= entry["cancelled_ns"]
    assert entry["written_after_cancel"] == 0
    assert all(written <= entry["cancelled_ns"] for written in entry["chunks"]["written_ns"])
    assert 9 <= len(entry["chunks"]["written_ns"]) < 5000
    lengths = {name: len(values) for name, values in entry["chunks"].items()}
    assert len(set(lengths.values())) == 1, "what was not written any more is not journalled as scheduled"


def test_an_upstream_that_ignores_the_cancel_counts_what_it_wastes(upstream: Any) -> None:
    prompt = upstream.plan(tokens=40, profile=ENDLESS, faults=["ignore-cancel"])
    leave_after(upstream, prompt, 10)
    entry = upstream.closed(prompt)
    assert entry["ended"] == "cancelled"
    assert entry["ended_ns"] > entry["cancelled_ns"]
    times = entry["chunks"]["written_ns"]
    assert len(times) == 40
    assert entry["written_after_cancel"] == sum(written > entry["cancelled_ns"] for written in times) > 0
    assert entry["faults"][0]["fault"] == "ignore-cancel"


def test_an_upstream_can_notice_late(upstream: Any) -> None:
    prompt = upstream.plan(tokens=5000, profile=ENDLESS, faults=[{"fault": "ignore-cancel", "ms": 50}])
    leave_after(upstream, prompt, 10)
    entry = upstream.closed(prompt)
    assert 0 < entry["written_after_cancel"] < 4990
    assert entry["ended_ns"] - entry["cancelled_ns"] >= 50_000_000


def test_a_client_that_leaves_before_the_reply_has_cancelled(upstream: Any) -> None:
    prompt = upstream.plan(profile={"name": "fixed", "ttft_ms": 60_000})
    for stream in (True, False):
        body = {"model": "gpt-4o", "stream": stream, "messages": [{"role": "user", "content": prompt}]}
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{upstream.base_url}/chat/completions", json=body, timeout=0.2)
    for nth in (1, 2):
        entry = upstream.closed(prompt, nth)
        assert entry["ended"] == "cancelled"
        assert entry["chunks"]["written_ns"] == []


@pytest.mark.parametrize("faults", [[], [{"fault": "hold-open", "ms": 60_000}], ["missing-done"]])
def test_a_close_after_everything_was_written_is_no_cancel(upstream: Any, faults: list[Any]) -> None:
    prompt = upstream.plan(text="One two.", faults=faults)
    host, _, port = upstream.url.removeprefix("http://").rpartition(":")
    last = b'"finish_reason":"stop"' if faults == ["missing-done"] else b"[DONE]"
    with socket.create_connection((host, int(port)), timeout=20) as raw:
        body = b'{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"%b"}]}' % prompt.encode()
        raw.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        )
        data = b""
        while last not in data:
            data += raw.recv(65536)
    entry = upstream.closed(prompt)
    assert entry["ended"] == "complete"
    assert entry["cancelled_ns"] is None


def test_the_sdk_that_stops_at_done_has_not_cancelled(upstream: Any) -> None:
    prompt = upstream.plan(faults=["hold-open"])
    with openai.OpenAI(base_url=upstream.base_url, api_key="k", max_retries=0, timeout=5) as client:
        chunks = client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": prompt}], stream=True
        )
        iterator = iter(chunks)
        for chunk in iterator:
            if chunk.choices and chunk.choices[0].finish_reason:
                break
        assert upstream.closed(prompt)["ended"] == "complete"
        chunks.response.close()
    (entry,) = upstream.entries(prompt)
    assert entry["ended"] == "complete"
