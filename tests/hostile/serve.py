"""Serves the corpus: `python serve.py CERTIFICATE KEY` prints one JSON line with the ports, and ends with its input.

A case is found at `/TRANSPORT/NAME` of the port of its transport. Only sockets and bytes are used here, but for the
answer to a WebSocket's key: what a hostile server sends must not be mended by a library on its way.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from urllib.parse import parse_qs, urlsplit

from corpus import BLOCK, CASES, DATA, HEADERS, SETTINGS, TEXT, UNASKED, Hostile, Item, frame, literal, ws

CONTENT_TYPES = {"sse": "text/event-stream", "ndjson": "application/x-ndjson"}
MAX_SECONDS = 30.0  # of one connection, whatever its case says


class Peer:
    """One connection of the client's."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def head(self) -> tuple[str, str, dict[str, str]]:
        """The next request: its method, its target, its headers with names in lower case; its body is read."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        await self.reader.readexactly(int(headers.get("content-length", 0)))
        method, target, _ = lines[0].split(" ", 2)
        return method, target, headers

    async def send(self, items: Iterable[Item], wrap: Callable[[bytes], bytes] = bytes) -> None:
        for item in items:
            if self.writer.is_closing():
                raise ConnectionResetError
            if isinstance(item, float):
                await asyncio.sleep(item)
            elif item:
                self.writer.write(wrap(item))
                await self.writer.drain()
                # To drain may be no wait at all, and over TLS a lost connection is only told to who waits.
                await asyncio.sleep(0)

    async def swallow(self) -> None:
        """Read what the client sends, so that it is not held up."""
        while await self.reader.read(BLOCK):
            pass


def find(target: str) -> tuple[str, Hostile] | None:
    """The transport and the case of a path such as `/h1/hang-up`, whatever the dialect has put behind it."""
    _, *parts = urlsplit(target).path.split("/")
    case = CASES.get("/".join(parts[:2]))
    return None if case is None else (case.transport, case.hostile)


async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection of the ports that speak: HTTP/1.1 and what follows it, or HTTP/2."""
    peer = Peer(reader, writer)
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError, ssl.SSLError):
        async with asyncio.timeout(MAX_SECONDS):
            start = await reader.readexactly(4)
            if start == b"PRI ":
                await http2(peer)
            else:
                peer.reader = Prefixed(start, reader)  # type: ignore[assignment]
                await http1(peer)
    with contextlib.suppress(OSError, ssl.SSLError):
        writer.close()


class Prefixed:
    """A reader with bytes that were read before."""

    def __init__(self, start: bytes, reader: asyncio.StreamReader) -> None:
        self._start = start
        self._reader = reader

    async def readuntil(self, end: bytes) -> bytes:
        start, self._start = self._start, b""
        return start + await self._reader.readuntil(end)

    async def readexactly(self, size: int) -> bytes:
        return await self._reader.readexactly(size)

    async def read(self, size: int) -> bytes:
        return await self._reader.read(size)


async def http1(peer: Peer) -> None:
    answered = False
    while True:
        method, target, headers = await peer.head()
        found = find(target)
        if found is None:
            return
        transport, hostile = found
        if transport in ("ws", "wss", "eio-ws"):
            await websocket(peer, headers, hostile, engine=transport == "eio-ws")
            return
        if transport == "h1-again":
            if answered:
                return
            await peer.send(hostile.body())
            answered = True
        elif transport in ("eio-polling", "polling"):
            if not await polling(peer, method, target, hostile, raw=transport == "polling"):
                return
        elif transport in ("h1", "setup"):
            await peer.send(hostile.body())
            return
        else:
            kind = CONTENT_TYPES[transport.partition("+")[2]]
            head = [b"HTTP/1.1 200 OK", b"Content-Type: " + kind.encode()]
            head += [f"{name}: {value}".encode() for name, value in hostile.headers]
            await peer.send([b"\r\n".join(head) + b"\r\n\r\n"])
            await peer.send(hostile.body())
            return


async def websocket(peer: Peer, headers: dict[str, str], hostile: Hostile, *, engine: bool) -> None:
    key = headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Accept: {accept}", *(f"{name}: {value}" for name, value in hostile.headers), "", ""]
    await peer.send(["\r\n".join(lines).encode()])
    if not engine:
        await peer.reader.read(BLOCK)  # the prompt
        swallowing = asyncio.create_task(peer.swallow())
        await peer.send(hostile.body())
    else:
        talk = Talk(hostile.body())
        swallowing = asyncio.create_task(talk.listen(peer))
        async for item in talk.items():
            await peer.send(repeated([item], lambda packet: ws(TEXT, packet), b""))
    swallowing.cancel()


