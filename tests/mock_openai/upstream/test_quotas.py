"""Rate limits of each key, as the real service keeps and tells them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest

from mock_openai.upstream.quotas import MAX_KEYS, NS_PER_S, Limits, Quotas, duration

SECOND = NS_PER_S


def test_requests_come_back_evenly() -> None:
    quotas, limits = Quotas(), Limits(requests=3, window_ns=3 * SECOND)
    assert [quotas.ask("k", limits, 1, 0).retry_ns for _ in range(3)] == [0, 0, 0]
    refused = quotas.ask("k", limits, 1, 0)
    assert refused.retry_ns == SECOND
    assert (refused.limit, refused.used, refused.allowed) == ("requests", 3, 3)
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.headers["x-ratelimit-reset-requests"] == "3s"
    assert quotas.ask("k", limits, 1, SECOND // 2).retry_ns == SECOND // 2
    assert quotas.ask("k", limits, 1, SECOND).retry_ns == 0
    assert quotas.ask("other", limits, 1, SECOND).retry_ns == 0


def test_tokens_have_their_own_limit() -> None:
    quotas, limits = Quotas(), Limits(tokens=100, window_ns=10 * SECOND)
    assert quotas.ask("k", limits, 80, 0).headers["x-ratelimit-remaining-tokens"] == "20"
    refused = quotas.ask("k", limits, 40, 0)
    assert refused.limit == "tokens"
    assert refused.retry_ns == 2 * SECOND
    assert quotas.ask("k", limits, 40, 2 * SECOND).retry_ns == 0
    # What is larger than the whole limit is served once nothing else is used.
    assert quotas.ask("k", limits, 500, 3 * SECOND).retry_ns > 0
    assert quotas.ask("k", limits, 500, 60 * SECOND).retry_ns == 0


def test_without_a_limit_there_is_always_room() -> None:
    quotas = Quotas()
    for _ in range(20_000):
        verdict = quotas.ask("k", Limits(), 10**30, 0)
    assert verdict.retry_ns == 0
    assert int(verdict.headers["x-ratelimit-remaining-requests"]) > 0
    assert int(verdict.headers["x-ratelimit-remaining-tokens"]) > 0


def test_keys_are_forgotten_before_they_fill_the_memory() -> None:
    quotas = Quotas()
    for number in range(MAX_KEYS + 5):
        quotas.ask(f"key {number}", Limits(requests=1), 1, 0)
    assert len(quotas._used) == MAX_KEYS


@pytest.mark.parametrize(
    ("ns", "shown"),
    [(0, "0ms"), (12_000_000, "12ms"), (8_640_000_000, "8.64s"), (60 * SECOND, "1m0s"), (361 * SECOND, "6m1s")],
)
def test_durations_are_written_as_the_real_headers_write_them(ns: int, shown: str) -> None:
    assert duration(ns) == shown


def test_each_key_has_the_limits_of_the_server(start_upstream: Callable[..., Any]) -> None:
    upstream = start_upstream("--profile", "instant", "--limit-requests", "2", "--limit-window", "600")
    arguments: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello [[sb:limited]]"}]}
    one, other = (openai.OpenAI(base_url=upstream.base_url, api_key=key, max_retries=0) for key in ("a", "b"))
    one.chat.completions.create(**arguments)
    told = one.chat.completions.with_raw_response.create(**arguments)
    assert told.headers["x-ratelimit-remaining-requests"] == "0"
    with pytest.raises(openai.RateLimitError) as raised:
        one.chat.completions.create(**arguments)
    assert raised.value.code == "rate_limit_exceeded"
    assert float(raised.value.response.headers["retry-after"]) > 0
    other.chat.completions.create(**arguments)
    statuses = [(entry["status"], entry["ended"]) for entry in upstream.entries("[[sb:limited]]")]
    assert statuses == [(200, "complete"), (200, "complete"), (429, "fault"), (200, "complete")]
