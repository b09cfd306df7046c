"""Each defect does what it says, and without it the server does not."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mock_openai.chat.defects.catalogue import DEFECTS
from mock_openai.chat.limits import Caps

Serve = Callable[..., Awaitable[Any]]
Check = Callable[[Any, Path], Awaitable[bool]]

SLOW = {"name": "fixed", "ttft_ms": 0, "gap_ms": 20}
CUT = {"faults": [{"fault": "cut-fin", "at": {"chunk": 5}}]}


async def wrong_content_type(servers: Any, _: Path) -> bool:
    headers = {"authorization": "Bearer alice-token"}
    async with servers.http.post(servers.url + "/api/chat/stream", json={"message": "hi"}, headers=headers) as response:
        return bool(response.content_type == "text/plain")


async def first_ten_history(servers: Any, _: Path) -> bool:
    user = await servers.user("chat-stream")
    for number in range(6):
        await user.ask(f"question {number}")
    await user.ask(f"last {await servers.plan('history')}")
    return "question 0" in str((await servers.ended("history"))[0]["request"])


async def writes_to_others(servers: Any, _: Path) -> bool:
    alice, bob = await servers.user("chat-stream"), await servers.user("chat-stream", "bob-token")
    body = {"message": "mine now", "conversationId": alice.conversation}
    headers = {"authorization": "Bearer bob-token"}
    async with servers.http.post(servers.url + "/api/chat/stream", json=body, headers=headers) as response:
        await response.read()
    assert bob.conversation != alice.conversation
    return "mine now" in str(await alice.messages())


async def no_auth(servers: Any, _: Path) -> bool:
    return bool((await servers.call("GET", "/chat/preferences", token="wrong"))[0] == 200)


async def no_cancel(servers: Any, _: Path) -> bool:
    user = await servers.user("chat-stream")
    await user.ask_and_leave(f"go {await servers.plan('left', profile=SLOW, tokens=20)}")
    (entry,) = await servers.ended("left")
    return bool(entry["ended"] == "complete")


async def no_caps(servers: Any, _: Path) -> bool:
    return servers.server.settings.caps.idle_s > 1e6


async def double_text_on_fallback(servers: Any, _: Path) -> bool:
    user = await servers.user("conversation-stream")
    answer = await user.ask(f"go {await servers.plan('twice', attempts=[CUT])}")
    return bool(answer.ending == "complete" and len(await servers.ended("twice")) == 2)


async def silent_truncation(servers: Any, _: Path) -> bool:
    user = await servers.user("thread-events")
    return bool((await user.ask(f"go {await servers.plan('cut', **CUT)}")).ending == "complete")


async def altered(servers: Any) -> tuple[str, str]:
    """What came, and what should have."""
    user = await servers.user("room-chat-rest")
    text = " ".join(f"wörd{number}" for number in range(15))
    answer = await user.ask(f"go {await servers.plan('text', text=text)}")
    return answer.text, text


async def loses_text(servers: Any, _: Path) -> bool:
    came, text = await altered(servers)
    return len(came) < len(text)


async def doubles_text(servers: Any, _: Path) -> bool:
    came, text = await altered(servers)
    return len(came) > len(text)


async def garbles_unicode(servers: Any, _: Path) -> bool:
    came, text = await altered(servers)
    return came == text.replace("ö", "?")


async def forgets_partial_replies(servers: Any, _: Path) -> bool:
    user = await servers.user("chat-stream")
    await user.ask(f"go {await servers.plan('cut', **CUT)}")
    return [item["role"] for item in await user.messages()] == ["user"]


async def store_failure_ends_stream(servers: Any, folder: Path) -> bool:
    user = await servers.user("chat-stream")
    asking = asyncio.create_task(user.ask(f"go {await servers.plan('slow', profile=SLOW, tokens=10)}"))
    while servers.server.figures.streams == 0:
        await asyncio.sleep(0.005)
    locker = sqlite3.connect(folder / "chat.db", isolation_level=None)
    locker.execute("BEGIN EXCLUSIVE")
    try:
        return bool((await asking).ending != "complete")
    except Exception:
        return True  # the response was cut off
    finally:
        locker.close()


async def leaks_documents(servers: Any, _: Path) -> bool:
    user = await servers.user("thread-events")
    body = {"content": "The vault opens at noon.", "clearance": "secret"}
    await servers.call("POST", f"/chat/threads/{user.thread}/documents", body)
    await user.ask(f"When does the vault open? {await servers.plan('vault')}")
    return "noon" in str((await servers.ended("vault"))[0]["request"])


# The others are each found by a conformance case, which is their test.
CHECKS: dict[str, Check] = {
    name: globals()[name.replace("-", "_")] for name in DEFECTS if name.replace("-", "_") in globals()
}


@pytest.mark.parametrize("defect", CHECKS)
async def test_a_defect_shows_and_the_correct_server_has_none(serve: Serve, defect: str, tmp_path: Path) -> None:
    for defects, expected in ((frozenset({defect}), True), (frozenset[str](), False)):
        folder = tmp_path / str(expected)
        folder.mkdir()
        servers = await serve(db=str(folder / "chat.db"), defects=defects, caps=Caps(idle_s=10))
        assert await CHECKS[defect](servers, folder) is expected


async def test_defects_can_be_combined(serve: Serve) -> None:
    servers = await serve(defects=frozenset(CHECKS))
    user = await servers.user("chat-stream", "wrong-token")
    text = " ".join(f"wörd{number}" for number in range(10))
    mark = await servers.plan("all", text=text)
    headers = {"authorization": "Bearer wrong-token"}
    body = {"message": f"go {mark}", "conversationId": user.conversation}
    async with servers.http.post(servers.url + "/api/chat/stream", json=body, headers=headers) as response:
        assert response.content_type == "text/plain"
        came = await response.text()
    assert "w?rd8" in came
    assert "rd9" not in came
