"""What others can reach and see: listening sockets, every page of the UI, every frame between master and worker."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import pytest

pytestmark = pytest.mark.timeout(300)
SECRET = "sk/very+secret&0815=é"
PASSWORD = "correct horse"
SCENARIO = """\
name: echoes
target:
  dialect: openai-chat
  url: "URL/v1/chat/completions?key=${API_KEY}"
  auth: {bearer: "${API_KEY}"}
  headers: {X-Key: "${API_KEY}"}
prompts: {text: 'Say ${API_KEY}'}
load: {users: 2, duration: 60s, think: 0.02s}
"""


def notations(secret: str) -> set[bytes]:
    """A text as it is, quoted for URLs and JSON, in hexadecimal, and in base64 at each place among three bytes."""
    data = secret.encode()
    quoted = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]}
    coded = {base64.b64encode(bytes(before) + data)[before and 4 : -4] for before in range(3)}
    return {text.encode() for text in quoted} | coded | {data.hex().encode()}


class Echo(BaseHTTPRequestHandler):
    """A server that tells everybody what it was told: as a text, as a rule that is broken, in an error, as a header."""

    protocol_version = "HTTP/1.1"
    turns = 0

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        told = f"{self.path} {self.headers['X-Key']} {asked['messages'][-1]['content']} {self.headers['Authorization']}"
        Echo.turns += 1
        if Echo.turns % 3 == 0:
            body = json.dumps({"error": {"message": f"no such key: {told}", "code": self.headers["X-Key"]}}).encode()
            self._answer(401, "application/json", body)
        elif Echo.turns % 3 == 1:
            chunk = {"id": SECRET, "object": SECRET, "model": SECRET, "created": 1}
            chunk["choices"] = [{"index": 0, "delta": {"content": told}, "finish_reason": SECRET}]  # type: ignore[assignment]
            self._answer(200, "text/event-stream", f"data: {json.dumps(chunk)}\n\ndata: {told}\n\n".encode())
        else:
            self._answer(200, "text/" + base64.b64encode(told.encode()).decode(), told.encode())

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def echo() -> Iterator[str]:
    """The URL of an `Echo`."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Tap:
    """A relay on loopback that keeps every byte it passes on, in both directions."""

    def __init__(self, port: int) -> None:
        self.from_worker = bytearray()
        self.from_master = bytearray()
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = [self._listener]
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                worker, _ = self._listener.accept()
                master = socket.create_connection(("127.0.0.1", self._target))
                self._open += [worker, master]
                for source, sink, kept in ((worker, master, self.from_worker), (master, worker, self.from_master)):
                    threading.Thread(target=self._pass_on, args=(source, sink, kept), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                kept += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        for one in self._open:
            one.close()


def routes() -> set[str]:
    """Every page that the installed Locust serves."""
    spec = importlib.util.find_spec("locust")
    assert spec is not None
    assert spec.origin is not None
    found = re.findall(r'\.route\("(/[^"<]*)"\)', (Path(spec.origin).parent / "web.py").read_text())
    assert {"/", "/stats/requests", "/exceptions", "/tasks", "/logs", "/stats/report"} <= set(found)
    return set(found)


OURS = {"/streambench", "/streambench/live.json", "/streambench/report", "/streambench/tab.js"}


def test_a_secret_is_in_no_page_and_in_no_frame_between_master_and_worker(
    locust: Callable[..., Any], echo: str, tmp_path: Path
) -> None:
    """Not even where the server echoes it in a reply, in an error and in what breaks a rule."""
    (tmp_path / "echoes.yaml").write_text(SCENARIO.replace("URL", echo))
    environ = {"API_KEY": SECRET, "STREAMBENCH_WEB_LOGIN": f"me:{PASSWORD}"}
    ui = locust("echoes.yaml", "--master", "--master-bind-port", "0", "--web-login", environ=environ)
    tap = Tap(int(ui.heard("workers: ").rpartition(":")[2]))
    worker = locust(
        "echoes.yaml", "--worker", "--workers", "1", "--master-port", str(tap.port), environ={"API_KEY": SECRET}
    )
    ui.workers(1)
    seen: dict[str, str] = {}
    with httpx.Client(base_url=ui.url, trust_env=False, timeout=60) as me:
        assert me.post("/streambench/login", data={"username": "me", "password": PASSWORD}).status_code == 302

        def live() -> dict[str, Any]:
            state: dict[str, Any] = me.get("/streambench/live.json").json()
            return state

        assert me.post("/swarm", data={"user_count": 2, "spawn_rate": 5}).json()["success"]
        ui.patiently(lambda: sum(t["streams"]["failed"] for t in live()["live"].get("targets", {}).values()) > 12)
        seen |= {f"{path} while it runs": me.get(path).text for path in routes() | OURS}
        (me.post if me.get("/stop").status_code == 405 else me.get)("/stop")
        ui.patiently(lambda: live()["report"] is not None)
        answers = {path: me.get(path, params={"download": "1"}) for path in routes() | OURS}
        assert all(answers[path].status_code == 200 for path in OURS | {"/", "/stats/requests", "/logs", "/tasks"})
        seen |= {path: answer.text + str(answer.headers) for path, answer in answers.items()}
    # It was echoed where it could be seen, and stands there by its name.
    assert any("${API_KEY}" in str(error) for error in answers["/stats/requests"].json()["errors"])
    ui.end()
    worker.end()
    tap.close()
    assert b"streambench_records" in tap.from_worker
    assert b"spawn" in tap.from_master
    seen["what the worker sent"] = bytes(tap.from_worker)  # type: ignore[assignment]
    seen["what the master sent"] = bytes(tap.from_master)  # type: ignore[assignment]
    seen |= {str(path): path.read_bytes() for path in (tmp_path / "reports").rglob("*.*") if path.is_file()}  # type: ignore[misc]
    seen["what was said"] = "\n".join([*ui.said, *worker.said])
    for where, what in seen.items():
        data = what if isinstance(what, bytes) else what.encode()
        for notation in notations(SECRET) | notations(PASSWORD):
            assert notation not in data, (where, notation)


def listened_on(pid: int) -> dict[str, set[int]]:
    """Where a process and all those that it has started listen: the ports of each address."""
    inodes: set[str] = set()
    family = [pid]
    for one in family:
        children = "".join(path.read_text() for path in Path(f"/proc/{one}/task").glob("*/children"))
        family += map(int, children.split())
        for entry in Path(f"/proc/{one}/fd").iterdir():
            with contextlib.suppress(OSError):
                inodes |= set(re.findall(r"socket:\[(\d+)\]", str(entry.readlink())))
    found: dict[str, set[int]] = {}
    for table, kind in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                host, _, port = fields[1].partition(":")
                words = [bytes.fromhex(host[at : at + 8])[::-1] for at in range(0, len(host), 8)]
                found.setdefault(socket.inet_ntop(kind, b"".join(words)), set()).add(int(port, 16))
    return found


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="there is no /proc/net/tcp to look into")
def test_nothing_listens_beyond_loopback_unless_asked(locust: Callable[..., Any]) -> None:
    """Master, web UI, workers and the bundled servers; asked for is another address, of loopback here as well."""
    for host, options in (("127.0.0.1", ()), ("127.0.0.2", ("--web-host", "127.0.0.2", "--master-bind-host"))):
        ui = locust("fast.yaml", *options, *([host] if options else []))
        ui.workers(1)
        rpc = int(ui.heard("workers: ").rpartition(":")[2])
        places = listened_on(ui.process.pid)
        assert {rpc, ui.web_port} <= places[host]
        if options:
            assert places[host] == {rpc, ui.web_port}  # and nothing else has moved with them
        assert set(places) <= {"127.0.0.1", host}
        ui.end()
