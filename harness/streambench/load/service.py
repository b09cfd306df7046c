"""A server of the user's own while it runs: started on a free port, waited for, and ended with all that it started."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from streambench.clock import MonotonicClock
from streambench.errors import ConfigurationError, TargetUnreachable
from streambench.load.commands import Command
from streambench.load.guard import STOP_S
from streambench.load.secrets import Secrets
from streambench.units import NS_PER_S

TAIL_LINES = 15
TAIL_BYTES = 16_384
ASK_TIMEOUT_S = 2.0
FIRST_PAUSE_S = 0.02
MAX_PAUSE_S = 0.25
HOST = "127.0.0.1"
BAD_REQUEST = 400
UPGRADE_REQUIRED = "426"

_clock = MonotonicClock()

OnDeath = Callable[[str], None]


class Service:
    """An async context manager; inside it the server is ready at `url`, and `pid` is its process.

    `urls` are those of the servers that run already. The log is written to `log`. Where the server ends by itself,
    `on_death` gets a text that says so and shows the end of its log.
    """

    def __init__(
        self, command: Command, urls: Mapping[str, str], log: Path, secrets: Secrets, on_death: OnDeath | None = None
    ) -> None:
        self.name = command.name
        self.url = ""
        self.log = log
        self._port = 0
        self._command = command
        self._urls = urls
        self._secrets = secrets
        self._on_death = on_death
        self._guard: asyncio.subprocess.Process | None = None
        self.pid = 0
        self._ended: asyncio.Task[str] | None = None
        self._is_ready = False
        self._started_ns = 0
        self._last = "it was not asked"

    async def __aenter__(self) -> Self:
        """Start it and wait until it is ready.

        Raises ConfigurationError where it cannot be started, TargetUnreachable where it ends or is not ready in time.
        """
        try:
            self._port = await _listen_once(self._command.port or 0)
        except OSError:
            raise ConfigurationError(
                f"serve.{self.name}: port {self._command.port} is taken by another program: end it, or leave `port` out"
            ) from None
        self.url = f"http://{HOST}:{self._port}"
        self._command = self._command.at(self._port, {**self._urls, self.name: self.url})
        try:
            await self._start()
            await self._wait_until_ready()
        except BaseException:
            await self.__aexit__()
            raise
        self._is_ready = True
        return self

    async def __aexit__(self, *_: object) -> None:
        guard = self._guard
        if guard is None:
            return
        self._is_ready = False
        if self._ended is not None:
            self._ended.cancel()
        assert guard.stdin is not None
        guard.stdin.close()  # the end of the order is the order to end
        try:
            async with asyncio.timeout(STOP_S + 3):
                await guard.wait()
        except TimeoutError:
            guard.kill()
            await guard.wait()
            with contextlib.suppress(OSError):
                os.killpg(self.pid, 9)
        self._guard = None

    async def _start(self) -> None:
        command = self._command
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._guard = guard = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # what lies in the working directory is no part of it
            "-m",
            "streambench.load.guard",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us: the server is needed until the last stream is recorded
        )
        assert guard.stdin is not None
        order = {
            "words": command.words,
            "env": {**os.environ, **command.env},
            "cwd": str(command.cwd),
            "log": str(self.log.absolute()),
            "secrets": self._secrets.given,
        }
        guard.stdin.write(json.dumps(order).encode() + b"\n")
        self._started_ns = _clock.now_ns()
        answer = await self._answer()
        if "error" in answer:
            with contextlib.suppress(OSError):
                self.log.parent.rmdir()  # there is nothing to keep
            raise command.cannot_start(answer["error"])
        self.pid = answer["pid"]
        self._ended = asyncio.create_task(self._watch())

    async def _answer(self) -> dict[str, Any]:
        assert self._guard is not None
        assert self._guard.stdout is not None
        line = await self._guard.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "what guards it has ended"}
        return answer

    async def _watch(self) -> str:
        """Wait until the server ends by itself; returns what to say of it."""
        code = (await self._answer()).get("exit")
        seconds = (_clock.now_ns() - self._started_ns) / NS_PER_S
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        text = f"serve.{self.name} {how} after {seconds:.1f} s{self._tail()}"
        if self._is_ready and self._on_death is not None:
            self._on_death(text)
        return text

    async def _wait_until_ready(self) -> None:
        assert self._ended is not None
        asking = asyncio.create_task(self._ask_until_ready())
        within_s = self._command.within_ns / NS_PER_S
        try:
            await asyncio.wait({asking, self._ended}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                asking.result()
                return
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        if self._ended.done():
            raise TargetUnreachable(
                f"{self._ended.result()}\nIt must keep running, and listen on port {self._port} (${{port}})."
            )
        raise TargetUnreachable(
            f"serve.{self.name} was not ready within {within_s:g} s: {self._last}{self._tail()}\n"
            f"It must listen on {HOST}, port {self._port} (${{port}}); `ready: {{within: …}}` gives it more time."
        )

    async def _ask_until_ready(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not await self._answers():
            await asyncio.sleep(pause_s)
            pause_s = min(MAX_PAUSE_S, pause_s * 1.5)

    async def _answers(self) -> bool:
        """Whether it is ready now; else `_last` says why not."""
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(HOST, self._port)
                try:
                    path = self._command.ready_path
                    if path is None:
                        return True
                    writer.write(
                        f"GET {path} HTTP/1.1\r\nHost: {HOST}:{self._port}\r\nConnection: close\r\n\r\n".encode()
                    )
                    line = (await reader.readline()).decode("latin-1").strip()
                finally:
                    writer.close()
        except TimeoutError:
            self._last = "it did not answer in time"
            return False
        except (OSError, ValueError) as error:
            self._last = f"nothing listens on port {self._port} ({error.__class__.__name__})"
            return False
        status = line.split(" ")[1] if line.startswith("HTTP/") and " " in line else ""
        self._last = f"GET {path} was answered {line!r}"
        if status == UPGRADE_REQUIRED:
            self._last += ", so that path is a WebSocket's: leave `http` out of `ready` to wait for the port only"
        elif status.isdecimal() and int(status) >= BAD_REQUEST:
            self._last += "; it must be below 400, or name another path: `ready: {http: PATH}`"
        return status.isdecimal() and int(status) < BAD_REQUEST

    def _tail(self) -> str:
        """The end of the log, and where all of it is."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
                lines = file.read(TAIL_BYTES).decode("utf-8", "replace").splitlines()
        except OSError:
            lines = []
        if not lines:
            return "; its log is empty"
        shown = "\n".join(f"  | {line}" for line in lines[-TAIL_LINES:])
        return f"; the end of its log ({self.log}):\n{shown}"


async def _listen_once(port: int) -> int:
    """Listen and leave again; returns the port. Raises OSError where somebody else listens there."""
    server = await asyncio.start_server(lambda *_: None, HOST, port)
    chosen: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return chosen
