"""Our programs, each in a process of its own that is forked from one which has imported them.

`start("streambench", "check", …)` is `python -m streambench check …` without the imports, which are most of what a
short command costs. `python -m` itself stays tested where starting is what counts.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self

ROOT = Path(__file__).resolve().parents[1]
# What a program imports, at the latest when it does its work.
IMPORTED = {
    "mock_openai": ("mock_openai.cli",),
    "mock_openai.chat": ("mock_openai.chat.app", "mock_openai.chat.options", "openai", "socketio"),
    "pytest": ("pytest", "streambench.conformance.suite", "streambench.conformance.target", "streambench.load.loading"),
    "streambench": (
        *("streambench.cli.run", "streambench.cli.check", "streambench.cli.probe", "streambench.cli.conform"),
        *("streambench.cli.har", "streambench.cli.progress", "streambench.cli.report", "streambench.cli.reporting"),
        *("streambench.cli.locust", "streambench.cli.stream_text", "streambench.cli.waterfall", "httpx"),
        *("streambench.analysis.encodings", "streambench.conformance.suite", "streambench.conformance.target"),
        *("streambench.dialects.infer", "streambench.drivers.http_user", "streambench.drivers.socket_user"),
        *("streambench.load.loading", "streambench.load.probe", "streambench.load.run", "streambench.load.workers"),
        *("streambench.report.conformance", "streambench.report.conformance_text", "streambench.report.folder"),
        *("streambench.report.export.html", "streambench.report.export.junit", "streambench.report.export.markdown"),
        *("streambench.report.plots", "streambench.report.terminal", "matplotlib.figure"),
        *("jsonschema_rs", "ruamel.yaml"),
    ),
}
STATUS = struct.Struct("i")
MAX_REQUEST = 1 << 20


class Process:
    """A started program, as `subprocess.Popen` with `text=True` would have it."""

    def __init__(self, pid: int, status: socket.socket, stdin: int | None, stdout: int | None, stderr: int | None):
        self.pid = pid
        self.returncode: int | None = None
        self._status = status
        self.stdin: IO[str] | None = None if stdin is None else os.fdopen(stdin, "w")
        self.stdout: IO[str] | None = None if stdout is None else os.fdopen(stdout)
        self.stderr: IO[str] | None = None if stderr is None else os.fdopen(stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()
        self._close()

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, negative for a signal. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            said = self._status.recv(STATUS.size)
            assert said, "the process that forks has ended"
            self.returncode = os.waitstatus_to_exitcode(STATUS.unpack(said)[0])
            self._status.close()
        return self.returncode

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def send_signal(self, signum: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, signum)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, text: str | None = None, timeout: float | None = None) -> tuple[str, str]:
        """Write to it, read all that it writes, and wait for its end. Raises subprocess.TimeoutExpired."""
        read = {"stdout": "", "stderr": ""}

        def drain(name: str, stream: IO[str]) -> None:
            read[name] = stream.read()

        streams = [(name, stream) for name in read if (stream := getattr(self, name)) is not None]
        readers = [threading.Thread(target=drain, args=pair, daemon=True) for pair in streams]
        for reader in readers:
            reader.start()
        if self.stdin is not None:
            with suppress(BrokenPipeError):
                self.stdin.write(text or "")
                self.stdin.close()
        self.wait(timeout)
        for reader in readers:
            reader.join(timeout)
            if reader.is_alive():  # somebody whom it has started keeps the other end
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        self._close()
        return read["stdout"], read["stderr"]

    def _close(self) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()


def start(
    module: str,
    *arguments: str,
    cwd: Path | str | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
) -> Process:
    """Start `python -m MODULE ARGUMENTS`; what it reads and writes is as for `subprocess.Popen`."""
    return _forker().start({"module": module, "arguments": arguments, "cwd": str(cwd or Path.cwd()),
                            "env": dict(os.environ if env is None else env)}, stdin, stdout, stderr)  # fmt: skip


def run(
    module: str,
    *arguments: str,
    cwd: Path | str | None = None,
    env: Mapping[str, str] | None = None,
    text: str | None = None,
    timeout: float = 100,
) -> subprocess.CompletedProcess[str]:
    """What becomes of `python -m MODULE ARGUMENTS` with `text` on standard input. Raises subprocess.TimeoutExpired."""
    pipe = subprocess.PIPE
    with_input = subprocess.DEVNULL if text is None else pipe
    process = start(module, *arguments, cwd=cwd, env=env, stdin=with_input, stdout=pipe, stderr=pipe)
    try:
        out, err = process.communicate(text, timeout)
    except BaseException:
        process.kill()
        raise
    return subprocess.CompletedProcess([module, *arguments], process.wait(), out, err)


class _Forker:
    """The process that has imported everything, and its end of the conversation with it."""

    def __init__(self) -> None:
        self._ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            command = [sys.executable, __file__, str(its.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[its.fileno()], cwd=ROOT)
        self._lock = threading.Lock()

    def start(self, job: dict[str, Any], *wanted: int | None) -> Process:
        theirs: list[int] = []
        ours: list[int | None] = []
        to_close: list[int] = []
        for number, what in enumerate(wanted):
            if what == subprocess.PIPE:
                reads, writes = os.pipe()
                theirs.append(reads if number == 0 else writes)
                ours.append(writes if number == 0 else reads)
                to_close.append(theirs[-1])
            elif what == subprocess.DEVNULL:
                to_close.append(os.open(os.devnull, os.O_RDWR))
                theirs.append(to_close[-1])
                ours.append(None)
            else:
                theirs.append(number if what is None else what)
                ours.append(None)
        status, its_status = socket.socketpair()
        with its_status, self._lock:
            socket.send_fds(self._ours, [json.dumps(job).encode()], [*theirs, its_status.fileno()])
            pid = json.loads(self._ours.recv(100))
        for descriptor in to_close:
            os.close(descriptor)
        return Process(pid, status, *ours)

    def close(self) -> None:
        self._ours.close()
        self._process.wait()


_forkers: list[_Forker] = []


def _forker() -> _Forker:
    if not _forkers:
        _forkers.append(_Forker())
        atexit.register(_forkers[0].close)
    return _forkers[0]


def _serve(conversation: socket.socket) -> dict[str, Any] | None:
    """Fork for each job. Returns it in the process that is to do it, and None when nobody is left to ask."""
    imports = dict(IMPORTED)
    running: dict[int, socket.socket] = {}
    woken, wakes = socket.socketpair()
    wakes.setblocking(False)
    signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready = select.select([conversation, woken], [], [])[0]
        if woken in ready:
            woken.recv(4096)
            for pid in list(running):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    with running.pop(pid) as asker, suppress(OSError):
                        asker.sendall(STATUS.pack(status))
        if conversation in ready:
            request, descriptors, *_ = socket.recv_fds(conversation, MAX_REQUEST, 4)
            if not request:
                return None
            job: dict[str, Any] = json.loads(request)
            for name in imports.pop(job["module"], ()):
                importlib.import_module(name)
            gc.freeze()  # no child copies these for its own collections
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for one in (conversation, woken, wakes, *running.values()):
                    one.close()
                for number, descriptor in enumerate(descriptors[:3]):
                    os.dup2(descriptor, number)
                for descriptor in descriptors:
                    os.close(descriptor)
                return job
            running[pid] = socket.socket(fileno=descriptors[3])
            for descriptor in descriptors[:3]:
                os.close(descriptor)
            conversation.send(str(pid).encode())


def _do(job: dict[str, Any]) -> None:
    """Become the program, as a fresh interpreter would: with its folder, its environment and its streams."""
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", 1 if os.isatty(1) else -1, closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, errors="backslashreplace", closefd=False)
    sys.argv = [job["module"], *job["arguments"]]
    runpy.run_module(job["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    job = _serve(socket.socket(fileno=int(sys.argv[1])))
    if job is not None:
        _do(job)
