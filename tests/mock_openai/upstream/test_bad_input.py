"""Wrong requests get the real service's errors, wrong plans a clear one, and nothing grows without bound."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from mock_openai.upstream.journal import MAX_BYTES, Entry, Journal
from mock_openai.upstream.plans import MAX_PLANS, Plan, PlanError, Plans
from mock_openai.upstream.profiles import profile_from

HELLO = [{"role": "user", "content": "hello"}]
CHAT = {"model": "gpt-4o", "messages": HELLO}


def post(upstream: Any, path: str, **request: Any) -> httpx.Response:
    return httpx.post(f"{upstream.url}{path}", **request)


@pytest.mark.parametrize(
    ("body", "status", "param", "code"),
    [
        ({**CHAT, "model": "no-such-model"}, 404, None, "model_not_found"),
        ({"messages": HELLO}, 400, None, None),
        ({**CHAT, "model": 7}, 400, "model", "invalid_type"),
        ({"model": "gpt-4o"}, 400, "messages", "missing_required_parameter"),
        ({**CHAT, "messages": []}, 400, "messages", "empty_array"),
        ({**CHAT, "messages": "hello"}, 400, "messages", "invalid_type"),
        ({**CHAT, "messages": ["hello"]}, 400, "messages[0]", "invalid_type"),
        ({**CHAT, "messages": [{"content": "x"}]}, 400, "messages[0].role", "missing_required_parameter"),
        ({**CHAT, "messages": [{"role": "robot", "content": "x"}]}, 400, "messages[0].role", "invalid_value"),
        ({**CHAT, "messages": [{"role": "user", "content": 5}]}, 400, "messages[0].content", "invalid_type"),
        ({**CHAT, "messages": [{"role": "user"}]}, 400, "messages[0].content", None),
        ({**CHAT, "stream": "yes"}, 400, "stream", "invalid_type"),
        ({**CHAT, "stream_options": {"include_usage": True}}, 400, "stream_options", None),
        ({**CHAT, "temperature": 3}, 400, "temperature", "decimal_above_max_value"),
        ({**CHAT, "temperature": "hot"}, 400, "temperature", "invalid_type"),
        ({**CHAT, "n": 0}, 400, "n", "integer_below_min_value"),
        ({**CHAT, "n": 1000}, 400, "n", "integer_above_max_value"),
        ({**CHAT, "n": True}, 400, "n", "invalid_type"),
        ({**CHAT, "max_tokens": 0}, 400, "max_tokens", "integer_below_min_value"),
        ({**CHAT, "max_tokens": 5, "max_completion_tokens": 5}, 400, "max_tokens", "invalid_parameter_combination"),
        ({**CHAT, "stop": ["a"] * 5}, 400, "stop", "array_above_max_length"),
        ({**CHAT, "stop": [1]}, 400, "stop", "invalid_type"),
        ({**CHAT, "tools": [{"function": {}}]}, 400, "tools[0].function.name", "missing_required_parameter"),
        ({**CHAT, "tools": [5]}, 400, "tools[0]", "invalid_type"),
        ({**CHAT, "tool_choice": "required"}, 400, "tool_choice", None),
        ({**CHAT, "response_format": {"type": "xml"}}, 400, "response_format.type", "invalid_value"),
        ({**CHAT, "response_format": {"type": "json_schema"}}, 400, "response_format.json_schema", None),
        ([], 400, None, "invalid_type"),
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_wrong_bodies_are_refused_as_the_real_service_does(
    upstream: Any, body: Any, status: int, param: str | None, code: str | None
) -> None:
    answer = post(upstream, "/v1/chat/completions", json=body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    if code is not None:
        assert error["code"] == code
    assert error["message"]
    assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"model": "gpt-4o", "messages": NaN'])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1beta/models/gemini-2.5-flash:generateContent"])
def test_a_body_that_is_no_json(upstream: Any, path: str, content: bytes) -> None:
    answer = post(upstream, path, content=content)
    assert answer.status_code == 400
    assert "parse the JSON body" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", {"model": "gpt-4o"}),
        ("/v1/responses", {"model": "gpt-4o", "input": 5}),
        ("/v1/responses", {"model": "gpt-4o", "input": [5]}),
        ("/v1/responses", {"model": "gpt-4o", "input": "x", "max_output_tokens": 3}),
        ("/v1/responses", {"model": "gpt-4o", "input": "x", "text": {"format": 5}}),
        ("/v1/completions", {"model": "gpt-4o", "prompt": {}}),
        ("/v1/embeddings", {"model": "text-embedding-3-small"}),
        ("/v1/embeddings", {"model": "text-embedding-3-small", "input": []}),
        ("/v1/embeddings", {"model": "text-embedding-3-small", "input": "x", "encoding_format": "hex"}),
        ("/v1beta/models/gemini-2.5-flash:generateContent", {}),
        ("/v1beta/models/gemini-2.5-flash:generateContent", {"contents": [{"text": "x"}]}),
        ("/v1beta/models/gemini-2.5-flash:generateContent", {"contents": [{"parts": [5]}], "tools": "x"}),
        ("/v1beta/models/gemini-2.5-flash:generateContent", {"contents": [{"parts": []}], "generationConfig": 1}),
    ],
)
def test_wrong_bodies_of_the_other_apis(upstream: Any, path: str, body: Any) -> None:
    answer = post(upstream, path, json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_unknown_routes_and_methods(upstream: Any) -> None:
    missing = post(upstream, "/v1/no/such", json={})
    assert missing.status_code == 404
    assert missing.json()["error"]["message"] == "Invalid URL (POST /v1/no/such)"
    wrong = httpx.get(f"{upstream.url}/v1/chat/completions")
    assert wrong.status_code == 405
    assert wrong.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/_mock/plans"])
def test_ten_megabytes_are_too_large(upstream: Any, path: str) -> None:
    answer = post(upstream, path, content=b'{"model": "' + b"x" * 10_000_000 + b'"}')
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"


def test_keys_are_checked_where_one_is_set(start_upstream: Callable[..., Any]) -> None:
    upstream = start_upstream("--profile", "instant", "--api-key", "sk-right-key-0123456789")
    right = {"authorization": "Bearer sk-right-key-0123456789"}
    assert post(upstream, "/v1/chat/completions", json=CHAT, headers=right).status_code == 200
    wrong = post(upstream, "/v1/chat/completions", json=CHAT, headers={"authorization": "Bearer sk-wrong-0123456789"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (401, "invalid_api_key")
    assert "sk-wrong-0123456789" not in wrong.text
    without = post(upstream, "/v1/chat/completions", json=CHAT)
    assert without.status_code == 401
    assert "didn't provide an API key" in without.json()["error"]["message"]
    gemini = "/v1beta/models/gemini-2.5-flash:generateContent"
    contents = {"contents": [{"parts": [{"text": "x"}]}]}
    assert post(upstream, gemini, json=contents).status_code == 403
    wrong = post(upstream, gemini, json=contents, headers={"x-goog-api-key": "wrong"})
    assert wrong.json()["error"]["details"][0]["reason"] == "API_KEY_INVALID"
    assert post(upstream, f"{gemini}?key=sk-right-key-0123456789", json=contents).status_code == 200


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        (5, "an object with an `id`"),
        ({}, "`id` is made of"),
        ({"id": "a.b"}, "`id` is made of"),
        ({"id": "a", "speed": 1}, "unknown keys: speed"),
        ({"id": "a", "tokens": -1}, "integer from 0"),
        ({"id": "a", "tokens": 10**9}, "integer from 0"),
        ({"id": "a", "seed": "x"}, "`seed` is an integer"),
        ({"id": "a", "text": 5}, "`text` is a string"),
        ({"id": "a", "faults": "reset"}, "`faults` is a list"),
        ({"id": "a", "faults": ["reset"] * 40}, "at most 32"),
        ({"id": "a", "attempts": {}}, "`attempts` is a list"),
        ({"id": "a", "attempts": [5]}, "an attempt is an object"),
        ({"id": "a", "attempts": [{"id": "b"}]}, "unknown keys: id"),
        ({"id": "a", "tool_calls": [{"arguments": {}}]}, "an object with `name`"),
        ([{"id": "ok"}, {"id": "bad", "faults": ["x"]}], "plan 1: unknown fault 'x'"),
    ],
)
def test_wrong_plans_are_refused_with_the_reason(upstream: Any, plan: Any, told: str) -> None:
    answer = post(upstream, "/_mock/plans", json=plan)
    assert answer.status_code == 422
    assert told in answer.json()["error"]
    assert "ok" not in httpx.get(f"{upstream.url}/_mock/plans").json()["plans"]


def test_there_are_at_most_ten_thousand_plans(start_upstream: Callable[..., Any]) -> None:
    upstream = start_upstream("--profile", "instant")
    plans = [{"id": f"p{number}", "tokens": 5} for number in range(MAX_PLANS)]
    assert post(upstream, "/_mock/plans", json=plans, timeout=30).status_code == 201
    refused = post(upstream, "/_mock/plans", json={"id": "one-more"})
    assert refused.status_code == 422
    assert "DELETE /_mock/plans" in refused.json()["error"]
    # Plans whose marks never come do no harm, and one that is there can still be changed.
    assert post(upstream, "/_mock/plans", json={"id": "p7", "text": "Seven."}).status_code == 201
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "x [[sb:p7]]"}]}
    answer = post(upstream, "/v1/chat/completions", json=body)
    assert answer.json()["choices"][0]["message"]["content"] == "Seven."
    assert httpx.delete(f"{upstream.url}/_mock/plans").json() == {"deleted": MAX_PLANS}


def test_plans_keep_within_a_budget_of_memory() -> None:
    plans = Plans(Plan(None, profile_from("instant"), 0, 5), {})
    with pytest.raises(PlanError, match="MiB"):  # noqa: PT012 - some fit
        for number in range(100):
            plans.put({"id": f"p{number}", "text": "x" * 900_000})
    assert 20 < len(plans) < 50
    kept = len(plans)
    # The same plan again takes no more, and what is forgotten makes room.
    plans.put({"id": "p0", "text": "y" * 900_000})
    assert plans.delete("p1") == 1
    plans.put({"id": "new", "text": "z" * 900_000})
    assert plans.delete(None) == kept


def test_large_requests_are_not_kept(upstream: Any) -> None:
    prompt = upstream.plan()
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "x" * 200_000 + prompt}]}
    assert post(upstream, "/v1/chat/completions", json=body).status_code == 200
    assert upstream.closed(prompt)["request"]["omitted_bytes"] > 200_000


def entry_of(size: int) -> Entry:
    return Entry(
        seq=0,
        mark="m",
        plan=None,
        rule="mark",
        attempt=1,
        route="/v1/chat/completions",
        model="gpt-4o",
        stream=True,
        profile="instant",
        seed=0,
        arrived_ns=0,
        body_ns=0,
        request={},
        request_bytes=size,
    )


def test_the_journal_keeps_within_its_budget() -> None:
    journal = Journal()
    follower = journal.follow(None)
    for _ in range(400):
        entry = entry_of(1 << 20)
        journal.open(entry)
        journal.close(entry, ended="complete", now_ns=1)
    assert 0 < len(journal) < 70
    assert journal.bytes <= MAX_BYTES
    assert journal.find()[-1].seq == 400
    # A follower that does not read loses the oldest, and is told.
    kept = list(follower.read())
    assert follower.lost + len(kept) == 800
    assert kept[-1]["entry"]["seq"] == 400
    journal.clear()
    assert (len(journal), journal.bytes) == (0, 0)
