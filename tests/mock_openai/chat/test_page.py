"""The page at `/`: its files, and the page itself in a real browser."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect

Serve = Callable[..., Awaitable[Any]]

PANES = "[...document.querySelectorAll('.pane')]"


async def test_the_files_are_served_without_anything_from_elsewhere(serve: Serve) -> None:
    servers = await serve()
    for path, kind in (("/", "text/html"), ("/page/page.js", "text/javascript"), ("/page/style.css", "text/css")):
        async with servers.http.get(servers.url + path) as response:
            assert (response.status, response.content_type) == (200, kind)
            assert "default-src 'self'" in response.headers["content-security-policy"]
            assert not re.search(r"(src|href|from)\s*=?\s*[\"'(]?https?:", await response.text())
    for path in ("/page/none.js", "/page/..%2Fapp.py", "/page/%2Fetc%2Fpasswd"):
        async with servers.http.get(servers.url + path) as response:
            assert response.status == 404


class Tab:
    """A browser's tab, through its debugging protocol."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._id = 0
        self.complaints: list[Any] = []

    async def call(self, method: str, **params: Any) -> Any:
        self._id += 1
        await self._socket.send(json.dumps({"id": self._id, "method": method, "params": params}))
        while True:
            message = json.loads(await self._socket.recv())
            if message.get("id") == self._id:
                return message["result"]
            if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.complaints.append(message["params"])

    async def js(self, code: str) -> Any:
        return (await self.call("Runtime.evaluate", expression=code, returnByValue=True))["result"].get("value")

    async def until(self, condition: str) -> None:
        async with asyncio.timeout(60):
            while not await self.js(condition):
                await asyncio.sleep(0.05)


@asynccontextmanager
async def browser(program: str, folder: Path, url: str) -> AsyncIterator[Tab]:
    """A headless browser on a page."""
    process = await asyncio.create_subprocess_exec(
        program, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
        f"--user-data-dir={folder}", "about:blank",
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        async with asyncio.timeout(60):
            while not (found := re.search(rb"ws://([\d.:]+)/", await process.stderr.readline())):
                pass
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{found[1].decode()}/json") as response,
        ):
            targets = await response.json(content_type=None)
        page = next(target for target in targets if target["type"] == "page")
        async with connect(page["webSocketDebuggerUrl"], max_size=None) as socket:
            tab = Tab(socket)
            for domain in ("Runtime", "Log", "Page"):
                await tab.call(f"{domain}.enable")
            await tab.call("Page.navigate", url=url)
            await tab.until(f"{PANES}.length === 10")
            yield tab
    finally:
        process.terminate()
        await process.communicate()


@pytest.mark.browser
async def test_all_systems_stream_side_by_side_in_a_browser(
    serve: Serve, component: Callable[[str], str], tmp_path: Path
) -> None:
    servers = await serve()
    async with browser(component("chromium"), tmp_path, servers.url) as tab:
        mark = await servers.plan("shown", seed=1, text="One word after the other.")
        ask = "document.getElementById('prompt').value = {!r}; document.querySelector({!r}).click()"
        await tab.js(ask.format(f"hello {mark}", "form button"))
        await tab.until(f"{PANES}.every((pane) => pane.dataset.state === 'complete')")
        texts = await tab.js(f"{PANES}.map((pane) => pane.querySelector('.text').textContent)")
        assert texts == ["One word after the other."] * 10
        assert len(await servers.ended("shown", 10)) == 10

        # Who tries room-chat from the console has a client there.
        mark = await servers.plan("console", text="A short poem.")
        await tab.js(
            "window.heard = []; window.socket = io(location.origin, {auth: {token: 'alice-token'}});"
            "for (const event of ['connected', 'stream-start', 'stream-chunk', 'stream-complete'])"
            "  socket.on(event, (data) => heard.push([event, data.fullResponse]));"
            f"socket.emit('stream-chat', {{messages: [{{role: 'user', content: 'Write one. {mark}'}}]}})"
        )
        await tab.until("heard.length && heard[heard.length - 1][0] === 'stream-complete'")
        heard = await tab.js("heard")
        assert [event for event, _ in heard][:3] == ["connected", "stream-start", "stream-chunk"]
        assert heard[-1] == ["stream-complete", "A short poem."]
        await tab.js("socket.close()")

        # One of the pair fails in the middle: its text stays, the error shows, and trying again helps.
        cut = {"faults": [{"fault": "cut-fin", "at": {"chunk": 4}}]}
        mark = await servers.plan("cut", text="All is well that ends well.", attempts=[cut, cut])
        await tab.js(ask.format(f"go {mark}", "#assistant-ws .ask"))
        failed = "document.querySelector('#assistant-ws .pane[data-state=error]:nth-of-type(2)')"
        await tab.until(f"{failed} !== null")
        assert await tab.js(f"{failed}.querySelector('.error').textContent.includes('interrupted')")
        assert await tab.js(f"{failed}.querySelector('.text').textContent") == "All is well that"
        await tab.js(f"window.failed = {failed}; failed.querySelector('.retry').click()")
        await tab.until("failed.dataset.state === 'complete'")
        assert await tab.js("failed.querySelector('.text').textContent") == "All is well that ends well."

        # The typing indicator until there is text, then the cursor; it scrolls along; stopping stops the model.
        slow = {"name": "fixed", "ttft_ms": 200, "gap_ms": 20}
        mark = await servers.plan("long", profile=slow, tokens=2000)
        await tab.js("document.getElementById('simulated').value = 'sentence'")
        await tab.js(ask.format(f"go {mark}", "form button"))
        assert await tab.js("document.querySelectorAll('.typing:not([hidden])').length") > 0
        await tab.until(f"{PANES}.every((pane) => pane.querySelector('.text').textContent.length > 500)")
        assert await tab.js("document.querySelectorAll('.typing:not([hidden])').length") == 0
        assert await tab.js("document.querySelectorAll('.cursor:not([hidden])').length") == 10
        scrolled = "(reply) => reply.scrollHeight - reply.scrollTop - reply.clientHeight < 30 && reply.scrollTop > 0"
        assert await tab.js(f"[...document.querySelectorAll('.reply')].every({scrolled})")
        await tab.js("document.querySelectorAll('.stop').forEach((button) => button.click())")
        await tab.until(f"{PANES}.every((pane) => pane.dataset.state === 'stopped')")
        assert {entry["ended"] for entry in await servers.ended("long", 10)} == {"cancelled"}
        assert tab.complaints == []
    await servers.idle()
