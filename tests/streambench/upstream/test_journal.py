"""The live journal, joined with what was asked, against a real upstream."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from streambench.clock import MonotonicClock
from streambench.errors import TargetUnreachable
from streambench.record.model import UpstreamExchange
from streambench.upstream.journal import JournalFeed
from streambench.upstream.plans import Plan, marked, post_plans

S = 1_000_000_000


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as one:
        yield one


async def complete(client: httpx.AsyncClient, url: str, mark: str) -> str:
    """The text of a streamed reply to a marked prompt."""
    body = {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": marked("hi", mark)}]}
    text = ""
    async with client.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
        assert response.status_code == 200
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                for choice in json.loads(line[6:]).get("choices", []):
                    text += choice["delta"].get("content") or ""
    return text


async def test_what_was_written_for_each_mark(client: httpx.AsyncClient, shared_mock: Callable[..., Any]) -> None:
    url = shared_mock("--no-chat").openai
    plans = [Plan("short", tokens=5, profile="instant"), Plan("long", tokens=30, profile="instant")]
    await post_plans(client, url, plans)
    async with JournalFeed(url, plans, client) as feed:
        before_ns = MonotonicClock().now_ns()
        marks = ["short.0", "long.1", "short.2", "long.3"]
        texts = await asyncio.gather(*(complete(client, url, mark) for mark in marks))
        after_ns = MonotonicClock().now_ns()
        for mark, text in zip(marks, texts, strict=True):
            (exchange,) = await feed.exchanges(mark, 30)
            assert exchange.text == text
            assert exchange.offset[-1] == len(text)
            assert exchange.ended == "complete"
            assert (exchange.status, exchange.attempt, exchange.finish, exchange.clock_error_ns) == (200, 1, "stop", 0)
            assert len(exchange.written_ns) == len(exchange.offset) == len(exchange.scheduled_ns)
            moments = [exchange.arrived_ns, exchange.headers_ns, *exchange.written_ns, exchange.ended_ns]
            assert moments == sorted(moments)  # type: ignore[type-var]
            assert before_ns <= exchange.arrived_ns
            assert exchange.written_ns[-1] <= after_ns
        assert len({text for text in texts if text}) == 4


async def test_several_attempts_come_in_their_order(client: httpx.AsyncClient, shared_mock: Callable[..., Any]) -> None:
    url = shared_mock("--no-chat").openai
    plan = Plan("several", tokens=4, profile="instant")
    await post_plans(client, url, [plan])
    async with JournalFeed(url, [plan], client) as feed:
        for _ in range(3):
            await complete(client, url, "several.1")
        exchanges: list[UpstreamExchange] = []
        # Each is joined when it has ended; the feed may be behind by one.
        while len(exchanges) < 3:
            exchanges += await feed.exchanges("several.1", 30)
        assert [exchange.attempt for exchange in exchanges] == [1, 2, 3]


async def test_a_mark_that_never_came_has_nothing(client: httpx.AsyncClient, shared_mock: Callable[..., Any]) -> None:
    url = shared_mock("--no-chat").openai
    plan = Plan("never")
    await post_plans(client, url, [plan])
    async with JournalFeed(url, [plan], client) as feed:
        assert await feed.exchanges("never.9", 0.05) == []


async def test_a_request_that_is_still_open_is_told_as_it_is(
    client: httpx.AsyncClient, shared_mock: Callable[..., Any]
) -> None:
    url = shared_mock("--no-chat").openai
    plan = Plan("open", tokens=50, profile={"name": "fixed", "ttft_ms": 0, "gap_ms": 60_000})
    await post_plans(client, url, [plan])
    async with JournalFeed(url, [plan], client) as feed:
        asking = asyncio.create_task(complete(client, url, "open.1"))
        exchanges: list[UpstreamExchange] = []
        while not exchanges or not exchanges[0].written_ns:
            exchanges = await feed.exchanges("open.1", 0.05)
        assert exchanges[0].ended == "open"
        assert exchanges[0].ended_ns is None
        # And when the client leaves, the cancel is seen.
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        while exchanges[0].ended == "open":
            exchanges = await feed.exchanges("open.1", 30) or exchanges
        assert exchanges[0].ended == "cancelled"
        assert exchanges[0].cancelled_ns is not None


async def test_other_plans_are_not_followed(client: httpx.AsyncClient, shared_mock: Callable[..., Any]) -> None:
    url = shared_mock("--no-chat").openai
    mine, other = Plan("mine", tokens=3, profile="instant"), Plan("other", tokens=3, profile="instant")
    await post_plans(client, url, [mine, other])
    async with JournalFeed(url, [mine], client) as feed:
        await complete(client, url, "other.1")
        await complete(client, url, "mine.1")
        assert len(await feed.exchanges("mine.1", 30)) == 1


# With a scripted upstream, for what a good one does not do


def entry(mark: str, *, seq: int = 1, ended: str = "complete", **more: Any) -> dict[str, Any]:
    return {
        "seq": seq,
        "mark": mark,
        "plan": "p",
        "attempt": seq,
        "arrived_ns": 1000,
        "headers_ns": 1001,
        "status": 200,
        "profile": "x",
        "text": "hi",
        "finish": "stop",
        "ended": ended,
        "ended_ns": 1005,
        "cancelled_ns": None,
        "written_after_cancel": 0,
        "faults": [{"fault": "stall", "at": 1}],
        "chunks": {"scheduled_ns": [1002], "written_ns": [1003], "offset": [2]},
        **more,
    }


def scripted(streams: list[list[Any]], journal: Callable[[], list[dict[str, Any]]] = list) -> httpx.AsyncClient:
    """An upstream of another host, 100 ns ahead, whose n-th live journal is the n-th script of lines."""
    left = iter(streams)

    class Lines(httpx.AsyncByteStream):
        def __init__(self, lines: list[Any]) -> None:
            self.lines = lines

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for line in self.lines:
                if line is None:
                    await asyncio.Event().wait()
                yield line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"

    def answer(request: httpx.Request) -> httpx.Response:
        match request.url.path:
            case "/_mock/health":
                return httpx.Response(200, json={"now_ns": time.monotonic_ns() + 100, "boot_id": None})
            case "/_mock/journal/stream":
                lines = next(left, None)
                return httpx.Response(503) if lines is None else httpx.Response(200, stream=Lines(lines))
        return httpx.Response(200, json={"entries": journal()})

    return httpx.AsyncClient(transport=httpx.MockTransport(answer))


def closed(entry_: dict[str, Any]) -> dict[str, Any]:
    return {"event": "closed", "entry": entry_}


async def exchanges(client: httpx.AsyncClient, mark: str = "p.1", timeout_s: float = 30) -> list[UpstreamExchange]:
    async with JournalFeed("http://u", [Plan("p")], client) as feed:
        return await feed.exchanges(mark, timeout_s)


async def test_a_lost_connection_is_opened_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streambench.upstream.journal.RETRY_S", 0)
    (found,) = await exchanges(scripted([[], [{"event": "ping", "now_ns": 1}], [closed(entry("p.1")), None]]))
    assert found.faults == ["stall"]


@pytest.mark.parametrize("strange", [b"not json\n", b"[1]\n", b"{}\n", {"event": "opened", "entry": {}}, b"\n"])
async def test_lines_that_make_no_sense_stop_nothing(monkeypatch: pytest.MonkeyPatch, strange: Any) -> None:
    monkeypatch.setattr("streambench.upstream.journal.RETRY_S", 0)
    lines = [strange, closed(entry("p.1")), None]
    assert len(await exchanges(scripted([lines, [closed(entry("p.1")), None]]))) == 1


async def test_an_open_attempt_is_waited_for() -> None:
    first, second = entry("p.1", ended="fault"), entry("p.1", seq=2, ended="open", chunks=None, ended_ns=None)
    lines = [
        {"event": "opened", "entry": second},
        closed(first),
        closed(entry("p.1", seq=2)),
        None,
    ]
    found = await exchanges(scripted([lines]))
    assert [(one.attempt, one.ended) for one in found] == [(1, "fault"), (2, "complete")]


async def test_after_the_timeout_the_journal_is_asked() -> None:
    open_entry = entry("p.1", ended="open", ended_ns=None)
    (found,) = await exchanges(scripted([[None]], lambda: [open_entry]), timeout_s=0.01)
    assert (found.ended, found.ended_ns, found.offset) == ("open", None, [2])


async def test_the_stamps_of_another_host_are_on_our_clock() -> None:
    (found,) = await exchanges(scripted([[closed(entry("p.1")), None]]))
    # The upstream is 100 ns ahead; an exchange with it takes its time, which is the error.
    assert abs(found.arrived_ns - 900) <= found.clock_error_ns
    assert found.written_ns[0] - found.arrived_ns == 3
    assert found.clock_error_ns > 0
    assert (found.cancelled_ns, found.headers_ns) == (None, found.arrived_ns + 1)


@pytest.mark.parametrize(
    "health", [httpx.Response(500), httpx.Response(200, text="hello"), httpx.Response(200, json={}), None]
)
async def test_an_upstream_without_a_journal_is_unreachable(
    monkeypatch: pytest.MonkeyPatch, health: httpx.Response | None
) -> None:
    monkeypatch.setattr("streambench.upstream.journal.READY_TIMEOUT_S", 0.01)

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/_mock/health":
            return health or httpx.Response(200, json={"now_ns": 1, "boot_id": None})
        await asyncio.Event().wait()
        raise AssertionError

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    with pytest.raises(TargetUnreachable, match="http://u"):
        async with JournalFeed("http://u", [Plan("p")], client):
            pass
    assert len(asyncio.all_tasks()) == 1
