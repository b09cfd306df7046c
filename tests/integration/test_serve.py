"""A server of the user's own: started, waited for, told of when it dies, and never left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import programs

LIMIT_S = 40.0

# Answers with a small stream; leaves a process in a session of its own behind, as a careless server does.
PYTHON_APP = """\
import http.server, os, pathlib, signal, subprocess, sys
left = subprocess.Popen(["sleep", "300"], start_new_session=True)
pathlib.Path("pids").write_text(f"{os.getpid()} {left.pid}")
print("the key is", os.environ.get("KEY"), flush=True)
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
served = 0

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response({"/health": 200, "/socket": 426}.get(self.path, 404))
        self.end_headers()

    def do_POST(self):
        global served
        served += 1
        if "dying" in sys.argv and served > 5:
            print("out of memory", flush=True)
            os._exit(3)
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for payload in ('{"content": "Hello"}', '{"done": true}'):
            self.wfile.write(f"data: {payload}\\n\\n".encode())
            self.wfile.flush()

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
# A cluster: its workers are processes too.
NODE_APP = """\
const cluster = require('cluster'), fs = require('fs'), http = require('http');
if (cluster.isPrimary) {
  const workers = [cluster.fork(), cluster.fork()];
  fs.writeFileSync('pids', [process.pid, ...workers.map(w => w.process.pid)].join(' '));
} else {
  http.createServer((request, response) => {
    request.resume();
    request.on('end', () => {
      response.writeHead(200, {'Content-Type': request.method === 'POST' ? 'text/event-stream' : 'text/plain'});
      response.write('data: {"content": "Hello"}\\n\\n');
      response.end('data: {"done": true}\\n\\n');
    });
  }).listen(process.env.PORT, '127.0.0.1');
}
"""


