"""Wrong requests get the real service's errors, wrong plans a clear one, and nothing grows without bound."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from mock_openai.upstream.journal import MAX_BYTES, Entry, Journal
from mock_openai.upstream.plans import MAX_PLANS, Plan, PlanError, Plans
from mock_openai.upstream.profiles import profile_from

HELLO = [{"role": "user", "content": "hello"}]
CHAT = {"model": "gpt-4o", "messages": HELLO}


JSON = {"content-type": "application/json"}


def post(upstream: Any, path: str, **request: Any) -> httpx.Response:
    return httpx.post(f"{upstream.url}{path}", **{"headers": JSON, **request})


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
        ({**CHAT, "model": "gpt-5-mini", "max_tokens": 5}, 400, "max_tokens", "unsupported_parameter"),
        ({**CHAT, "model": "o3", "temperature": 0.7}, 400, "temperature", "unsupported_value"),
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


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"model": NaN}', b'{"n": 1e999}', b'{"x": "\\ud800"}']
)
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


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b'{"id": "a", "text": "\\ud800"}'])
def test_plans_that_are_no_json(upstream: Any, content: bytes) -> None:
    answer = post(upstream, "/_mock/plans", content=content)
    assert answer.status_code == 400
    assert "not JSON" in answer.json()["error"]


def test_halves_of_a_character_that_belong_together_are_one(upstream: Any) -> None:
    prompt = "[[sb:emoji]]"
    plan = b'{"id": "emoji", "text": "\\ud83d\\ude00 ok"}'
    assert post(upstream, "/_mock/plans", content=plan).status_code == 201
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": prompt}]}
    answer = post(upstream, "/v1/chat/completions", json=body)
    assert answer.json()["choices"][0]["message"]["content"] == "\U0001f600 ok"


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
        api="/v1/chat/completions",
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


async def test_the_journal_keeps_within_its_budget() -> None:
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
    journal.end()
    kept: list[bytes] = []
    while (lines := await follower.next(0)) is not None:
        kept += lines.splitlines()
    assert follower.lost + len(kept) == 800
    assert json.loads(kept[-1])["entry"]["seq"] == 400
    journal.clear()
    assert (len(journal), journal.bytes) == (0, 0)


FULL_BODIES: dict[str, Any] = {
    "/v1/chat/completions": {
        **CHAT,
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "x"}]},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "f"}}]},
            {"role": "user", "content": "x"},
        ],
        "n": 1,
        "stop": ["x"],
        "max_tokens": 5,
        "stream_options": {"include_usage": True, "include_obfuscation": True},
        "stream": True,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"enum": [1]}}}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"$ref": "#/$defs/a"}}},
    },
    "/v1/responses": {
        "model": "gpt-4o",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}],
        "text": {
            "format": {"type": "json_schema", "name": "n", "schema": {"type": "array", "items": {"type": "null"}}}
        },
        "tools": [{"type": "function", "name": "f", "parameters": {}}],
        "tool_choice": {"type": "function", "name": "f"},
        "stream_options": {"include_obfuscation": True},
        "metadata": {"a": "b"},
        "stream": True,
    },
    "/v1/completions": {"model": "gpt-4o", "prompt": ["a", "b"], "n": 1, "stop": "x", "stream": False, "max_tokens": 3},
    "/v1/embeddings": {"model": "text-embedding-3-small", "input": ["a", [1, 2]], "dimensions": 4},
    "/v1beta/models/gemini-2.5-flash:streamGenerateContent": {
        "contents": [{"role": "user", "parts": [{"text": "x"}]}],
        "systemInstruction": {"parts": [{"text": "x"}]},
        "generationConfig": {"candidateCount": 1, "stopSequences": ["x"], "responseSchema": {"type": "OBJECT"}},
        "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT"}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
    },
}
ODD_VALUES: tuple[Any, ...] = (None, True, -1, 1.5, 10**30, "", "\ud800", "odd", [], [None], {}, {"$ref": "#/a/b"})


def with_one_odd_value(value: Any, odd: Any) -> Iterator[Any]:
    """Copies of a JSON value, each with another part of it replaced."""
    yield odd
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        for changed in with_one_odd_value(part, odd):
            copy = value.copy()
            copy[key] = changed
            yield copy


@pytest.mark.parametrize("path", FULL_BODIES)
def test_no_odd_value_anywhere_is_more_than_a_wrong_request(upstream: Any, path: str) -> None:
    bodies = [body for odd in ODD_VALUES for body in with_one_odd_value(FULL_BODIES[path], odd)]
    with httpx.Client(base_url=upstream.url) as client:
        assert client.post(path, json=FULL_BODIES[path]).status_code == 200
        for body in bodies:
            answer = client.post(path, content=json.dumps(body).encode())
            assert answer.status_code in (200, 400, 404), body
            if answer.status_code != 200:
                assert answer.json()["error"]["message"]


FULL_PLAN = {
    "id": "odd",
    "seed": 1,
    "tokens": 5,
    "text": "One two.",
    "profile": {"name": "slots", "slots": 1, "pool": "odd", "gap_ms": 0, "ttft_ms": 0},
    "tool_calls": [{"name": "f", "arguments": {"a": 1}}],
    "faults": [
        "gzip",
        {"fault": "comments", "text": "x", "every": 2, "at": {"chunk": 1}, "probability": 0.5},
        {"fault": "split-frame", "gap_ms": 0, "byte": 3, "at": {"byte": 100}},
        {"fault": "lost-chunk", "at": {"probability": 0.5}},
    ],
    "attempts": [{"profile": {"name": "trace", "chunks": [[0, "x"], [1, "y"]], "speed": 1}}, {"faults": ["crlf"]}],
}


def test_no_odd_value_anywhere_is_more_than_a_wrong_plan(upstream: Any) -> None:
    request = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "[[sb:odd]]"}]}
    with httpx.Client(base_url=upstream.url) as client:
        for odd in ODD_VALUES:
            for plan in with_one_odd_value(FULL_PLAN, odd):
                answer = client.post("/_mock/plans", content=json.dumps(plan).encode(), headers=JSON)
                assert answer.status_code in (201, 400, 422), plan
                if answer.status_code == 201 and plan:
                    client.delete("/_mock/journal", params={"plan": "odd"})
                    for _ in range(3):
                        assert client.post("/v1/chat/completions", json=request).status_code == 200, plan
