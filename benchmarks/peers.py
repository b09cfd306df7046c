"""How others read a stream of `openai-chat`: the clients that the benchmarks compare with.

`python benchmarks/peers.py NAME PORT USERS` opens USERS streams that begin together and prints one JSON object: `rows`
(when each was sent, then when each text was there, in ns of CLOCK_MONOTONIC) and `cpu` (of one core, meanwhile). Each
client stamps where its own users stamp: when it hands the text over. None checks anything but that there is text.
"""

from __future__ import annotations

import asyncio
import json
import resource
import selectors
import socket
import sys
import time
from collections.abc import Awaitable, Callable

BODY = {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}

Row = list[int]


def has_text(line: str | bytes) -> bool:
    """Whether a `data:` line carries text, read as these clients read it."""
    if not line.startswith("data: " if isinstance(line, str) else b"data: ") or "[DONE]" in str(line):
        return False
    choices = json.loads(line[6:])["choices"]
    return bool(choices and choices[0]["delta"].get("content"))


async def aiohttp_rows(url: str, users: int) -> list[Row]:
    import aiohttp

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
    ) as session:

        async def read() -> Row:
            row = [time.monotonic_ns()]
            async with session.post(url, json=BODY) as answer:
                async for line in answer.content:
                    at_ns = time.monotonic_ns()
                    if has_text(line):
                        row.append(at_ns)
            return row

        return await asyncio.gather(*(read() for _ in range(users)))


async def httpx_sse_rows(url: str, users: int) -> list[Row]:
    import httpx
    from httpx_sse import aconnect_sse

    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=None, limits=limits, trust_env=False) as client:

        async def read() -> Row:
            row = [time.monotonic_ns()]
            async with aconnect_sse(client, "POST", url, json=BODY) as source:
                async for event in source.aiter_sse():
                    at_ns = time.monotonic_ns()
                    if has_text(f"data: {event.data}"):
                        row.append(at_ns)
            return row

        return await asyncio.gather(*(read() for _ in range(users)))


async def openai_rows(url: str, users: int) -> list[Row]:
    import httpx
    from openai import AsyncOpenAI

    limits = httpx.Limits(max_connections=None)
    http = httpx.AsyncClient(timeout=None, limits=limits, trust_env=False)
    client = AsyncOpenAI(
        api_key="none", base_url=url.removesuffix("/chat/completions"), http_client=http, max_retries=0
    )

    async def read() -> Row:
        row = [time.monotonic_ns()]
        stream = await client.chat.completions.create(
            model="gpt-4o-mini", stream=True, messages=[{"role": "user", "content": "Hello"}]
        )
        async for event in stream:
            at_ns = time.monotonic_ns()
            if event.choices and event.choices[0].delta.content:
                row.append(at_ns)
        return row

    return await asyncio.gather(*(read() for _ in range(users)))


def locust_rows(url: str, users: int) -> list[Row]:
    import gevent.monkey

    gevent.monkey.patch_all()
    import gevent
    from locust.contrib.fasthttp import FastHttpSession
    from locust.env import Environment

    environment = Environment()
    host, _, path = url.partition("/v1/")

    def read() -> Row:
        session = FastHttpSession(host, environment.events.request, None, connection_timeout=60, network_timeout=60)
        row = [time.monotonic_ns()]
        with session.post(f"/v1/{path}", json=BODY, stream=True, catch_response=True) as answer:
            answer.success()
            while line := answer._response.readline(b"\n"):
                at_ns = time.monotonic_ns()
                if has_text(line):
                    row.append(at_ns)
        return row

    jobs = [gevent.spawn(read) for _ in range(users)]
    gevent.joinall(jobs, raise_error=True)
    return [job.value for job in jobs]


def limit_rows(url: str, users: int) -> list[Row]:
    """No client, but what one in Python must do at least: read, have llhttp take the chunks off, decode the JSON."""
    import httptools

    host, _, path = url.removeprefix("http://").partition("/")
    body = json.dumps(BODY)
    ask = f"POST /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    name, _, port = host.partition(":")
    buffer = memoryview(bytearray(1 << 16))

    class Stream:
        def __init__(self) -> None:
            self.sock = socket.create_connection((name, int(port)))
            self.parser = httptools.HttpResponseParser(self)
            self.row = [time.monotonic_ns()]
            self.pieces: list[bytes] = []
            self.rest = b""
            self.over = False
            self.sock.sendall(ask)
            self.sock.setblocking(False)

        def on_body(self, data: bytes) -> None:
            self.pieces.append(data)

        def on_message_complete(self) -> None:
            self.over = True

        def read(self) -> None:
            size = self.sock.recv_into(buffer)
            at_ns = time.monotonic_ns()
            self.parser.feed_data(buffer[:size])
            *lines, self.rest = (self.rest + b"".join(self.pieces)).split(b"\n")
            self.pieces.clear()
            for line in lines:
                if line[:7] == b"data: {" and json.loads(line[6:])["choices"][0]["delta"].get("content"):
                    self.row.append(at_ns)

    with selectors.DefaultSelector() as ready:
        streams = [Stream() for _ in range(users)]
        for stream in streams:
            ready.register(stream.sock, selectors.EVENT_READ, stream)
        while ready.get_map():
            for key, _ in ready.select():
                key.data.read()
                if key.data.over:
                    ready.unregister(key.fileobj)
                    key.data.sock.close()
    return [stream.row for stream in streams]


READERS: dict[str, Callable[[str, int], Awaitable[list[Row]]]] = {
    "aiohttp": aiohttp_rows,
    "httpx-sse": httpx_sse_rows,
    "openai": openai_rows,
}


def main() -> None:
    name, port, users = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    start, cpu_start = time.monotonic(), time.process_time()
    blocking = {"locust": locust_rows, "limit": limit_rows}
    rows = blocking[name](url, users) if name in blocking else asyncio.run(READERS[name](url, users))
    cpu = (time.process_time() - cpu_start) / (time.monotonic() - start)
    print(json.dumps({"rows": rows, "cpu": cpu}))


if __name__ == "__main__":
    main()
