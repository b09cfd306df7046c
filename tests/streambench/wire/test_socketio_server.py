"""Our half of the protocol against a real python-socketio server: polling, WebSocket, and from one to the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import monotonic_ns
from typing import Any

import aiohttp
import pytest
import socketio
from aiohttp import web

from streambench.wire.engineio import PayloadDecoder, decode_frame, encode_frame, encode_payloads
from streambench.wire.engineio_session import EngineSession, SessionState
from streambench.wire.limits import OversizeError, WireLimits
from streambench.wire.socketio import Packet, PacketType
from streambench.wire.socketio_session import NamespaceState, SocketSession

Served = tuple[str, socketio.AsyncServer]


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    server = socketio.AsyncServer(async_mode="aiohttp", ping_interval=0.2, ping_timeout=5)
    server.seen = []

    @server.event
    async def connect(sid: str, environ: Any, auth: Any) -> bool:
        if auth == {"token": "wrong"}:
            raise socketio.exceptions.ConnectionRefusedError("who are you")
        return True

    @server.on("connect", namespace="/room")
    async def connect_room(sid: str, environ: Any, auth: Any) -> None: ...

    @server.on("*")
    async def echo(event: str, sid: str, *arguments: Any) -> Any:
        server.seen.append((event, arguments))
        for argument in arguments:
            await server.emit(f"re:{event}", argument, to=sid)
        return ("got", len(arguments), b"\xff")

    @server.on("leave")
    async def leave(sid: str) -> None:
        await server.disconnect(sid)

    @server.on("ask")
    async def ask(sid: str) -> None:
        server.seen.append(await server.call("question", {"n": 7}, to=sid))

    app = web.Application()
    server.attach(app)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield f"http://127.0.0.1:{port}/socket.io/?EIO=4", server
    await server.shutdown()
    await runner.cleanup()


class Wire:
    """A session pair on one transport at a time; `packets` is all that the server sent on the upper floor."""

    def __init__(self, http: aiohttp.ClientSession, url: str, limits: WireLimits | None = None) -> None:
        self.http, self.url = http, url
        self.engine, self.socket = EngineSession(), SocketSession(limits)
        self.payloads = PayloadDecoder(limits)
        self.packets: list[Packet] = []
        self.pings = 0
        self.ws: aiohttp.ClientWebSocketResponse | None = None

    def take(self, packet: Any) -> None:
        self.pings += packet.type == 2
        data = self.engine.receive(packet, monotonic_ns())
        if data is not None:
            read = self.socket.receive(data, offset=packet.offset)
            self.packets += [read] if read is not None else []

    @property
    def polling_url(self) -> str:
        handshake = self.engine.handshake
        return f"{self.url}&transport=polling" + (f"&sid={handshake.sid}" if handshake else "")

    async def poll(self) -> None:
        async with self.http.get(self.polling_url) as response:
            assert response.status == 200
            async for piece in response.content.iter_any():
                for packet in self.payloads.feed(piece):
                    self.take(packet)
            self.take(self.payloads.finish())

    async def open_websocket(self) -> None:
        handshake = self.engine.handshake
        self.ws = await self.http.ws_connect(
            f"{self.url}&transport=websocket" + (f"&sid={handshake.sid}" if handshake else "")
        )

    async def read(self) -> None:
        if self.ws is None:
            await self.poll()
            return
        message = await self.ws.receive()
        if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            self.take(decode_frame(message.data))
        else:
            self.engine.close()

    async def flush(self) -> None:
        for data in self.socket.take_outgoing():
            self.engine.send(data)
        packets = self.engine.take_outgoing()
        if self.ws is None:
            assert self.engine.handshake is not None
            for body in encode_payloads(packets, self.engine.handshake.max_payload):
                async with self.http.post(self.polling_url, data=body) as response:
                    assert (response.status, await response.text()) == (200, "OK")
            return
        for packet in packets:
            frame = encode_frame(packet)
            await (self.ws.send_str(frame) if isinstance(frame, str) else self.ws.send_bytes(frame))

    async def until(self, *wanted: PacketType | str) -> Packet:
        """Read until a packet of a type, or an event of a name, came."""
        while True:
            for packet in self.packets:
                if packet.type in wanted or (packet.is_event and packet.data[0] in wanted):
                    self.packets.remove(packet)
                    return packet
            assert self.engine.state is not SessionState.CLOSED
            await self.flush()
            await self.read()


async def talk(wire: Wire) -> None:
    wire.socket.connect(auth={"token": "right"})
    accepted = await wire.until(PacketType.CONNECT)
    assert accepted.data == {"sid": wire.socket.namespaces["/"].sid}
    wire.socket.emit("say", {"text": "grüß Gott 😀"}, b"\x00\x01", [b"\x02", {"x": None}])
    assert (await wire.until("re:say")).data == ["re:say", {"text": "grüß Gott 😀"}]
    assert (await wire.until("re:say")).data == ["re:say", b"\x00\x01"]
    assert (await wire.until("re:say")).data == ["re:say", [b"\x02", {"x": None}]]
    wire.socket.emit("counted", 1, acknowledged=True)
    answer = await wire.until(PacketType.ACK, PacketType.BINARY_ACK)
    assert (answer.id, answer.data) == (0, ["got", 1, b"\xff"])
    wire.socket.connect("/room")
    assert (await wire.until(PacketType.CONNECT)).namespace == "/room"
    wire.socket.connect("/nowhere")
    refused = await wire.until(PacketType.CONNECT_ERROR)
    assert refused.namespace == "/nowhere"
    assert wire.socket.namespaces["/nowhere"].state is NamespaceState.REFUSED
    assert wire.socket.namespaces["/nowhere"].refusal
    wire.socket.disconnect("/room")
    wire.socket.emit("ask")
    wire.socket.acknowledge(await wire.until("question"), "answer", {"n": 8})
    wire.socket.emit("say", "last")
    await wire.until("re:say")
    assert wire.socket.take_findings() == []
    assert wire.engine.take_findings() == []


async def test_over_a_websocket(served: Served) -> None:
    url, server = served
    async with aiohttp.ClientSession() as http, asyncio.timeout(30):
        wire = Wire(http, url)
        await wire.open_websocket()
        await wire.read()
        await talk(wire)
        while wire.pings < 2:
            await wire.read()
            await wire.flush()
        wire.socket.emit("leave")
        await wire.until(PacketType.DISCONNECT)
        assert wire.socket.namespaces["/"].state is NamespaceState.DISCONNECTED
    assert ("say", ({"text": "grüß Gott 😀"}, b"\x00\x01", [b"\x02", {"x": None}])) in server.seen
    assert ("answer", {"n": 8}) in server.seen


async def test_over_polling(served: Served) -> None:
    url, server = served
    async with aiohttp.ClientSession() as http, asyncio.timeout(30):
        wire = Wire(http, url)
        await wire.poll()
        assert wire.engine.handshake is not None
        assert wire.engine.handshake.upgrades == ("websocket",)
        await talk(wire)
        while wire.pings < 2:
            await wire.read()
            await wire.flush()
        wire.engine.close()
        await wire.flush()
    assert ("answer", {"n": 8}) in server.seen


async def test_from_polling_to_a_websocket(served: Served) -> None:
    url, _ = served
    async with aiohttp.ClientSession() as http, asyncio.timeout(30):
        wire = Wire(http, url)
        await wire.poll()
        wire.socket.connect()
        await wire.until(PacketType.CONNECT)
        probe = wire.engine.begin_upgrade()
        poll = asyncio.create_task(wire.poll())
        await wire.open_websocket()
        assert wire.ws is not None
        await wire.ws.send_str(str(encode_frame(probe)))
        assert wire.engine.probe_answered(decode_frame((await wire.ws.receive()).data))
        await poll  # the server ends it with a NOOP
        await wire.ws.send_str(str(encode_frame(wire.engine.complete_upgrade())))
        wire.socket.emit("say", "over here")
        assert (await wire.until("re:say")).data == ["re:say", "over here"]
        assert wire.engine.take_findings() == []


async def test_a_refusal_has_the_servers_reason(served: Served) -> None:
    url, _ = served
    async with aiohttp.ClientSession() as http, asyncio.timeout(30):
        wire = Wire(http, url)
        await wire.open_websocket()
        await wire.read()
        wire.socket.connect(auth={"token": "wrong"})
        await wire.until(PacketType.CONNECT_ERROR)
        assert wire.socket.namespaces["/"].refusal == "who are you"


async def test_what_is_too_large_for_us_is_an_error_of_its_own(served: Served) -> None:
    url, _ = served
    async with aiohttp.ClientSession() as http, asyncio.timeout(30):
        wire = Wire(http, url, WireLimits(max_event_bytes=1000))
        await wire.open_websocket()
        await wire.read()
        wire.socket.connect()
        await wire.until(PacketType.CONNECT)
        wire.socket.emit("say", "x" * 2000)
        with pytest.raises(OversizeError):
            await wire.until("re:say")
