"""The bundled servers as children: ready, reachable, and gone afterwards."""

from __future__ import annotations

import os

import httpx
import pytest

from streambench.errors import ConfigurationError
from streambench.load.serve import Serve
from streambench.load.servers import BundledServers, chat_arguments


def test_the_options_of_the_chat_server() -> None:
    assert chat_arguments({}) == []
    assert chat_arguments({"users": None}) == []
    assert chat_arguments({"streaming": "paced", "db": ":memory:", "rate_limit": "5/s", "users": {"ada": "t1"}}) == [
        *("--streaming", "paced", "--db", ":memory:", "--rate-limit", "5/s", "--user", "ada:t1")
    ]


async def test_servers_start_and_end_with_the_run() -> None:
    async with BundledServers(Serve({}, {})) as servers, httpx.AsyncClient(trust_env=False) as client:
        assert set(servers.urls) == {"openai", "chat"}
        health = (await client.get(f"{servers.urls['openai']}/_mock/health")).json()
        assert health["status"] == "ok"
        pid = health["pid"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_an_upstream_of_several_workers_is_one_to_its_client() -> None:
    async with BundledServers(Serve({"workers": 2})) as servers, httpx.AsyncClient(trust_env=False) as client:
        assert list(servers.pids) == ["openai", "openai worker 1", "openai worker 2"]
        health = (await client.get(f"{servers.urls['openai']}/_mock/health")).json()
        assert [worker["pid"] for worker in health["workers"]] == list(servers.pids.values())[1:]


async def test_nothing_is_started_that_nobody_asked_for() -> None:
    async with BundledServers(Serve()) as servers:
        assert servers.urls == {}


async def test_a_server_that_does_not_start_says_why() -> None:
    with pytest.raises(ConfigurationError, match="mock_openai") as caught:
        async with BundledServers(Serve({"seed": "no number"}, None)):
            pass
    assert "no number" in str(caught.value)
