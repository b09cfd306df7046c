"""The admin API: which plan serves a request, the journal as query and live stream, metrics."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest


def ask(upstream: Any, prompt: Any, *, model: str = "gpt-4o", **headers: str) -> httpx.Response:
    texts = prompt if isinstance(prompt, list) else [prompt]
    body = {"model": model, "messages": [{"role": "user", "content": text} for text in texts]}
    return httpx.post(f"{upstream.base_url}/chat/completions", json=body, headers=headers)


def text_of(answer: httpx.Response) -> str:
    text: str = answer.json()["choices"][0]["message"]["content"]
    return text


def test_the_mark_wins_then_header_key_model_and_default(start_upstream: Callable[..., Any]) -> None:
    upstream = start_upstream("--profile", "instant", "--tokens", "3")
    for name in ("mark", "older", "header", "key", "model"):
        upstream.plan(id=name, text=f"By {name}.")
    everything: Any = {
        "model": "gpt-4o:model",
        "x-mock-plan": "header",
        "authorization": "Bearer sk-mock-key",
    }
    conversation = ["hi [[sb:older]]", "hi [[sb:older]] and [[sb:mark]]", "and no mark"]
    answers = [ask(upstream, conversation, **everything)]
    for drop in (None, "x-mock-plan", "authorization", "model"):
        everything.pop(drop, None)
        answers.append(ask(upstream, "no mark", **everything))
    texts = [text_of(answer) for answer in answers]
    assert texts[:4] == ["By mark.", "By header.", "By key.", "By model."]
    entries = httpx.get(f"{upstream.url}/_mock/journal").json()["entries"]
    assert [entry["rule"] for entry in entries] == ["mark", "header", "key", "model", "default"]
    assert [entry["mark"] for entry in entries] == ["mark", "header", "key", "model", None]
    # Names that mean nothing are nobody's plan.
    ask(upstream, "no mark", model="gpt-4o:nothing", **{"x-mock-plan": "nothing", "authorization": "Bearer sk-mock-x"})
    ask(upstream, "hi [[sb:unknown.7]]")
    entries = httpx.get(f"{upstream.url}/_mock/journal", params={"since": entries[-1]["seq"]}).json()["entries"]
    assert [(entry["rule"], entry["mark"], entry["plan"]) for entry in entries] == [
        ("default", None, None),
        ("mark", "unknown.7", None),
    ]


def test_the_journal_is_read_in_pages_and_cleared(start_upstream: Callable[..., Any]) -> None:
    upstream = start_upstream("--profile", "instant")
    for number in range(5):
        ask(upstream, f"hi [[sb:{'a' if number % 2 else 'b'}.{number}]]")
    upstream.plan(id="a")
    ask(upstream, "hi [[sb:a.1]]")
    journal = f"{upstream.url}/_mock/journal"
    page = httpx.get(journal, params={"limit": 4}).json()
    assert (len(page["entries"]), page["next"]) == (4, 4)
    rest = httpx.get(journal, params={"since": page["next"]}).json()
    assert [entry["mark"] for entry in rest["entries"]] == ["b.4", "a.1"]
    assert rest["now_ns"] >= rest["entries"][-1]["ended_ns"]
    assert [entry["attempt"] for entry in httpx.get(journal, params={"id": "a.1"}).json()["entries"]] == [1, 2]
    httpx.delete(journal, params={"plan": "a"})
    assert len(httpx.get(journal).json()["entries"]) == 5
    httpx.delete(journal)
    assert httpx.get(journal).json()["entries"] == []
    assert httpx.get(journal, params={"since": "x"}).status_code == 400


def test_the_live_journal_tells_opened_and_closed(upstream: Any) -> None:
    prompt = upstream.plan()
    plan = prompt.partition("[[sb:")[2].removesuffix("]]")
    ask(upstream, prompt)
    told: list[Any] = []
    with httpx.stream("GET", f"{upstream.url}/_mock/journal/stream", params={"plan": plan}, timeout=20) as live:
        for line in live.iter_lines():
            change = json.loads(line)
            if change["event"] == "ping":
                continue
            told.append(change)
            if len(told) == 1:
                # The entry that is there already comes first; then what happens.
                ask(upstream, prompt)
            if len(told) == 3:
                break
    assert [(change["event"], change["entry"]["attempt"]) for change in told] == [
        ("closed", 1),
        ("opened", 2),
        ("closed", 2),
    ]
    assert "chunks" not in told[1]["entry"]
    assert told[2]["entry"]["chunks"]["offset"]


def test_metrics_are_prometheus_text(start_upstream: Callable[..., Any]) -> None:
    upstream = start_upstream("--profile", "instant", "--tokens", "3")
    ask(upstream, "hi")
    ask(upstream, "hi", model="no-such-model")
    ask(upstream, upstream.plan(faults=[{"fault": "status", "status": 503}]))
    answer = httpx.get(f"{upstream.url}/_mock/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    sample = re.compile(r'mock_openai_\w+(\{\w+="[^"]*"(,\w+="[^"]*")*\})? [-+.\deInf]+')
    lines = answer.text.splitlines()
    assert all(line.startswith(("# HELP ", "# TYPE ")) or sample.fullmatch(line) for line in lines)
    route = 'route="/v1/chat/completions"'
    assert f'mock_openai_requests_total{{{route},status="200",ended="complete"}} 1' in lines
    assert f'mock_openai_requests_total{{{route},status="404",ended="refused"}} 1' in lines
    assert f'mock_openai_requests_total{{{route},status="503",ended="fault"}} 1' in lines
    assert 'mock_openai_faults_total{fault="status"} 1' in lines
    assert f"mock_openai_open_requests{{{route}}} 0" in lines
    assert 'mock_openai_write_lateness_seconds_bucket{le="+Inf"} 1' in lines
    assert "mock_openai_plans 1" in lines


@pytest.mark.parametrize("route", ["/_mock/plans", "/_mock/journal", "/_mock/metrics", "/_mock/health"])
def test_a_token_guards_every_admin_route(start_upstream: Callable[..., Any], route: str) -> None:
    upstream = start_upstream("--admin-token", "right")
    assert httpx.get(f"{upstream.url}{route}").status_code == 403
    assert httpx.get(f"{upstream.url}{route}", headers={"authorization": "Bearer wrong"}).status_code == 403
    assert httpx.get(f"{upstream.url}{route}", headers={"authorization": "Bearer right"}).status_code == 200


PLAN = {"id": "planted", "text": "what an attacker wants to be said"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "text/plain"}, 415),  # what a form can send without asking
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "application/json", "origin": "https://evil.example"}, 403),
        ({"content-type": "application/json", "sec-fetch-site": "cross-site"}, 403),
        ({"content-type": "application/json", "host": "rebound.example"}, 421),
    ],
)
def test_a_page_in_a_browser_stores_no_plan(upstream: Any, headers: dict[str, str], status: int) -> None:
    answer = httpx.post(f"{upstream.url}/_mock/plans", content=json.dumps(PLAN).encode(), headers=headers)
    assert answer.status_code == status
    assert "planted" not in httpx.get(f"{upstream.url}/_mock/plans").json()["plans"]
    assert not any(name.startswith("access-control-") for name in answer.headers)


@pytest.mark.parametrize("path", ["/_mock/journal", "/_mock/health", "/v1/models", "/v1beta/models"])
def test_a_name_that_does_not_lead_to_loopback_is_not_answered(
    upstream: Any, start_upstream: Callable[..., Any], path: str
) -> None:
    foreign = {"host": "rebound.example:80"}
    assert httpx.get(upstream.url + path, headers=foreign).status_code == 421
    for name in ("localhost", "127.0.0.1:1", "[::1]:4010", "mock.localhost"):
        assert httpx.get(upstream.url + path, headers={"host": name}).status_code == 200, name


def test_more_names_can_be_allowed(start_upstream: Callable[..., Any]) -> None:
    upstream = start_upstream("--allow-host", "upstream.test")
    health = f"{upstream.url}/_mock/health"
    assert httpx.get(health, headers={"host": "upstream.test:4010"}).status_code == 200
    assert httpx.get(health, headers={"host": "other.test"}).status_code == 421
