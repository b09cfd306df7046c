"""The reference chat server, correct or with a defect, as the target of a suite."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web

from mock_openai.chat.app import create_app
from mock_openai.chat.limits import Caps
from mock_openai.chat.server import ChatSettings
from streambench.conformance.profile import profile_of
from streambench.conformance.subject import Subject
from streambench.conformance.upstream import Upstream
from streambench.dialects import load_dialect
from streambench.units import NS_PER_S

PATHS = {
    "chat-stream": "/api/chat/stream",
    "thread-events": "",
    "conversation-stream": "/api/conversation-stream/alice",
}
IDLE_S = 1.5  # a server that is asked to be patient for 30 s would keep the tests waiting


@pytest.fixture(scope="session")
def upstream_url() -> Iterator[str]:
    """One fake upstream for all suites."""
    command = [sys.executable, "-m", "mock_openai", "--json", "--no-chat", "--port", "0", "--profile", "instant"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield str(json.loads(process.stdout.readline())["openai"])
        process.send_signal(signal.SIGTERM)


@asynccontextmanager
async def reference(upstream_url: str, dialect: str, *defects: str) -> AsyncIterator[Subject]:
    """A system of the reference chat server with some defects, ready to be tested."""
    settings = ChatSettings(upstream=upstream_url, defects=frozenset(defects), caps=Caps(idle_s=IDLE_S))
    runner = web.AppRunner(create_app(settings), access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        async with Upstream(upstream_url, f"t{port}") as upstream:
            yield Subject(
                name=dialect,
                dialect=load_dialect(dialect),
                url=f"http://{host}:{port}{PATHS[dialect]}",
                headers=(("authorization", "Bearer alice-token"),),
                variables={},
                profile=replace(profile_of(dialect), idle_s=IDLE_S),
                upstream=upstream,
                timeout_ns=20 * NS_PER_S,
                verify=True,
                mask=lambda text: text.replace("alice-token", "***").replace("bob-token", "***"),
            )
    finally:
        await runner.cleanup()
