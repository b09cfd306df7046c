"""Orders to the fake upstream, against a real one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from streambench.errors import ConfigurationError, TargetUnreachable
from streambench.upstream.plans import Plan, delete_plans, marked, post_plans


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as one:
        yield one


def test_a_mark_names_the_plan_and_the_stream() -> None:
    assert Plan("ab-0").mark_of(7) == "ab-0.7"
    assert marked("Explain", "ab-0.7") == "Explain [[sb:ab-0.7]]"


def test_what_nobody_ordered_is_left_to_the_upstream() -> None:
    assert Plan("a").to_json() == {"id": "a", "seed": 0}
    full = Plan("a", seed=3, tokens=0, profile={"name": "fixed"}, faults=("stall",))
    assert full.to_json() == {"id": "a", "seed": 3, "tokens": 0, "profile": {"name": "fixed"}, "faults": ["stall"]}


async def test_plans_are_stored_and_taken_back(client: httpx.AsyncClient, start_mock: Callable[..., Any]) -> None:
    url = start_mock("--no-chat").openai
    plans = [Plan("one", tokens=3), Plan("two")]

    async def stored() -> set[str]:
        answer = (await client.get(f"{url}/_mock/plans")).json()
        return {plan["id"] if isinstance(plan, dict) else plan for plan in answer["plans"]}

    await post_plans(client, url, plans)
    assert await stored() == {"one", "two"}
    await delete_plans(client, url, plans[:1])
    assert await stored() == {"two"}


async def test_an_upstream_that_refuses_says_why(client: httpx.AsyncClient, start_mock: Callable[..., Any]) -> None:
    url = start_mock("--no-chat").openai
    with pytest.raises(ConfigurationError, match="no-such-profile"):
        await post_plans(client, url, [Plan("one", profile="no-such-profile")])
    with pytest.raises(ConfigurationError, match="refused the plan"):
        await post_plans(client, url, [Plan("one", faults=("no-such-fault",))])


async def test_something_else_under_that_url(client: httpx.AsyncClient) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnope")
        writer.close()

    server = await asyncio.start_server(other, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with pytest.raises(ConfigurationError, match="is not the fake upstream"):
        await post_plans(client, url, [Plan("one")])
    server.close()


async def test_no_upstream_at_all(client: httpx.AsyncClient) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(TargetUnreachable, match="does not answer"):
        await post_plans(client, url, [Plan("one")])
    await delete_plans(client, url, [Plan("one")])  # one that is gone keeps none
