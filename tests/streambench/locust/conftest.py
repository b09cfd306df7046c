"""A real Chromium, driven by the DevTools protocol, and `streambench locust` as a real process."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from tools import programs

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-quic",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--ignore-certificate-errors",
    "--window-size=1400,1500", "--remote-debugging-port=0", "--js-flags=--expose-gc",
)  # fmt: skip
PATIENCE_S = 60.0
SCENARIO = """\
name: fast
serve: {openai: {}}
target:
  dialect: openai-chat
  url: "${serve.openai}/v1/chat/completions"
  milestones: {answered: FINISH, refused: ERROR}
prompts: {text: Hello, tokens: 12, profile: {name: fixed, ttft_ms: 20, gap_ms: 5}}
load: {users: 4, duration: 60s, think: 0.05s}
gates: [ttfc.p50 < 2s, error_rate == 0]
"""


def until(what: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    """The first true value of `what`, asked again and again."""
    ends = time.monotonic() + timeout_s
    while True:
        value = what()
        if value or time.monotonic() > ends:
            assert value, f"not within {timeout_s:.0f} s"
            return value
        time.sleep(0.1)


class Page:
    """One tab of a Chromium."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self.requested: list[str] = []
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """A command of the DevTools protocol, and its result."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=PATIENCE_S))
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requested.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(params["exceptionDetails"])[:500])
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    def go(self, url: str) -> None:
        """Open an address and wait until it has been loaded."""
        self.run("window.isBefore = true")
        self.call("Page.navigate", url=url)
        self.until("!window.isBefore && document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression, awaited if it is a promise."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def until(self, script: str) -> Any:
        """The first true value of an expression; a failure shows what the page said instead.

        A page that is being drawn anew has no such element yet.
        """
        try:
            return until(lambda: self.run(f"(() => {{ try {{ return {script}; }} catch {{ return null; }} }})()"))
        except AssertionError as error:
            error.add_note(f"{script}\n{self.run('document.body.innerText')[:2000]}\n{self.complaints}")
            raise

    def click(self, text: str) -> None:
        """Press the button with this text."""
        find = (
            "[...document.querySelectorAll('button,a')]"
            f".find(b => b.textContent.trim() === {json.dumps(text)} && !b.disabled)"
        )
        self.until(f"!!({find})")
        self.run(f"{find}.click()")

    def type(self, name: str, text: str) -> None:
        """Write into a field of a form, as React notices it."""
        self.until(f"!!document.querySelector('input[name={name}]')")
        self.run(
            f"(() => {{ const field = [...document.querySelectorAll('input[name={name}]')].at(-1);"
            "Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(field,"
            f" {json.dumps(text)}); field.dispatchEvent(new Event('input', {{bubbles: true}})); }})()"
        )

    def picture(self, path: Path, *, dark: bool = False) -> Path:
        """A screenshot."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))
        return path


