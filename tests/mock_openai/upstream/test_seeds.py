"""Same seed, same plan: the same text and the same schedule, whatever else runs at the same time."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import httpx
import pytest

from mock_openai.upstream.profiles import PROFILES, profile_from
from mock_openai.upstream.text import generate_tokens, markdown_tokens, split_tokens


def fetch(upstream: Any, prompt: str) -> None:
    body = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": prompt}]}
    assert httpx.post(f"{upstream.base_url}/chat/completions", json=body).status_code == 200


def shape(entry: dict[str, Any]) -> tuple[str, list[int], Any]:
    """What a seed decides: the text, the schedule after the arrival, and the places of faults."""
    scheduled = [at_ns - entry["arrived_ns"] for at_ns in entry["chunks"]["scheduled_ns"]]
    return entry["text"], scheduled, [(fault["fault"], fault["at"]) for fault in entry["faults"]]


async def test_what_else_runs_changes_nothing(start_upstream: Callable[..., Any]) -> None:
    first, second = start_upstream("--seed", "5"), start_upstream("--seed", "5")
    plan = {
        "id": "same",
        "tokens": 20,
        "profile": {"name": "trace", "chunks": [[index * 3, "x"] for index in range(20)]},
        "faults": [{"fault": "lost-chunk", "at": {"probability": 0.3}}, {"fault": "gzip", "probability": 0.5}],
    }
    quick = {"id": "other", "profile": "instant", "tokens": 50}
    for upstream in (first, second):
        upstream.plan(**plan)
        upstream.plan(**quick)
    members = [f"hi [[sb:same.{number}]]" for number in range(6)]
    # One after the other, in a quiet server.
    for prompt in members:
        fetch(first, prompt)
    # All at once and in another order, between a hundred others.
    async with httpx.AsyncClient() as client:
        prompts = [*reversed(members), *(f"noise [[sb:other.{number}]]" for number in range(100))]
        random.Random(1).shuffle(prompts)

        async def one(prompt: str) -> None:
            body = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": prompt}]}
            (await client.post(f"{second.base_url}/chat/completions", json=body)).raise_for_status()

        await asyncio.gather(*(one(prompt) for prompt in prompts))
    shapes = [shape(first.entries(prompt)[0]) for prompt in members]
    assert [shape(second.entries(prompt)[0]) for prompt in members] == shapes
    assert len({str(item) for item in shapes}) > 1
    # Asking again is another attempt, and has its own draws.
    fetch(first, members[0])
    assert first.entries(members[0])[1]["attempt"] == 2


def test_the_seed_and_the_member_decide(upstream: Any) -> None:
    texts = {}
    for seed in (1, 2):
        prompt = upstream.plan(seed=seed)
        for member in ("1", "2"):
            marked = prompt.replace("]]", f".{member}]]")
            fetch(upstream, marked)
            texts[seed, member] = upstream.closed(marked, int(member))["text"]
    assert len(set(texts.values())) == 4
    # The same members of another plan with the same seed get the same replies: systems are compared on equal ones.
    again = upstream.plan(seed=1).replace("]]", ".2]]")
    fetch(upstream, again)
    assert upstream.closed(again)["text"] == texts[1, "2"]


def test_requests_without_a_mark_are_told_apart_by_what_they_ask(start_upstream: Callable[..., Any]) -> None:
    texts = []
    for _ in range(2):
        upstream = start_upstream("--profile", "instant")
        for prompt in ("one", "two", "one"):
            fetch(upstream, prompt)
        found = httpx.get(f"{upstream.url}/_mock/journal").json()["entries"]
        texts.append([entry["text"] for entry in found])
        assert [(entry["mark"], entry["rule"], entry["attempt"]) for entry in found] == [
            (None, "default", 1),
            (None, "default", 1),
            (None, "default", 2),
        ]
    assert texts[0] == texts[1]
    assert len(set(texts[0])) == 3


@pytest.mark.parametrize("count", [0, 1, 80, 20_000])
def test_every_word_of_a_text_is_different(count: int) -> None:
    tokens = generate_tokens(count, random.Random(1))
    assert len(tokens) == count
    words = [token.strip(" .").lower() for token in tokens]
    assert len(set(words)) == count
    text = "".join(tokens)
    assert split_tokens(text) == tokens
    if count:
        sentences = [len(sentence.split()) for sentence in text.split(". ")]
        assert max(sentences) <= 14
        assert all(length >= 8 for length in sentences[:-1])


@pytest.mark.parametrize("text", ["", "a", " a b", "a  b\n\nc ", "\n", "ü ö"])
def test_the_tokens_of_a_text_are_the_text(text: str) -> None:
    assert "".join(split_tokens(text)) == text


@pytest.mark.parametrize("name", PROFILES)
def test_a_schedule_never_goes_back_and_repeats_with_its_seed(name: str) -> None:
    profile = profile_from(name)
    schedule = profile.schedule_ns(200, random.Random("7"))
    assert schedule == sorted(schedule)
    assert schedule == profile.schedule_ns(200, random.Random("7"))
    assert len(schedule) == 200
    assert schedule[0] >= 0


def gaps_ms(name: str, tokens: int = 20_000) -> list[float]:
    schedule = profile_from(name).schedule_ns(tokens, random.Random(3))
    return [(after - before) / 1e6 for before, after in pairwise(schedule)]


def test_the_default_profile_has_the_measured_shape() -> None:
    gaps = gaps_ms("openai-fast")
    in_burst = sum(gap < 1 for gap in gaps) / len(gaps)
    assert 0.45 <= in_burst <= 0.68
    between = sorted(gap for gap in gaps if gap >= 1)
    assert between[0] >= 8
    assert between[len(between) // 2] == pytest.approx(8 + 14, rel=0.05)
    assert 1000 / (sum(gaps) / len(gaps)) == pytest.approx(80, rel=0.1)
    first = sorted(profile_from("openai-fast").schedule_ns(1, random.Random(seed))[0] / 1e6 for seed in range(2000))
    assert first[0] >= 300
    assert first[1000] == pytest.approx(550, rel=0.05)


def test_the_other_profiles_differ_as_described() -> None:
    slow = gaps_ms("openai-slow")
    stalls = sum(gap >= 500 for gap in slow) / (len(slow) / 2)
    assert 0.004 <= stalls <= 0.02
    azure = [gap for gap in gaps_ms("azure-filtered") if gap > 0]
    assert min(azure) >= 20
    assert len(azure) == pytest.approx(20_000 / 28, rel=0.01)

    def firsts(name: str) -> list[float]:
        return [profile_from(name).schedule_ns(1, random.Random(seed))[0] / 1e6 for seed in range(3000)]

    # A contended service is the fast one with a long tail.
    fast, contended = sorted(firsts("openai-fast")), sorted(firsts("contended"))
    assert contended[1500] < 1.25 * fast[1500]
    assert contended[2970] > 1.3 * fast[2970]


def test_markdown_has_what_a_careless_client_damages() -> None:
    for seed in range(20):
        tokens = markdown_tokens(60, random.Random(seed))
        text = "".join(tokens)
        assert len(tokens) == 60
        for part in ("## ", "\n\n", "\n- ", "```python\n    ", "  = ", "🌊", "👩‍🚀", "東京"):
            assert part in text, part
        words = re.findall(r"[a-z]{4,}", text.replace("python", ""))
        assert len(set(words)) == len(words), "each word stands once, so that a part says where it belongs"
    assert markdown_tokens(0, random.Random(1)) == []
    assert len(markdown_tokens(1, random.Random(1))) == 1


def test_a_style_is_asked_for_by_plan_or_model(upstream: Any, start_upstream: Callable[..., Any]) -> None:
    def text(where: Any, prompt: str, model: str = "gpt-4o") -> str:
        body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
        answer = httpx.post(f"{where.base_url}/chat/completions", json=body).json()
        return str(answer["choices"][0]["message"]["content"])

    assert "\n" not in text(upstream, "plain")
    assert text(upstream, "suffix", "gpt-4o:markdown").startswith("## ")
    assert text(upstream, upstream.plan(style="markdown", tokens=30)).startswith("## ")
    assert text(start_upstream("--profile", "instant", "--style", "markdown"), "default").startswith("## ")
    assert httpx.post(f"{upstream.url}/_mock/plans", json={"id": "odd", "style": ["markdown"]}).status_code == 422
