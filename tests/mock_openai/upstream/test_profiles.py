"""Profiles with parameters: slots that fill up, and traces that are replayed."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import httpx
import pytest

from mock_openai.upstream.capacity import Pool, Pools
from mock_openai.upstream.profiles import Capacity, profile_from


async def ask(client: httpx.AsyncClient, upstream: Any, prompt: str) -> None:
    body = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": prompt}]}
    (await client.post(f"{upstream.base_url}/chat/completions", json=body)).raise_for_status()


async def test_slots_are_taken_in_turn_and_never_more_than_there_are(upstream: Any) -> None:
    slots = {"name": "slots", "slots": 2, "pool": "two", "ttft_ms": 5, "gap_ms": 1}
    prompt = upstream.plan(tokens=4, profile=slots)
    async with httpx.AsyncClient(timeout=20) as client:
        await asyncio.gather(*(ask(client, upstream, prompt.replace("]]", f".{number}]]")) for number in range(8)))
    plan = prompt.partition("[[sb:")[2].removesuffix("]]")
    entries = httpx.get(f"{upstream.url}/_mock/journal", params={"plan": plan}).json()["entries"]
    assert len(entries) == 8
    first_write = {entry["seq"]: entry["chunks"]["written_ns"][0] for entry in entries}
    ends = sorted(entry["ended_ns"] for entry in entries)
    for position, seq in enumerate(sorted(first_write)):
        # The n-th to come begins only after the (n-2)-th has ended.
        if position >= 2:
            assert first_write[seq] > ends[position - 2]


async def test_a_wait_that_is_cancelled_leaves_the_queue() -> None:
    pool = Pool()
    await pool.take(1)
    waiting = [asyncio.create_task(pool.take(1)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.gather(waiting[0], return_exceptions=True)
    pool.free()
    await waiting[1]
    assert not waiting[2].done()
    # A slot that came together with the cancel goes on to the next.
    pool.free()
    waiting[2].cancel()
    await asyncio.gather(waiting[2], return_exceptions=True)
    assert pool.idle


def test_pools_are_shared_by_name() -> None:
    pools = Pools()
    one, other = Capacity("a", 1, 1, 0), Capacity("a", 2, 2, 0)
    assert pools.of(one) is pools.of(other)
    assert pools.of(Capacity("b", 1, 1, 0)) is not pools.of(one)


def test_prefill_and_slowdown_follow_the_load() -> None:
    spec = {"name": "slots", "prefill_tokens_per_s": 1000, "slowdown": 0.5, "ttft_ms": 10, "gap_ms": 10}
    profile = profile_from(spec)
    alone = profile.schedule_ns(3, random.Random(1), prompt_tokens=500, active=1)
    assert [due / 1e6 for due in alone] == [510, 520, 530]
    crowded = profile.schedule_ns(3, random.Random(1), prompt_tokens=0, active=5)
    assert [due / 1e6 for due in crowded] == [10, 40, 70]


def test_a_trace_is_replayed_at_its_speed(upstream: Any) -> None:
    chunks = [[10, "Once"], [10, " upon"], [40, " a"], [41.5, " time."]]
    prompt = upstream.plan(profile={"name": "trace", "chunks": chunks, "speed": 2})
    stream = upstream.sdk().chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": prompt}], stream=True
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "Once upon a time."
    entry = upstream.closed(prompt)
    after = [(at_ns - entry["arrived_ns"]) / 1e6 for at_ns in entry["chunks"]["scheduled_ns"]]
    assert after == [5, 20, 20.75]
    assert entry["chunks"]["offset"] == [9, 11, 17]
    # A text of one's own in the rhythm of the trace, longer than it.
    paced = profile_from({"name": "trace", "chunks": chunks})
    assert [due / 1e6 for due in paced.schedule_ns(6, random.Random(1))] == [10, 10, 40, 41.5, 51.5, 51.5]


@pytest.mark.parametrize(
    ("profile", "told"),
    [
        ("no-such", "one of instant, fixed"),
        ({"name": "fixed", "ttft": 5}, "it takes ttft_ms, gap_ms, burst"),
        ({"name": "fixed", "gap_ms": -1}, "at least 0"),
        ({"name": "openai-fast", "gap_ms": 1}, "takes no parameters"),
        ({"name": "slots", "slots": 0}, "at least 1"),
        ({"name": "slots", "pool": 5}, "is a string"),
        ({"name": "trace"}, "takes `trace`, a name, or `chunks`"),
        ({"name": "trace", "trace": "missing"}, "unknown trace 'missing'"),
        ({"name": "trace", "chunks": []}, "1 to 100,000 pairs"),
        ({"name": "trace", "chunks": [[5, "a"], [4, "b"]]}, "never go back"),
        ({"name": "trace", "chunks": [[5, "a"]], "speed": 0}, "from 0.001"),
        (["fixed"], "unknown profile"),
    ],
)
def test_a_wrong_profile_is_refused_with_what_is_valid(upstream: Any, profile: Any, told: str) -> None:
    with pytest.raises(ValueError, match=r"profile|trace") as raised:
        profile_from(profile)
    assert told in str(raised.value)
    answer = httpx.post(f"{upstream.url}/_mock/plans", json={"id": "wrong", "profile": profile})
    assert answer.status_code == 422
    assert told in answer.json()["error"]
