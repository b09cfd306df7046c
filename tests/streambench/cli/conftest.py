"""A terminal for commands, and a server that says what a test wants."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

import pytest

from tools import programs

# What moves the cursor, colours text or clears a line (ECMA-48, 5.4).
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Shown:
    """What a command wrote: `screen` to the terminal, without control sequences, `raw` with them."""

    raw: str
    exit_code: int
    other: str

    @property
    def lines(self) -> list[str]:
        return [line.rstrip("\r") for line in CONTROL.sub("", self.raw).split("\n")]


Terminal = Callable[..., Shown]


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """Runs `streambench` with one of its streams on a terminal of some columns."""

    def run(
        *args: str, columns: int = 100, stream: Literal["stdout", "stderr"] = "stdout", **environment: str
    ) -> Shown:
        ours, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
        ends = {"stdout": its, "stderr": its, stream: its}
        ends["stderr" if stream == "stdout" else "stdout"] = subprocess.PIPE
        process = programs.start(
            "streambench",
            *args,
            cwd=tmp_path,
            env={**inherited, "TERM": "xterm", **environment},
            stdout=ends["stdout"],
            stderr=ends["stderr"],
        )
        os.close(its)
        raw = b""
        while True:
            try:
                piece = os.read(ours, 1 << 16)
            except OSError:  # the last one who wrote has left
                break
            if not piece:
                break
            raw += piece
        os.close(ours)
        out, err = process.communicate(timeout=60)
        return Shown(raw.decode(), process.returncode, err if stream == "stdout" else out)

    return run


@dataclass
class Server:
    """An HTTP server of a test: it answers every request with `pieces`, and keeps what it was asked."""

    url: str = ""
    status: int = 200
    content_type: str = "text/event-stream"
    pieces: Sequence[bytes] = ()
    stall: bool = False
    asked: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    was_asked: threading.Event = field(default_factory=threading.Event)
    end: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server whose answers a test sets; `stall` leaves them open."""
    says = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            says.asked.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(says.status)
            self.send_header("Content-Type", says.content_type)
            self.send_header("Connection", "close")
            self.end_headers()
            with contextlib.suppress(OSError):
                for piece in says.pieces:
                    self.wfile.write(piece)
                    self.wfile.flush()
                says.was_asked.set()
                if says.stall:
                    says.end.wait(30)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Nothing: a test's output is its own."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    says.url = f"http://127.0.0.1:{httpd.server_address[1]}/"
    yield says
    says.end.set()
    httpd.shutdown()
    httpd.server_close()