@pytest.fixture
def page(component: Callable[[str], str], tmp_path: Path) -> Iterator[Page]:
    """An empty tab of a Chromium of its own."""
    profile = tmp_path / "profile"
    browser = subprocess.Popen(
        [component("chromium"), *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port = until(lambda: (profile / "DevToolsActivePort").exists() and (profile / "DevToolsActivePort").read_text())
        tabs = httpx.get(f"http://127.0.0.1:{port.split()[0]}/json", trust_env=False).json()
        tab = next(tab for tab in tabs if tab["type"] == "page")
        with connect(tab["webSocketDebuggerUrl"], max_size=None, close_timeout=1) as devtools:
            yield Page(devtools)
    finally:
        browser.kill()
        browser.wait(20)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Locust:
    """A running `streambench locust`."""

    def __init__(self, folder: Path, *arguments: str, environ: dict[str, str] | None = None) -> None:
        self.folder = folder
        self._scheme = "https" if "--tls-cert" in arguments else "http"
        self.web_port = free_port()
        web = () if "--headless" in arguments or "--worker" in arguments else ("--web-port", str(self.web_port))
        self.process = programs.start(
            *("streambench", "locust", "--no-plots", *arguments, *web),
            cwd=folder,
            env={**os.environ, **(environ or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.said: list[str] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line.rstrip())

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.web_port}"

    def heard(self, text: str) -> str:
        """The first line on standard error with this text, which is waited for."""
        return str(until(lambda: next((line for line in self.said if text in line), None)))

    def workers(self, number: int) -> None:
        """Wait until so many workers have joined."""
        until(lambda: sum("has joined" in line for line in self.said) >= number)

    def patiently(self, what: Callable[[], bool]) -> None:
        """Wait until something has come true."""
        until(what)

    def until(self, what: Callable[[dict[str, Any]], bool]) -> None:
        """Wait for a state of the live page."""
        until(lambda: what(self.live()))

    def live(self) -> dict[str, Any]:
        answer: dict[str, Any] = httpx.get(f"{self.url}/streambench/live.json", trust_env=False, timeout=30).json()
        return answer

    def post(self, path: str, **form: Any) -> dict[str, Any]:
        answer: dict[str, Any] = httpx.post(f"{self.url}{path}", data=form, trust_env=False, timeout=100).json()
        return answer

    def start(self, users: int, spawn_rate: float = 100) -> str:
        """Start a run, or change the one that goes on; returns its name."""
        assert self.post("/swarm", user_count=users, spawn_rate=spawn_rate)["success"]
        return str(until(lambda: self.live()["running"] and self.live()["run"]))

    def completed(self) -> int:
        """How many streams of this run have been completed, on all targets."""
        targets = self.live()["live"].get("targets", {})
        return sum(target["streams"]["completed"] for target in targets.values())

    def wait_for(self, streams: int) -> None:
        """Until so many streams of this run have been completed."""
        until(lambda: self.completed() >= streams)

    def stop(self) -> dict[str, Any]:
        """Stop the run; returns the state with its report."""
        answer = httpx.post(f"{self.url}/stop", trust_env=False, timeout=100)
        if answer.status_code == 405:  # Locust before 2.47
            answer = httpx.get(f"{self.url}/stop", trust_env=False, timeout=100)
        assert answer.json()["success"]
        state: dict[str, Any] = until(lambda: (state := self.live())["report"] is not None and state)
        return state

    def summaries(self) -> list[dict[str, Any]]:
        """The summaries of the runs so far, oldest first."""
        found = sorted(self.folder.glob("reports/*/2*/summary.json"), key=lambda path: path.stat().st_mtime_ns)
        return [json.loads(path.read_text()) for path in found]

    def whole(self) -> bool:
        """Stop the run; says whether nobody was lost and every gate has passed. A busy machine may make it invalid."""
        self.stop()
        newest = self.summaries()[-1]
        return not newest["generator"]["lost"] and {gate["result"] for gate in newest["gates"]} == {"passed"}

    def worker(self, *arguments: str) -> Locust:
        """One more worker for this master, started as on another machine."""
        port = self.heard("workers: ").rpartition(":")[2]
        return Locust(self.folder, "fast.yaml", "--worker", "--workers", "1", "--master-port", port, *arguments)

    def records(self) -> list[dict[str, Any]]:
        """The streams of the newest run."""
        lines = (self.folder / "reports/fast/latest/records.jsonl").read_text().splitlines()
        return [line for line in map(json.loads, lines) if line["kind"] == "stream"]

    def printed(self) -> str:
        """All that it has written to standard output, once it has ended."""
        assert self.process.stdout is not None
        printed = self.process.stdout.read()
        self.process.wait(PATIENCE_S)
        self._reading.join(10)
        return printed

    def end(self) -> int:
        """Ctrl-C; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        code = self.process.wait(60)
        self._reading.join(10)
        return code


@contextlib.contextmanager
def starting(folder: Path) -> Iterator[Callable[..., Locust]]:
    """Starts `streambench locust` in a folder; everything started is ended at the end."""
    pytest.importorskip("zmq", reason="locust is not installed: pip install 'streambench[locust]'")
    running: list[Locust] = []

    def start(*arguments: str, **options: Any) -> Locust:
        running.append(Locust(folder, *arguments, **options))
        return running[-1]

    try:
        yield start
    finally:
        for one in running:
            if one.process.poll() is None:
                one.process.send_signal(signal.SIGINT)
        for one in running:
            try:
                one.process.wait(30)
            except subprocess.TimeoutExpired:
                one.process.kill()


@pytest.fixture
def locust(tmp_path: Path) -> Iterator[Callable[..., Locust]]:
    """Starts `streambench locust` in the test's folder, where `fast.yaml` is a scenario."""
    (tmp_path / "fast.yaml").write_text(SCENARIO)
    with starting(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locust]:
    """A web UI with two workers, for all tests of a module: each starts and stops runs of its own."""
    folder = tmp_path_factory.mktemp("crew")
    (folder / "fast.yaml").write_text(SCENARIO)
    with starting(folder) as start:
        ui = start("fast.yaml", "--workers", "2")
        ui.workers(2)
        yield ui
