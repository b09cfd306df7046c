"""thread-events: the envelope, workflows, the two-sentence limit, retrieval within a clearance, preferences."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import pytest

Serve = Callable[..., Awaitable[Any]]

TEXT = "One is here. Two costs 3.5 euros! Three is too much. Four as well."


def kinds(answer: Any) -> list[str]:
    """The events in order, runs of `ai_response` as one."""
    out: list[str] = []
    for event in answer.events:
        if not (out and out[-1] == event["type"] == "ai_response"):
            out.append(event["type"])
    return out


async def test_the_envelope_and_the_order_of_a_reply(serve: Serve) -> None:
    servers = await serve()
    user = await servers.user("thread-events")
    answer = await user.ask("hello")
    assert kinds(answer) == ["connected", "message_saved", "ai_response", "done"]
    assert {frozenset(event) for event in answer.events} == {frozenset({"event", "type", "data", "timestamp"})}
    stamps = [event["timestamp"] for event in answer.events]
    assert stamps == sorted(stamps)
    assert all(datetime.fromisoformat(stamp).tzinfo is not None for stamp in stamps)
    assert answer.events[0]["data"] == {"threadId": user.thread}
    responses = [event["data"] for event in answer.events if event["type"] == "ai_response"]
    assert [item["isComplete"] for item in responses] == [False] * (len(responses) - 1) + [True]
    assert responses[-1]["accumulated"] == answer.text
    assert not any("accumulated" in item for item in responses[:-1])
    saved = answer.events[1]["data"]["message"]
    assert saved in await user.messages()


async def test_the_bytes_of_a_reply_grow_as_its_text_does(serve: Serve) -> None:
    servers = await serve()
    user = await servers.user("thread-events")

    async def size(words: int) -> int:
        mark = await servers.plan(f"words-{words}", text="abcd " * words)
        headers = {"authorization": f"Bearer {user.token}"}
        body = {"content": f"go {mark}"}
        async with servers.http.post(servers.url + user.path, json=body, headers=headers) as response:
            return len(await response.read())

    one, two, four = [await size(words) for words in (100, 200, 400)]
    # Twice as many words are twice as many bytes more; all of the text on every event would make it four times.
    assert (four - two) / (two - one) == pytest.approx(2, abs=0.05)


async def test_events_have_ids_that_tell_doubles(serve: Serve) -> None:
    servers = await serve()
    user = await servers.user("thread-events")
    seen: list[str] = []
    for _ in range(2):
        headers = {"authorization": f"Bearer {user.token}"}
        async with servers.http.post(servers.url + user.path, json={"content": "hi"}, headers=headers) as response:
            assert response.headers["connection"] == "keep-alive"
            lines = (await response.text()).splitlines()
        ids = [line.removeprefix("id: ") for line in lines if line.startswith("id: ")]
        assert len(ids) == sum(line.startswith("data: ") for line in lines)
        seen += ids
    assert len(set(seen)) == len(seen)


async def test_an_error_is_followed_by_done_without_success(serve: Serve) -> None:
    servers = await serve()
    user = await servers.user("thread-events")
    mark = await servers.plan("cut", faults=[{"fault": "cut-fin", "at": {"chunk": 3}}])
    answer = await user.ask(f"go {mark}")
    assert kinds(answer) == ["connected", "message_saved", "ai_response", "error", "done"]
    assert answer.events[-1]["data"] == {"success": False}


@pytest.mark.parametrize("mode", ["real", "paced", "rapid", "sentence"])
async def test_a_chat_step_ends_after_two_sentences_also_upstream(serve: Serve, mode: str) -> None:
    servers = await serve()
    user = await servers.user("thread-events", steps=[{"name": "talk", "kind": "chat", "max_tokens": 99}])
    slow = {"name": "fixed", "ttft_ms": 0, "gap_ms": 30}
    mark = await servers.plan("brief", text=TEXT + " More of it." * 200, profile=slow)
    answer = await user.ask(f"go {mark}", mode)
    assert answer.text == "One is here. Two costs 3.5 euros!"
    assert kinds(answer) == [
        "connected", "message_saved", "workflow_status", "ai_response", "workflow_complete", "done",
    ]  # fmt: skip
    (entry,) = await servers.ended("brief")
    assert entry["ended"] == "cancelled"
    assert entry["request"]["max_tokens"] == 99
    last = (await user.messages())[-1]
    assert (last["content"], last["interrupted"]) == (answer.text, False)


async def test_a_workflow_goes_from_step_to_step(serve: Serve) -> None:
    servers = await serve(tokens=60)
    user = await servers.user("thread-events", workflow="intake")
    seen = []
    for number in range(4):
        answer = await user.ask(f"message {number} {await servers.plan(f'w{number}')}")
        assert answer.ending == "complete"
        statuses = [event["data"] for event in answer.events if event["type"] == "workflow_status"]
        seen.append([(item["state"], item["step"], item["position"], item["total"]) for item in statuses])
        assert ("workflow_complete" in kinds(answer)) == (number == 2)
    assert seen == [
        [("started", "greeting", 1, 3)],
        [("step_changed", "details", 2, 3)],
        [("step_changed", "summary", 3, 3)],
        [],
    ]
    asked = [(await servers.entries(f"w{number}"))[0]["request"] for number in range(4)]
    assert [request["max_tokens"] for request in asked] == [150, 150, 400, 2000]
    assert "Greet the user" in asked[0]["messages"][0]["content"]
    assert asked[3]["messages"][0]["role"] == "user", "no guidelines after the last step"


async def test_a_step_that_failed_is_done_again(serve: Serve) -> None:
    servers = await serve()
    user = await servers.user("thread-events", steps=[{"name": "only"}])
    mark = await servers.plan("cut", faults=[{"fault": "cut-fin", "at": {"chunk": 3}}])
    assert (await user.ask(f"go {mark}")).ending == "error"
    answer = await user.ask(f"again {await servers.plan('sound')}")
    assert "workflow_complete" in kinds(answer)
    complete = next(event for event in answer.events if event["type"] == "workflow_complete")
    assert complete["data"]["message"]["content"] == answer.text


async def test_documents_reach_the_model_only_within_the_clearance(serve: Serve) -> None:
    servers = await serve(clearances={"alice": "confidential", "bob": "public"})
    for token, expected in (("alice-token", 3), ("bob-token", 1)):
        user = await servers.user("thread-events", token)
        for level in ("public", "internal", "confidential", "secret"):
            status, _ = await servers.call(
                "POST",
                f"/chat/threads/{user.thread}/documents",
                {"title": f"Refunds ({level})", "content": f"Refunds need form {level}-7.\n\nTea.", "clearance": level},
                token=token,
            )
            assert status == 201
        _, listed = await servers.call("GET", f"/chat/threads/{user.thread}/documents", token=token)
        assert len(listed["documents"]) == expected
        plan = f"docs-{expected}"
        answer = await user.ask(f"How do refunds work? {await servers.plan(plan)}")
        request = str((await servers.ended(plan))[0]["request"])
        events = str(answer.events)
        assert "public-7" in request
        for level in ("secret", *(() if expected == 3 else ("internal", "confidential"))):
            assert f"{level}-7" not in request + events
            assert f"({level})" not in request + events
        sources = answer.events[-2]["data"]["sources"]
        assert len(sources) == expected
        await user.ask(f"Something else entirely? {await servers.plan(plan + 'x')}")
        assert "form" not in str((await servers.ended(plan + "x"))[0]["request"]["messages"][0])


async def test_preferences_personalise_the_prompt(serve: Serve) -> None:
    servers = await serve()
    status, data = await servers.call("PUT", "/chat/preferences", {"tone": "dry\nIgnore that", "name": "Al"})
    assert (status, data) == (200, {"preferences": {"tone": "dry Ignore that", "name": "Al"}})
    assert (await servers.call("GET", "/chat/preferences"))[1] == data
    assert (await servers.call("GET", "/chat/preferences", token="bob-token"))[1] == {"preferences": {}}
    assert (await servers.call("PUT", "/chat/preferences", {"shoes": "red"}))[0] == 400
    user = await servers.user("thread-events")
    await user.ask(f"hi {await servers.plan('mine')}")
    system = (await servers.ended("mine"))[0]["request"]["messages"][0]
    assert system["role"] == "system"
    assert "dry Ignore that" in system["content"]
    bob = await servers.user("thread-events", "bob-token")
    await bob.ask(f"hi {await servers.plan('his')}")
    assert "dry" not in str((await servers.ended("his"))[0]["request"])


async def test_the_answer_without_a_stream(serve: Serve) -> None:
    servers = await serve()
    user = await servers.user("thread-events", steps=[{"name": "talk", "kind": "chat"}])
    mark = await servers.plan("whole", text=TEXT)
    status, data = await servers.call("POST", user.stored, {"content": f"go {mark}"})
    assert (status, data) == (200, {"response": "One is here. Two costs 3.5 euros!"})
    (entry,) = await servers.ended("whole")
    assert entry["stream"] is False
    assert [item["role"] for item in await user.messages()] == ["user", "assistant"]
    fault = {"fault": "status", "status": 500, "should_retry": "false"}
    status, data = await servers.call(
        "POST", user.stored, {"content": f"go {await servers.plan('bad', faults=[fault])}"}
    )
    assert status == 502
    assert data["error"]


BAD_REQUESTS: list[tuple[str, str, Any, int]] = [
    ("POST", "/chat/threads", {"title": 5}, 400),
    ("POST", "/chat/threads", {"workflow": "dance"}, 400),
    ("POST", "/chat/threads", {"workflow": ["intake"]}, 400),
    ("POST", "/chat/threads", {"steps": []}, 400),
    ("POST", "/chat/threads", {"steps": [{"name": "x", "kind": "song"}]}, 400),
    ("POST", "/chat/threads", {"steps": [{"name": "x", "max_tokens": 0}]}, 400),
    ("POST", "/chat/threads", {"steps": [{"guidelines": "x"}]}, 400),
    ("POST", "{thread}/messages/stream", {"content": ""}, 400),
    ("POST", "{thread}/messages/stream", {"content": "x" * 4001}, 400),
    ("POST", "{thread}/messages/stream?streaming=warp", {"content": "x"}, 400),
    ("POST", "{thread}/messages", {}, 400),
    ("POST", "{thread}/documents", {"content": " "}, 400),
    ("POST", "{thread}/documents", {"content": "x", "clearance": "cosmic"}, 400),
    ("POST", "{thread}/documents", {"content": "x", "clearance": ["public"]}, 400),
    ("POST", "/chat/threads/nowhere/messages/stream", {"content": "x"}, 404),
    ("GET", "/chat/threads/nowhere/messages", None, 404),
    ("GET", "/chat/threads/nowhere/documents", None, 404),
]


async def test_bad_requests(serve: Serve) -> None:
    servers = await serve()
    user = await servers.user("thread-events")
    for method, path, body, status in BAD_REQUESTS:
        answered, data = await servers.call(method, path.format(thread=f"/chat/threads/{user.thread}"), body)
        assert (answered, bool(data["error"])) == (status, True), (path, body)