class Talk:
    """One Engine.IO session: a handshake, a packet when the client has spoken, and the rest when it has asked."""

    def __init__(self, body: Iterable[Item]) -> None:
        self._body = body
        self._heard = 0
        self._changed = asyncio.Event()

    def heard(self) -> None:
        self._heard += 1
        self._changed.set()

    async def listen(self, peer: Peer) -> None:
        while await peer.reader.read(BLOCK):
            self.heard()

    async def items(self) -> AsyncIterator[Item | list[bytes]]:
        """A packet that comes again and again is a list of many."""
        before: Item | None = None
        for number, item in enumerate(self._body):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    while self._heard < min(number, 2):
                        self._changed.clear()
                        await self._changed.wait()
            yield [item] * (BLOCK // max(8, len(item))) if item is before and isinstance(item, bytes) else item
            before = item


def repeated(items: Iterable[Item | list[bytes]], framed: Callable[[bytes], bytes], between: bytes) -> Iterator[Item]:
    for item in items:
        yield (
            between.join(map(framed, item))
            if isinstance(item, list)
            else item
            if isinstance(item, float)
            else framed(item)
        )


sessions: dict[str, tuple[Talk, AsyncIterator[Item | list[bytes]]]] = {}


async def polling(peer: Peer, method: str, target: str, hostile: Hostile, *, raw: bool) -> bool:
    """Answer one GET or POST of long-polling; False where the connection is of no more use."""
    query = parse_qs(urlsplit(target).query)
    is_poll = method == "GET" and "sid" in query
    lines = ["HTTP/1.1 200 OK", "Content-Type: text/plain; charset=UTF-8"]
    if raw and is_poll:
        lines += [f"{name}: {value}" for name, value in hostile.headers]
        await peer.send(["\r\n".join([*lines, "", ""]).encode()])
        await peer.send(hostile.body())
        return False
    if method == "POST":
        if "sid" in query and query["sid"][0] in sessions:
            sessions[query["sid"][0]][0].heard()
        payload = b"ok"
    elif raw:
        payload = b'0{"sid":"raw","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'
    elif "sid" not in query:
        talk = Talk(hostile.body())
        items = talk.items()
        # Each session has an id of its own, unless that is what is hostile.
        payload = (await packet_of(items)).replace(b'"sid": "s"', b'"sid": "s%d"' % len(sessions))
        with contextlib.suppress(ValueError, AttributeError, LookupError, TypeError, RecursionError):
            sessions[str(json.loads(payload[1:])["sid"])] = talk, items
    else:
        payload = await packet_of(sessions[query["sid"][0]][1]) if query["sid"][0] in sessions else b"6"
    lines += [f"Content-Length: {len(payload)}", "", ""]
    await peer.send(["\r\n".join(lines).encode() + payload])
    return True


async def packet_of(items: AsyncIterator[Item | list[bytes]]) -> bytes:
    async for item in items:
        if isinstance(item, list):
            return b"\x1e".join(item)
        if not isinstance(item, float):
            return item
        await asyncio.sleep(item)
    await asyncio.sleep(MAX_SECONDS)
    return b"6"


async def http2(peer: Peer) -> None:
    """Enough of HTTP/2 to let a case speak; window updates and acknowledgements come only from the client."""
    await peer.reader.readexactly(20)  # the rest of the preface
    await peer.send([frame(SETTINGS)])
    while True:
        head = await peer.reader.readexactly(9)
        size, kind = int.from_bytes(head[:3], "big"), head[3]
        payload = await peer.reader.readexactly(size)
        if kind == SETTINGS and not head[4] & 1:
            await peer.send([frame(SETTINGS, 1)])
        if kind == HEADERS:
            break
    import hpack

    fields = dict(hpack.Decoder().decode(payload))
    found = find(str(fields[":path"]))
    if found is None:
        return
    transport, hostile = found
    swallowing = asyncio.create_task(peer.swallow())
    if transport in ("h2", "h2-again"):
        await peer.send(hostile.body())
    else:
        kind_of = CONTENT_TYPES[transport.partition("+")[2]]
        fields = [(b"content-type", kind_of.encode())]
        fields += [(name.lower().encode(), value.encode()) for name, value in hostile.headers]
        await peer.send([frame(HEADERS, 4, 1, b"\x88" + b"".join(literal(*pair) for pair in fields))])
        await peer.send(hostile.body(), data_frames)
        await peer.send([frame(DATA, 1, 1)])
        await asyncio.sleep(1)
    swallowing.cancel()


def data_frames(data: bytes) -> bytes:
    return b"".join(frame(DATA, 0, 1, data[start : start + 16384]) for start in range(0, len(data), 16384))


Connected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def unasked(hostile: Hostile) -> Connected:
    """For what is sent before the client has said which case it wants: a port of its own."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(MAX_SECONDS):
                await reader.read(BLOCK)
                await Peer(reader, writer).send(hostile.body())
        writer.close()

    return speak


async def main() -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*sys.argv[1:3])
    servers = {
        "plain": await asyncio.start_server(connected, "127.0.0.1", 0),
        "tls": await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls),
    }
    for case in CASES.values():
        if case.transport in UNASKED:
            servers[case.id] = await asyncio.start_server(unasked(case.hostile), "127.0.0.1", 0)
    print(json.dumps({name: server.sockets[0].getsockname()[1] for name, server in servers.items()}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
