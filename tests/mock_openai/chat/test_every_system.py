"""What holds for all systems alike: modes, history, storing, caps, failures, and clients that leave."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from mock_openai import chat
from mock_openai.chat.limits import Caps
from mock_openai.chat.modes import MODES

Serve = Callable[..., Awaitable[Any]]

SLOW = {"name": "fixed", "ttft_ms": 0, "gap_ms": 20}
LONG = {"profile": SLOW, "tokens": 2000}
PATIENCE_S = 20
# One for the whole server, and one that sleeps until the next ping is due and then sees that its client has gone.
LIBRARY_TASKS = ("_service_task", "_send_ping")


async def test_a_reply_arrives_whole_in_every_mode(serve: Serve, system: str) -> None:
    servers = await serve(tokens=5)
    user = await servers.user(system)
    for mode in MODES:
        answer = await user.ask(f"Say something. {await servers.plan(mode)}", mode)
        assert answer.ending == "complete"
        (entry,) = await servers.ended(mode)
        assert (answer.text.rstrip(), entry["ended"]) == (entry["text"], "complete")
        assert entry["stream"] is not mode.startswith("blocking")
    await user.close()


async def test_what_blocks_asks_for_the_whole_reply_and_types_it(serve: Serve, system: str) -> None:
    servers = await serve()
    user = await servers.user(system)
    text = "# A list\n\n- one  thing\n- two things"
    mark = await servers.plan("typed", text=text)
    answer = await user.ask(f"go {mark}", "blocking-typed")
    assert user.pieces(answer) == ["# ", "A ", "list\n\n- ", "one ", " ", "thing\n- ", "two ", "things"]
    mark = await servers.plan("at-once", text=text)
    answer = await user.ask(f"go {mark}", "blocking-at-once")
    assert user.pieces(answer) == [f"{word} " for word in text.split()]
    for plan in ("typed", "at-once"):
        assert [entry["stream"] for entry in await servers.ended(plan)] == [False]
    await user.close()


async def test_a_client_that_leaves_stops_a_model_that_has_not_answered(serve: Serve, system: str) -> None:
    servers = await serve()
    user = await servers.user(system)
    mark = await servers.plan("left", profile={"name": "fixed", "ttft_ms": 60_000})
    asking = asyncio.create_task(user.ask(f"go {mark}", "blocking-typed"))
    while not await servers.entries("left"):
        await asyncio.sleep(0.01)
    user.hang_up()
    (entry,) = await servers.ended("left")
    assert entry["ended"] == "cancelled"
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await servers.idle()


async def test_the_model_is_asked_as_agreed(serve: Serve, system: str) -> None:
    servers = await serve()
    user = await servers.user(system)
    prompt = f"Grüße aus 東京 👋 {await servers.plan('asked')}"
    await user.ask(prompt)
    (entry,) = await servers.ended("asked")
    request = entry["request"]
    assert (request["temperature"], request["max_tokens"], request["stream"]) == (0.7, 2000, True)
    assert request["messages"][-1] == {"role": "user", "content": prompt}
    await user.close()


async def test_models_that_reason_are_asked_as_their_service_wants(serve: Serve) -> None:
    servers = await serve()
    for model in ("gpt-5-mini", "o4-mini"):
        mark = await servers.plan(f"asked-{model}")
        headers = {"authorization": "Bearer alice-token"}
        body = {"message": f"go {mark}", "model": model}
        async with servers.http.post(servers.url + "/api/chat/stream", json=body, headers=headers) as response:
            assert '"done": true' in await response.text()
        (entry,) = await servers.ended(f"asked-{model}")
        assert entry["request"]["max_completion_tokens"] == 2000
        assert not {"max_tokens", "temperature"} & entry["request"].keys()


async def test_characters_of_every_size_arrive_intact(serve: Serve, system: str) -> None:
    servers = await serve()
    user = await servers.user(system)
    text = 'Grüße, 東京! 👩‍👩‍👧‍👦 \u2028 naïve\ttab “quotes” \\ "x" end.'
    mark = await servers.plan("text", text=text, faults=["split-utf8"])
    for mode in ("real", "rapid"):
        assert (await user.ask(f"say it {mark}", mode)).text == text
    mark = await servers.plan("markdown", style="markdown", tokens=60)
    for mode in MODES:
        answer = await user.ask(f"say it {mark}", mode) if not mode.endswith(("paced", "typed")) else None
        if answer is not None:
            told = (await servers.entries("markdown"))[-1]["text"]
            assert (answer.text == told) is (mode != "blocking-at-once"), f"{mode} damages white space, or does not"
    await user.close()


# room-chat's clients send the history themselves.
@pytest.mark.parametrize("system", ["chat-stream", "assistant-ws", "thread-events", "conversation-stream"])
async def test_the_last_ten_messages_are_the_history(serve: Serve, system: str) -> None:
    servers = await serve(tokens=3)
    user = await servers.user(system)
    for number in range(7):
        await user.ask(f"question {number}")
    mark = await servers.plan("history")
    await user.ask(f"the last one {mark}")
    (entry,) = await servers.ended("history")
    contents = [item["content"] for item in entry["request"]["messages"] if item["role"] != "system"]
    assert len(contents) == 11
    assert contents[::2] == [*(f"question {number}" for number in range(2, 7)), f"the last one {mark}"]
    stored = await user.messages()
    assert [item["content"] for item in stored][-12:-2] == contents[:10]
    await user.close()


async def test_a_reply_is_stored_when_it_has_ended(serve: Serve, system: str) -> None:
    servers = await serve()
    user = await servers.user(system)
    answer = await user.ask("something to keep")
    stored = (await user.messages())[-2:]
    assert [(item["role"], item["content"], item["interrupted"]) for item in stored] == [
        ("user", "something to keep", False),
        ("assistant", answer.text, False),
    ]
    await user.close()


async def test_a_client_that_leaves_stops_the_model(serve: Serve, system: str) -> None:
    servers = await serve()
    mark = await servers.plan("left", **LONG)
    other = await servers.user(system, "bob-token")
    other_mark = await servers.plan("stays", profile=SLOW, tokens=20)
    staying = asyncio.create_task(other.ask(f"I stay {other_mark}"))
    user = await servers.user(system)
    text = await user.ask_and_leave(f"a long story {mark}")
    (entry,) = await servers.ended("left")
    assert entry["ended"] == "cancelled"
    assert entry["text"].startswith(text)
    answer = await staying
    assert answer.ending == "complete"
    assert answer.text == (await servers.ended("stays"))[0]["text"]
    await other.close()
    await servers.idle()
    assert servers.server.figures.counters["replies_abandoned"] == 1
    # What had been handed out is kept, and marked.
    rows = servers.server.store.run("SELECT content FROM messages WHERE interrupted = 1", ())
    assert len(rows) == 1
    assert rows[0][0].startswith(text)


async def test_an_upstream_that_breaks_ends_the_reply_with_an_error(serve: Serve, system: str) -> None:
    servers = await serve(tokens=30)
    user = await servers.user(system)
    faults = ["cut-fin", "cut-rst", "cut-end", "error", "malformed-json"]
    for fault in faults:
        mark = await servers.plan(fault, faults=[{"fault": fault, "at": {"chunk": 5}}])
        answer = await user.ask(f"go {mark}")
        assert answer.ending == "error", fault
        assert answer.error
        assert len(await servers.ended(fault)) == 1, "no second try once the user has text"
    assert (await user.ask(f"and now? {await servers.plan('sound')}")).ending == "complete"
    rows = servers.server.store.run("SELECT content FROM messages WHERE interrupted = 1", ())
    assert len(rows) == len(faults), "what had come is kept"
    await user.close()


async def test_an_upstream_that_refuses_is_explained(serve: Serve, system: str) -> None:
    servers = await serve()
    user = await servers.user(system)
    for status, said in ((500, "error (500)"), (429, "busy")):
        fault = {"fault": "status", "status": status, "should_retry": "false"}
        mark = await servers.plan(f"refused-{status}", faults=[fault])
        answer = await user.ask(f"go {mark}")
        assert (answer.ending, answer.text) == ("error", "")
        assert said in answer.error
    await user.close()


@pytest.mark.parametrize(
    ("caps", "plan", "said", "most"),
    [
        # After the second chunk the upstream says nothing for ever: only a cap can end this, however fast the machine.
        (Caps(idle_s=0.5), {**LONG, "faults": [{"fault": "stall-forever", "at": {"chunk": 2}}]}, "silent", 2),
        (Caps(duration_s=0.5), LONG, "longer", 1999),
        (Caps(chunks=5), LONG, "parts", 5),
    ],
    ids=["idle", "duration", "chunks"],
)
async def test_a_cap_ends_the_reply_and_the_model(
    serve: Serve, system: str, caps: Caps, plan: dict[str, Any], said: str, most: int
) -> None:
    servers = await serve()
    user = await servers.user(system)
    servers.cap(caps)
    answer = await user.ask(f"go {await servers.plan('capped', **plan)}")
    assert answer.ending == "error"
    assert said in answer.error
    # Each reply would go on for 40 s or for ever: it is over because the chat server has left it.
    (entry,) = await servers.ended("capped")
    assert entry["ended"] == "cancelled"
    tokens = entry["text"].split(" ")
    assert answer.text == " ".join(tokens[: len(answer.text.split())]), "what came is the beginning, undamaged"
    assert len(answer.text.split()) <= most
    if said == "parts":
        assert len(answer.text.split()) == most


async def test_a_failing_store_does_not_end_a_reply(serve: Serve, system: str, tmp_path: Path) -> None:
    servers = await serve(db=str(tmp_path / "chat.db"))
    user = await servers.user(system)
    mark = await servers.plan("unstored", profile=SLOW, tokens=10)
    asking = asyncio.create_task(user.ask(f"go {mark}"))
    while servers.server.figures.streams == 0:
        await asyncio.sleep(0.005)
    locker = sqlite3.connect(tmp_path / "chat.db", isolation_level=None)
    locker.execute("BEGIN EXCLUSIVE")
    answer = await asking
    assert answer.ending == "complete"
    assert answer.text == (await servers.ended("unstored"))[0]["text"]
    assert servers.server.figures.counters["store_failures"] > 0
    locker.rollback()
    locker.close()
    assert (await user.ask("and now?")).ending == "complete"
    assert (await user.messages())[-1]["role"] == "assistant"
    await user.close()


async def test_too_many_messages_are_refused(serve: Serve) -> None:
    servers = await serve(rate_limit_per_s=1 / 3600)
    statuses = [(await servers.call("GET", "/chat/preferences"))[0] for _ in range(2)]
    assert statuses == [200, 429]
    assert (await servers.call("GET", "/chat/preferences", token="bob-token"))[0] == 200, "each user has a bucket"
    async with servers.http.get(
        servers.url + "/chat/preferences", headers={"authorization": "Bearer alice-token"}
    ) as response:
        assert int(response.headers["retry-after"]) >= 1


async def test_many_replies_at_once_are_not_mixed_up(serve: Serve, system: str) -> None:
    servers = await serve()
    users = [await servers.user(system) for _ in range(12)]
    marks = [await servers.plan(f"many-{number}", profile=SLOW, tokens=8, seed=number) for number in range(len(users))]
    answers = await asyncio.gather(*(user.ask(f"go {mark}") for user, mark in zip(users, marks, strict=True)))
    for number, answer in enumerate(answers):
        assert answer.ending == "complete"
        assert answer.text == (await servers.ended(f"many-{number}"))[0]["text"]
    for user in users:
        await user.close()
    await servers.idle()


async def test_an_upstream_that_dies_ends_its_replies_and_nothing_else(serve: Serve, system: str) -> None:
    servers = await serve()
    user = await servers.user(system)
    asking = asyncio.create_task(user.ask(f"go {await servers.plan('dies', **LONG)}"))
    while not await servers.entries("dies"):
        await asyncio.sleep(0.01)
    await servers.runners.pop().cleanup()
    answer = await asking
    assert answer.ending == "error"
    assert answer.error
    await user.close()
    await servers.idle()


@pytest.mark.parametrize("system", ["thread-events", "room-chat", "assistant-ws"])
async def test_a_client_that_stops_reading_is_dropped_and_stops_the_model(
    serve: Serve, system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("sse", "connection", "systems.room_chat"):
        monkeypatch.setattr(f"mock_openai.chat.{module}.UNREAD_S", 0.3)
    servers = await serve()
    # Far more than the sockets' buffers hold: where the text so far comes with every piece, and else by words that JSON
    # makes six times as long.
    more = {"query": "&content=accumulated"} if system == "assistant-ws" else {}
    user = await servers.user(system, **more)
    flood = {"text": f"{499 * chr(1)} " * 2000} if system == "thread-events" else {"tokens": 2000}
    mark = await servers.plan("flood", **flood)
    events = user.events(f"go {mark}", "rapid")
    await anext(events)
    user.stop_reading()
    async with asyncio.timeout(60):
        while servers.server.figures.counters["replies_abandoned"] == 0:
            await asyncio.sleep(0.01)
    user.hang_up()
    await events.aclose()
    await servers.idle()


def of_the_server(task: asyncio.Task[Any]) -> bool:
    """Whether a task of this process runs the chat server's code or the Socket.IO library's server.

    The server's own code is often deep inside a task: a route runs in a task of aiohttp's.
    """
    parts = (str(Path(chat.__file__).parent), "engineio/async_s", "socketio/async_s")
    waiting: Any = task.get_coro()
    while waiting is not None:
        code = getattr(waiting, "cr_code", None) or getattr(waiting, "ag_code", None)
        if code is not None and any(part in code.co_filename for part in parts):
            return code.co_name not in LIBRARY_TASKS
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "ag_await", None)
    return False


async def test_nothing_is_left_behind(serve: Serve, system: str) -> None:
    servers = await serve()
    left, heard = await servers.plan("left", **LONG), await servers.plan("heard", profile=SLOW, tokens=5)
    for _ in range(5):
        staying, leaving = await servers.user(system), await servers.user(system)
        answer, _ = await asyncio.gather(staying.ask(f"go {heard}"), leaving.ask_and_leave(f"go {left}"))
        assert answer.ending == "complete"
        await staying.close()
    user = await servers.user(system)
    async with aclosing(user.events(f"go {left}", None)) as events:
        await anext(events)
        assert any(of_the_server(task) for task in asyncio.all_tasks()), "a reply that is coming is seen"
        user.hang_up()
    await servers.idle()
    async with asyncio.timeout(PATIENCE_S):
        while any(of_the_server(task) for task in asyncio.all_tasks()):
            await asyncio.sleep(0.01)
    assert {entry["ended"] for entry in await servers.ended("left", 6)} == {"cancelled"}
