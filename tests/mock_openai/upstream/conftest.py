"""One real server for most tests of the upstream, and what a test does with it."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx
import pytest
from openai import OpenAI

from tools import programs

PROMPT_NUMBERS = count()


@dataclass(frozen=True)
class Upstream:
    """A running fake upstream."""

    url: str
    process: programs.Process

    @property
    def pid(self) -> int:
        return self.process.pid

    def end(self) -> None:
        """SIGTERM, which is to be honoured whatever its clients do."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def sdk(self, **options: Any) -> OpenAI:
        """The official client; without retries unless asked for."""
        return OpenAI(base_url=self.base_url, api_key="sk-test", **{"max_retries": 0, **options})

    def plan(self, **plan: Any) -> str:
        """Store a plan under a new id; returns the prompt whose mark asks for it."""
        name = plan.pop("id", None) or f"plan{next(PROMPT_NUMBERS)}"
        answer = httpx.post(f"{self.url}/_mock/plans", json={"id": name, **plan})
        assert answer.status_code == 201, answer.text
        return f"Say something. [[sb:{name}]]"

    def entries(self, prompt: str) -> list[dict[str, Any]]:
        """The journal's entries of a prompt, as they are now."""
        answer = httpx.get(f"{self.url}/_mock/journal", params={"id": mark_of(prompt)})
        found: list[dict[str, Any]] = answer.json()["entries"]
        return found

    def closed(self, prompt: str, nth: int = 1) -> dict[str, Any]:
        """The nth entry of a prompt's plan once it is over: read from the live journal."""
        plan = mark_of(prompt).split(".")[0]
        with httpx.stream("GET", f"{self.url}/_mock/journal/stream", params={"plan": plan}, timeout=20) as changes:
            for line in changes.iter_lines():
                change = json.loads(line)
                if change["event"] == "closed":
                    nth -= 1
                    if nth == 0:
                        entry: dict[str, Any] = change["entry"]
                        return entry
        raise AssertionError("the journal ended")


def mark_of(prompt: str) -> str:
    return prompt.partition("[[sb:")[2].removesuffix("]]")


def messages(prompt: str) -> list[Any]:
    return [{"role": "user", "content": prompt}]


@pytest.fixture(scope="session")
def start_upstream() -> Iterator[Callable[..., Upstream]]:
    """Starts upstreams with the given options; all of them end with the tests."""
    running: list[programs.Process] = []

    def start(*options: str) -> Upstream:
        command = ("mock_openai", "--json", "--port", "0", "--no-chat")
        process = programs.start(*command, *options, stdout=subprocess.PIPE)
        running.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the upstream ended with {process.wait(10)} before it was ready"
        ready = json.loads(line)
        return Upstream(ready["openai"], process)

    yield start
    for process in running:
        process.send_signal(signal.SIGTERM)
    for process in running:
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture(scope="session")
def upstream(start_upstream: Callable[..., Upstream]) -> Upstream:
    """An upstream that replies with 12 tokens and without any wait."""
    return start_upstream("--profile", "instant", "--tokens", "12")
