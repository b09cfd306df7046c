"""Starts a program, keeps its output, and ends it with every process it started, whatever happens to streambench.

It runs as a process of its own (`python -m streambench.load.guard`) between streambench and the program, since a
process that is killed cannot clean up. Its first line of input is the order, as JSON: `words`, `env`, `cwd`, `log`,
and `secrets`, pairs of what must not stand in the log and what stands there instead. It answers with a JSON line when
the program has started (`pid`), cannot be started (`error`) or has ended (`exit`). When its input ends, because
streambench has ended or was killed, it ends everything.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

from streambench.load.secrets import Secrets

STOP_S = 5.0
POLL_S = 0.05
MAX_LINE_BYTES = 1 << 16
MAX_LOG_BYTES = 64 << 20
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Do what the order on standard input says, until the input ends."""
    order: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    for signum in (signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # what the program leaves behind becomes ours, and is found
    secrets = Secrets()
    for value, shown in order["secrets"]:
        secrets.add(value, shown)
    try:
        program = subprocess.Popen(  # noqa: S603 - the user's own command
            order["words"],
            cwd=order["cwd"],
            env=order["env"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_us,
        )
    except OSError as error:
        _say({"error": error.strerror or str(error)})
        return
    _say({"pid": program.pid})
    assert program.stdout is not None
    try:
        with Path(order["log"]).open("ab", buffering=0) as file:
            _watch(program, Log(file, secrets))
    finally:
        end_all(program.pid)


def _watch(program: subprocess.Popen[bytes], log: Log) -> None:
    """Keep the log until the order ends, or nobody is left who could write into it."""
    assert program.stdout is not None
    ended = {"by": False}

    def stop(*_: object) -> None:
        ended["by"] = True

    signal.signal(signal.SIGTERM, stop)
    output, orders = program.stdout.fileno(), sys.stdin.fileno()
    reading = {output, orders}
    told = False
    while not ended["by"]:
        ready, _, _ = select.select(list(reading), [], [], POLL_S * 4)
        if orders in ready and not os.read(orders, 1024):
            return
        if output in ready:
            piece = os.read(output, 1 << 16)
            if piece:
                log.take(piece)
            else:
                reading.discard(output)
        if not told and program.poll() is not None and output not in ready:
            log.close()
            _say({"exit": program.returncode})
            told = True


class Log:
    """A program's output without secrets, up to a size."""

    def __init__(self, file: BinaryIO | Any, secrets: Secrets) -> None:
        self._file = file
        self._secrets = secrets
        self._rest = b""
        self._left = MAX_LOG_BYTES

    def take(self, piece: bytes) -> None:
        """Write the lines that are complete; a line that never ends is cut."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            self._write(line + b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            self._write(self._rest + b"\n")
            self._rest = b""

    def close(self) -> None:
        """Write what has no end."""
        if self._rest:
            self._write(self._rest + b"\n")
            self._rest = b""

    def _write(self, line: bytes) -> None:
        if self._left <= 0:
            return
        masked = self._secrets(line.decode("utf-8", "replace")).encode("utf-8", "replace")
        self._left -= len(masked)
        self._file.write(masked if self._left > 0 else b"... the log is full\n")


def end_all(leader: int) -> None:
    """End the program's session and every process that descends from us: asked first, then killed."""
    _signal_all(leader, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    while time.monotonic() < deadline:
        _reap()
        if not _descendants() and not _is_group(leader):
            return
        time.sleep(POLL_S)
    while (left := _descendants()) or _is_group(leader):
        _signal_all(leader, signal.SIGKILL)
        _reap()
        if not left:
            return
        time.sleep(POLL_S)


def _signal_all(leader: int, signum: signal.Signals) -> None:
    with contextlib.suppress(OSError):
        os.killpg(leader, signum)
    for pid in _descendants():
        with contextlib.suppress(OSError):
            os.kill(pid, signum)


def _is_group(leader: int) -> bool:
    try:
        os.killpg(leader, 0)
    except OSError:
        return False
    return True


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _descendants() -> list[int]:
    """Every living process below this one, as far as the system tells (Linux)."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # pid (name) state parent: the name may hold anything, but its bracket closes last
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                children.setdefault(int(parent), []).append(int(folder.name))
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _die_with_us() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    """Linux only; elsewhere the session is what is ended."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _say(answer: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
