"""The bundled servers as child processes on free loopback ports; they end with the run."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Self

from streambench.errors import ConfigurationError, StreambenchError
from streambench.load.serve import Serve

READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 3.0
LIMIT_BYTES = 1 << 20


class BundledServers:
    """An async context manager; `urls` and `pids` are those of the started servers, by their name in the scenario."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._children: list[asyncio.subprocess.Process] = []
        self._discarding: list[asyncio.Task[None]] = []
        self.urls: dict[str, str] = {}
        self.pids: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        try:
            if self._serve.openai is not None:
                ready = await self._start("mock_openai", upstream_arguments(self._serve.openai))
                self.urls["openai"], self.pids["openai"] = ready["openai"], ready["pid"]
                for number, pid in enumerate(ready["workers"], start=1):
                    self.pids[f"openai worker {number}"] = pid
            if self._serve.chat is not None:
                arguments = ["--upstream", self.urls["openai"], *chat_arguments(self._serve.chat)]
                ready = await self._start("mock_openai.chat", arguments)
                self.urls["chat"], self.pids["chat"] = ready["chat"], ready["pid"]
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for child in reversed(self._children):
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    child.terminate()
        for child in self._children:
            try:
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await child.wait()
            except TimeoutError:
                child.kill()
                await child.wait()

    async def _start(self, module: str, arguments: Sequence[str]) -> dict[str, Any]:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # what lies in the working directory is no part of it
            "-m",
            module,
            "--json",
            "--port",
            "0",
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LIMIT_BYTES,
            process_group=0,  # Ctrl-C is for us: the servers are needed until the last stream is recorded
        )
        self._children.append(child)
        assert child.stdout is not None
        assert child.stderr is not None
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                line = await child.stdout.readline()
        except TimeoutError:
            raise StreambenchError(f"the bundled server {module} was not ready within {READY_TIMEOUT_S:g} s") from None
        if not line:
            said = (await child.stderr.read(LIMIT_BYTES)).decode("utf-8", "replace").strip().splitlines()
            why = next((line for line in reversed(said) if not line.startswith("See ")), "no reason")
            raise ConfigurationError(f"the bundled server {module} did not start: {why}")
        # Nobody reads what it says later; a full pipe would stop it.
        self._discarding.append(asyncio.create_task(_discard(child.stderr)))
        ready: dict[str, Any] = json.loads(line)
        return ready


async def _discard(stream: asyncio.StreamReader) -> None:
    while await stream.read(1 << 16):
        pass


def upstream_arguments(options: Mapping[str, Any]) -> list[str]:
    """The command line of the fake upstream for the scenario's `serve.openai`; the plans have the rest."""
    arguments = ["--no-chat"]
    for key in ("seed", "style", "workers"):
        if key in options:
            arguments += [f"--{key}", str(options[key])]
    return arguments


def chat_arguments(options: Mapping[str, Any]) -> list[str]:
    """The command line of the chat server for the scenario's `serve.chat`."""
    arguments: list[str] = []
    for key, option in (("streaming", "--streaming"), ("db", "--db"), ("rate_limit", "--rate-limit")):
        if key in options:
            arguments += [option, str(options[key])]
    for name, token in (options.get("users") or {}).items():
        arguments += ["--user", f"{name}:{token}"]
    return arguments