def scenario(
    words: list[str], load: str = "{users: 2, duration: 60s, think: 20ms}", ready: str = "{http: /health}"
) -> str:
    return f"""\
name: own
serve:
  app: {{command: {json.dumps(words)}, env: {{KEY: "${{KEY:-none}}"}}, ready: {ready}}}
target: {{dialect: chat-stream, url: "${{serve.app}}/chat"}}
load: {load}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(PYTHON_APP)
    (tmp_path / "app.cjs").write_text(NODE_APP)
    return tmp_path


def begin(folder: Path, text: str, **environment: str) -> programs.Process:
    (folder / "s.yaml").write_text(text)
    command, pipe = ("streambench", "run", "s.yaml", "--no-plots"), subprocess.PIPE
    return programs.start(*command, cwd=folder, env={**os.environ, **environment}, stdout=pipe, stderr=pipe)


def wait_for(what: Callable[[], object], why: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not what():
        assert time.monotonic() < deadline, why
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def pids(folder: Path) -> list[int]:
    return [int(pid) for pid in (folder / "pids").read_text().split()]


def python_app(*more: str) -> list[str]:
    return [sys.executable, "app.py", "${port}", *more]


def test_it_is_started_used_and_ended_and_its_log_is_kept_without_secrets(folder: Path) -> None:
    process = begin(folder, scenario(python_app(), "{users: 2, streams: 10}"), KEY="sk-very-secret")
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, err + out
    log = (folder / "reports/own/latest/serve-app.log").read_text()
    assert log == "the key is ${KEY:-none}\n".replace(":-none", "")
    assert not any(map(is_alive, pids(folder)))
    if sys.platform == "linux":  # whether it had a CPU is watched
        generator = json.loads((folder / "reports/own/latest/summary.json").read_text())["generator"]
        assert list(generator["server_wait"]) == ["app"]


@pytest.mark.skipif(sys.platform != "linux", reason="what left its session is found in /proc")
@pytest.mark.parametrize("app", ["python", "stubborn", "node"])
def test_nothing_is_left_however_we_end(folder: Path, app: str, request: pytest.FixtureRequest) -> None:
    """Three runs side by side, each ended by another signal: a stubborn server is waited for."""
    if app == "node":
        words = [request.getfixturevalue("component")("node"), "../app.cjs"]
    else:
        words = [sys.executable, "../app.py", "${port}", *(["stubborn"] if app == "stubborn" else [])]
    runs: dict[signal.Signals, tuple[Path, programs.Process]] = {}
    for how in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        (folder / how.name).mkdir()
        runs[how] = folder / how.name, begin(folder / how.name, scenario(words))
    started: dict[signal.Signals, list[int]] = {}
    for how, (own, process) in runs.items():
        records = own / "reports/own/latest/records.jsonl"
        wait_for(lambda path=records: path.is_file() and path.read_text().count("\n") > 3, "the run did not begin")
        started[how] = pids(own)
        assert all(map(is_alive, started[how]))
        process.send_signal(how)
    for how, (_, process) in runs.items():
        process.communicate(timeout=LIMIT_S)
        assert process.returncode == (-9 if how == signal.SIGKILL else 128 + how)
        left = started[how]
        wait_for(lambda pids=left: not any(map(is_alive, pids)), f"of {left} somebody is left")


def test_nothing_is_left_where_it_is_interrupted_before_it_is_ready(folder: Path) -> None:
    process = begin(folder, scenario(python_app(), ready="{http: /never}"))
    wait_for(lambda: (folder / "pids").is_file(), "it did not start")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    assert "before the run began" in err
    wait_for(lambda: not any(map(is_alive, pids(folder))), "somebody is left")


def test_one_that_dies_during_the_run_is_told_of_with_the_end_of_its_log(folder: Path) -> None:
    process = begin(folder, scenario(python_app("dying"), "{users: 1, streams: 12}"))
    _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode in (1, 3), err
    assert "serve.app ended with exit code 3" in err
    assert "| out of memory" in err
    assert err.count("ended with exit code") == 1


@pytest.mark.parametrize(
    ("words", "ready", "code", "said"),
    [
        (
            [sys.executable, "-c", "print('no database'); raise SystemExit(4)"],
            "{}",
            5,
            ["exit code 4", "| no database"],
        ),
        (["sleep", "60"], "{within: 1s}", 5, ["not ready within 1 s", "nothing listens", "${port}"]),
        (python_app(), "{http: /nowhere, within: 2s}", 5, ["GET /nowhere was answered", "404"]),
        (python_app(), "{http: /socket, within: 1s}", 5, ["426", "leave `http` out of `ready`"]),
        (["no-such-program"], "{}", 2, ["s.yaml:", "'no-such-program' cannot be started"]),
        (["slepe", "60"], "{}", 2, ["Did you mean 'sleep'?"]),
    ],
)
def test_one_that_does_not_come_up_says_why(
    folder: Path, words: list[str], ready: str, code: int, said: list[str]
) -> None:
    process = begin(folder, scenario(words, ready=ready))
    _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == code
    for part in said:
        assert part in err
    assert not list(folder.glob("reports/own/*/records.jsonl"))


def test_a_port_that_is_taken_is_not_somebody_elses_server(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        process = begin(folder, scenario(python_app()).replace("env:", f"port: {port}, env:"))
        _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 2
    assert f"port {port} is taken" in err


def test_a_target_that_comes_up_later_is_waited_for(folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "s.yaml").write_text(
        f"name: own\ntarget: {{dialect: chat-stream, url: 'http://127.0.0.1:{port}/'}}\n"
        "load: {users: 1, streams: 3}\n"
    )
    command = ("streambench", "run", "s.yaml", "--no-plots", "--wait", "40s")
    process = programs.start(*command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    server = subprocess.Popen([sys.executable, "app.py", str(port)], cwd=folder, stdout=subprocess.DEVNULL)
    out, err = process.communicate(timeout=LIMIT_S)
    server.kill()
    server.wait()
    os.kill(pids(folder)[1], signal.SIGKILL)
    assert process.returncode == 0, out + err
