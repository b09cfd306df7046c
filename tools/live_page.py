"""The picture of the live page that README shows: `python -m tools.live_page FILE`. Needs Chromium."""

from __future__ import annotations

import base64
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import connect

SIZE = (1160, 620)
PLAYED_S = 3.2  # `real` is over by then, and `paced` is still typing
READY_S = 30.0
FLAGS = ("--headless=new", "--no-sandbox", "--hide-scrollbars", "--remote-debugging-port=0")
ASK = "document.querySelector('#ask button').click()"


def main(path: Path) -> None:
    """Ask all five systems and take the picture while they answer."""
    with tempfile.TemporaryDirectory() as profile:
        command = [sys.executable, "-m", "mock_openai", "--json", "--port", "0", "--chat-port", "0"]
        mock = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        browser = subprocess.Popen(
            ["chromium", *FLAGS, f"--window-size={SIZE[0]},{SIZE[1]}", f"--user-data-dir={profile}", "about:blank"],
            stderr=subprocess.DEVNULL,
        )
        try:
            assert mock.stdout is not None
            page = json.loads(mock.stdout.readline())["chat"]
            path.write_bytes(_picture(page, Path(profile)))
        finally:
            for process in (browser, mock):
                process.terminate()
                process.wait(10)


def _picture(page: str, profile: Path) -> bytes:
    """The page as PNG, some seconds after the question."""
    port = _read(profile / "DevToolsActivePort").split()[0]
    tabs = httpx.get(f"http://127.0.0.1:{port}/json", trust_env=False).json()
    tab = next(tab for tab in tabs if tab["type"] == "page")
    numbers = itertools.count(1)
    with connect(tab["webSocketDebuggerUrl"], max_size=None) as devtools:

        def call(method: str, **parameters: Any) -> dict[str, Any]:
            number = next(numbers)
            devtools.send(json.dumps({"id": number, "method": method, "params": parameters}))
            while (answer := json.loads(devtools.recv(READY_S))).get("id") != number:
                pass
            result: dict[str, Any] = answer["result"]
            return result

        call("Emulation.setDeviceMetricsOverride", width=SIZE[0], height=SIZE[1], deviceScaleFactor=1, mobile=False)
        call("Page.navigate", url=page)
        time.sleep(1)  # the page's modules load
        call("Runtime.evaluate", expression=ASK)
        time.sleep(PLAYED_S)
        return base64.b64decode(call("Page.captureScreenshot", format="png")["data"])


def _read(path: Path) -> str:
    """A file's text, once it is there."""
    deadline = time.monotonic() + READY_S
    while not (path.exists() and path.read_text()):
        if time.monotonic() > deadline:
            raise SystemExit(f"Chromium did not start: {path.name} is missing")
        time.sleep(0.05)
    return path.read_text()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
