"""Real software in front of a stream: what the suite finds in it. The docs have all of it (`tools.real_software`)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from streambench.conformance.runner import run_suite
from streambench.conformance.suite import chosen_cases
from streambench.conformance.target import open_subjects
from streambench.load.loading import read_scenario
from tools.real_software import GATEWAY, NGINX_SETTINGS, Software, behind_nginx, litellm, portkey

LITELLM = "python -m venv gateway && gateway/bin/pip install 'litellm[proxy]==1.106.2'"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What was started, until the end of the test."""
    with ExitStack() as started:
        yield started


async def verdicts(software: Software, *cases: str) -> dict[str, str]:
    scenario = read_scenario(json.dumps({"name": "real", "target": software.target}), "real", environ={})
    async with open_subjects(scenario) as (subject,):
        suite = await run_suite(subject, chosen_cases(cases))
    return {result.case.id: str(result.verdict) for result in suite.results}


@pytest.mark.parametrize(
    ("name", "headers", "first"),
    [
        ("nginx, buffering off", "passed", "passed"),
        ("nginx, buffering on", "warning", "passed"),
        ("nginx, HTTP/1.0", "warning", "failed"),
    ],
)
async def test_what_nginx_holds_back(
    name: str,
    headers: str,
    first: str,
    stack: ExitStack,
    component: Callable[[str], str],
    shared_mock: Callable[..., Any],
    tmp_path: Path,
) -> None:
    component("nginx")
    assert name in NGINX_SETTINGS
    servers = shared_mock("--profile", "instant")
    target = {"dialect": "chat-stream", "upstream": servers.openai, "auth": {"bearer": "alice-token"}}
    proxy = behind_nginx(stack, tmp_path, name, servers.chat, Software("reference", "", "", target))
    found = await verdicts(proxy, "http.headers-early", "stream.begins-early", "text.whole")
    assert found == {"http.headers-early": headers, "stream.begins-early": first, "text.whole": "passed"}


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("start", "leaving"), [(portkey, "failed"), (litellm, "passed")])
async def test_a_gateway_streams_and_what_it_hides_is_found(
    start: Callable[[ExitStack, Path, str], Software],
    leaving: str,
    stack: ExitStack,
    component: Callable[[str], str],
    shared_mock: Callable[..., Any],
    tmp_path: Path,
) -> None:
    if start is portkey:
        component("node")
        if not GATEWAY.is_dir():
            component("@portkey-ai/gateway")
    elif "STREAMBENCH_LITELLM" not in os.environ:
        pytest.skip(f"no LiteLLM: {LITELLM}, then set STREAMBENCH_LITELLM=gateway/bin/litellm")
    gateway = start(stack, tmp_path, shared_mock("--no-chat", "--profile", "instant").openai)
    hidden = ("upstream.cut-by-end", "leave.cancels")
    found = await verdicts(gateway, "stream.begins-early", "text.whole", "sse.content-type", *hidden)
    assert [found.pop(case) for case in hidden] == ["failed", leaving]
    assert set(found.values()) == {"passed"}
