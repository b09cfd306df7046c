"""The WebSocket driver against a real server of the `websockets` library."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiohttp import web
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Frame, Opcode

from streambench.dialects import load_dialect
from streambench.drivers.failures import SetupError
from streambench.drivers.target import TargetSpec
from streambench.drivers.users import open_session
from streambench.endings import Ending, ErrorClass
from streambench.record.model import Outcome
from streambench.transport.aio import websocket as websocket_shell
from streambench.transport.target import Endpoint, Timeouts
from streambench.wire.limits import WireLimits

DIALECT = """
dialect: test-ws
version: 1
transport: websocket
path: /chat/{room}
variables: {room: main}
setup:
  - {await: welcome}
  - send: {type: hello}
    await: session
    capture: {session: id}
request:
  send: {type: ask, session: "{session}", text: "{prompt}"}
name: type
events:
  delta: {content: text}
  done: {}
  error: {error: message}
  welcome: {}
  session: {}
  noise: {}
grammar: delta* done
interrupt: error
anywhere: [welcome, session, noise]
"""
TEXT = "grüß Gott, Welt 😀"


def event(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields}, ensure_ascii=False)


@dataclass
class Chat:
    """A chat server whose replies do what the prompt asks for."""

    port: int = 0
    connections: list[Any] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)

    async def serve(self, socket: ServerConnection) -> None:
        self.connections.append(socket)
        if "mute" in socket.request.path:
            await socket.wait_closed()
            return
        if "closing" in socket.request.path:
            await socket.close(4401, "who are you")
            return
        if "angry" in socket.request.path:
            await socket.send(event("error", message="no rooms left"))
        await socket.send(event("welcome"))
        with contextlib.suppress(Exception):
            async for raw in socket:
                message = json.loads(raw)
                if message["type"] == "hello":
                    await socket.send(event("session", id=len(self.connections)))
                else:
                    self.asked.append(message)
                    await getattr(self, message["text"].split()[0])(socket)

    async def words(self, socket: ServerConnection) -> None:
        for word in ("grüß ", "Gott, ", "Welt ", "😀"):
            await socket.send(event("delta", text=word))
            await asyncio.sleep(0)
        await socket.send(event("done"))

    async def plain(self, socket: ServerConnection) -> None:
        await socket.send(event("delta", text=TEXT))
        await socket.send(event("done"))

    async def fragments(self, socket: ServerConnection) -> None:
        raw = event("delta", text=TEXT)
        await socket.send([raw[:5], raw[5:20], "", raw[20:]])
        await socket.send([event("done")])

    async def split_character(self, socket: ServerConnection) -> None:
        raw = event("delta", text=TEXT).encode()
        at = raw.index("ü".encode()) + 1
        socket.transport.write(frame(Opcode.TEXT, raw[:at], fin=False))
        socket.transport.write(frame(Opcode.PING, b"between"))
        socket.transport.write(frame(Opcode.CONT, raw[at:]))
        await socket.send(event("done"))

    async def bytewise(self, socket: ServerConnection) -> None:
        for byte in frame(Opcode.TEXT, event("delta", text=TEXT).encode()):
            socket.transport.write(bytes([byte]))
            await asyncio.sleep(0)
        await socket.send(event("done"))

    async def pinging(self, socket: ServerConnection) -> None:
        for payload in (b"", b"x" * 125):
            await (await socket.ping(payload))
        await self.plain(socket)

    async def one_write(self, socket: ServerConnection) -> None:
        frames = [event("delta", text="a"), event("delta", text="b"), event("done"), event("noise")]
        socket.transport.write(b"".join(frame(Opcode.TEXT, raw.encode()) for raw in frames))

    async def failing(self, socket: ServerConnection) -> None:
        await socket.send(event("delta", text="half"))
        await socket.send(event("error", message="out of tokens"))

    async def closing(self, socket: ServerConnection) -> None:
        await socket.send(event("delta", text="half"))
        await socket.close(1011, "upstream died")

    async def aborting(self, socket: ServerConnection) -> None:
        await socket.send(event("delta", text="half"))
        socket.transport.abort()

    async def ending(self, socket: ServerConnection) -> None:
        await socket.send(event("delta", text="half"))
        socket.transport.close()

    async def silent(self, socket: ServerConnection) -> None:
        await socket.send(event("delta", text="half"))
        await socket.wait_closed()

    async def mute(self, socket: ServerConnection) -> None:
        pass

    async def large(self, socket: ServerConnection) -> None:
        await socket.send(event("delta", text="x" * 100_000))

    async def large_in_fragments(self, socket: ServerConnection) -> None:
        await socket.send(["x" * 1000] * 100)

    async def not_utf8(self, socket: ServerConnection) -> None:
        socket.transport.write(frame(Opcode.TEXT, b'{"type":"\xff"}'))

    async def reserved_bits(self, socket: ServerConnection) -> None:
        socket.transport.write(b"\xf1\x01x")

    async def flooding(self, socket: ServerConnection) -> None:
        socket.transport.pause_reading()
        pings = frame(Opcode.PING, b"x" * 125) * 1000
        while not socket.transport.is_closing():
            if socket.transport.get_write_buffer_size() < 1 << 20:
                socket.transport.write(pings)
            await asyncio.sleep(0)

    async def binary(self, socket: ServerConnection) -> None:
        await socket.send(b"\x00\x01")
        await self.plain(socket)

    async def bad_order(self, socket: ServerConnection) -> None:
        await socket.send(event("nonsense"))
        await self.plain(socket)


def frame(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=False)


@pytest.fixture
async def chat() -> AsyncIterator[Chat]:
    server = Chat()
    async with serve(server.serve, "127.0.0.1", 0, compression=None) as running:
        server.port = running.sockets[0].getsockname()[1]
        yield server


@pytest.fixture
def spec(chat: Chat, dialect_file: Callable[[str], str]) -> TargetSpec:
    return TargetSpec("t", load_dialect(dialect_file(DIALECT)), Endpoint(f"ws://127.0.0.1:{chat.port}"))


Streaming = Callable[..., Any]


async def test_replies_come_in_sequence_over_one_connection(chat: Chat, spec: TargetSpec, stream_of: Streaming) -> None:
    user = open_session(spec)
    await user.prepare()
    assert user.variables["session"] == "1"
    records = [
        await stream_of(user, spec, "plain"),
        await stream_of(user, spec, "words"),
        await stream_of(user, spec, "plain"),
    ]
    await user.close()
    for record in records:
        assert (record.outcome, record.ending, record.error) == (Outcome.COMPLETED, Ending.RESPONSE_END, None)
        assert record.terminal_event
        assert record.findings == []
        assert record.reused_connection
        assert record.events.name[-1] == "done"
        assert record.start_ns <= record.sent_ns <= record.events.at_ns[0] <= record.events.at_ns[-1] == record.end_ns
        assert sum(record.events.chars) == len(record.text)
        assert record.stamps in ("kernel", "user")
    assert [record.text for record in records] == [TEXT] * 3
    assert len(chat.connections) == 1
    assert [message["session"] for message in chat.asked] == ["1", "1", "1"]
    await chat.connections[0].wait_closed()
    assert chat.connections[0].close_code == 1000


async def test_a_stream_connects_and_sets_up_where_nobody_has(spec: TargetSpec, stream_of: Streaming) -> None:
    user = open_session(spec)
    record = await stream_of(user, spec, "plain")
    await user.close()
    assert (record.outcome, record.text, record.reused_connection) == (Outcome.COMPLETED, TEXT, False)
    assert record.start_ns <= record.connected_ns <= record.sent_ns


@pytest.mark.parametrize("prompt", ["fragments", "split_character", "bytewise", "pinging"])
async def test_however_the_server_writes_the_text_is_the_same(
    prompt: str, spec: TargetSpec, stream_of: Streaming
) -> None:
    user = open_session(spec)
    record = await stream_of(user, spec, prompt)
    await user.close()
    assert (record.outcome, record.text, record.findings) == (Outcome.COMPLETED, TEXT, [])


async def test_messages_of_one_write_share_a_stamp(spec: TargetSpec, stream_of: Streaming) -> None:
    user = open_session(spec)
    record = await stream_of(user, spec, "one_write")
    await user.close()
    assert record.events.name == ["delta", "delta", "done", "noise"]
    assert (len(set(record.events.at_ns)), len(set(record.events.read)), record.coalesced_reads) == (1, 1, 1)
    assert record.outcome is Outcome.COMPLETED


async def test_compression_where_the_headers_ask_for_it(
    chat: Chat, spec: TargetSpec, dialect_file: Any, stream_of: Streaming
) -> None:
    async with serve(chat.serve, "127.0.0.1", 0) as compressing:
        port = compressing.sockets[0].getsockname()[1]
        for asked in (True, False):
            headers = (("Sec-WebSocket-Extensions", "permessage-deflate"),) if asked else ()
            there = spec.reached(url=f"ws://127.0.0.1:{port}", headers=headers)
            user = open_session(there)
            records = [await stream_of(user, there, prompt) for prompt in ("words", "fragments")]
            await user.close()
            assert [record.outcome for record in records] == [Outcome.COMPLETED] * 2
            assert records[1].text == TEXT
            assert bool(chat.connections[-1].protocol.extensions) is asked


async def test_a_message_that_grows_beyond_the_limit_when_decompressed(
    chat: Chat, spec: TargetSpec, stream_of: Streaming
) -> None:
    async with serve(chat.serve, "127.0.0.1", 0) as compressing:
        there = spec.reached(
            url=f"ws://127.0.0.1:{compressing.sockets[0].getsockname()[1]}",
            headers=(("Sec-WebSocket-Extensions", "permessage-deflate"),),
            limits=WireLimits(max_event_bytes=10_000),
        )
        user = open_session(there)
        record = await stream_of(user, there, "large")
        await user.close()
    assert (record.outcome, record.error) == (Outcome.FAILED, ErrorClass.OVERSIZE)


@pytest.mark.parametrize(
    ("prompt", "error", "ending", "close_code"),
    [
        ("closing", ErrorClass.DISCONNECT, Ending.CLOSE_FRAME, 1011),
        ("aborting", None, None, None),
        ("ending", ErrorClass.DISCONNECT, Ending.FIN, None),
        ("large", ErrorClass.OVERSIZE, Ending.CLIENT, 1009),
        ("large_in_fragments", ErrorClass.OVERSIZE, Ending.CLIENT, 1009),
        ("not_utf8", ErrorClass.PROTOCOL, Ending.CLIENT, 1007),
        ("reserved_bits", ErrorClass.PROTOCOL, Ending.CLIENT, 1002),
    ],
)
async def test_what_ends_a_reply_is_recorded_and_the_next_one_has_a_new_connection(
    prompt: str,
    error: ErrorClass | None,
    ending: Ending | None,
    close_code: int | None,
    chat: Chat,
    spec: TargetSpec,
    stream_of: Streaming,
) -> None:
    spec = spec.reached(limits=WireLimits(max_event_bytes=10_000))
    user = open_session(spec)
    await user.prepare()
    record = await stream_of(user, spec, prompt)
    assert record.outcome is Outcome.FAILED
    if error is None:  # an abort is a reset or an end, as the kernel has it
        assert record.error in (ErrorClass.RESET, ErrorClass.DISCONNECT)
    else:
        assert (record.error, record.ending, record.close_code) == (error, ending, close_code)
    after = await stream_of(user, spec, "plain")
    await user.close()
    assert (after.outcome, after.text, after.reused_connection) == (Outcome.COMPLETED, TEXT, False)
    assert user.variables["session"] == "2"


async def test_an_error_event_fails_the_reply_and_leaves_the_connection(
    chat: Chat, spec: TargetSpec, stream_of: Streaming
) -> None:
    user = open_session(spec)
    failed = await stream_of(user, spec, "failing")
    after = await stream_of(user, spec, "plain")
    await user.close()
    assert (failed.outcome, failed.error, failed.error_message) == (
        Outcome.FAILED,
        ErrorClass.ERROR_EVENT,
        "out of tokens",
    )
    assert (after.outcome, after.text) == (Outcome.COMPLETED, TEXT)
    assert len(chat.connections) == 1


@pytest.mark.parametrize(
    ("prompt", "error"), [("silent", ErrorClass.TIMEOUT_IDLE), ("mute", ErrorClass.TIMEOUT_FIRST_CHUNK)]
)
async def test_a_server_that_vanishes(prompt: str, error: ErrorClass, spec: TargetSpec, stream_of: Streaming) -> None:
    user = open_session(spec)
    await user.prepare()
    short_ns = 200_000_000
    timeouts = Timeouts(idle_ns=short_ns) if prompt == "silent" else Timeouts(first_chunk_ns=short_ns)
    hasty = spec.reached(timeouts=timeouts)
    user._spec = hasty  # type: ignore[attr-defined]  # setup may take its time
    record = await stream_of(user, hasty, prompt)
    await user.close()
    assert (record.outcome, record.error, record.ending) == (Outcome.FAILED, error, Ending.TIMEOUT)
    assert record.text == ("half" if prompt == "silent" else "")


async def test_pongs_for_a_server_that_does_not_read_them_are_bounded(
    spec: TargetSpec, stream_of: Streaming, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket_shell, "MAX_UNSENT_BYTES", 1 << 16)
    patient = WireLimits(max_control_per_s=10**9)
    spec = replace(spec, endpoint=replace(spec.endpoint, limits=patient))
    user = open_session(spec)
    record = await stream_of(user, spec, "flooding")
    await user.close()
    assert (record.error, record.ending) == (ErrorClass.OVERSIZE, Ending.CLIENT)


async def test_a_flood_of_pings_ends_the_reply(spec: TargetSpec, stream_of: Streaming) -> None:
    user = open_session(spec)
    record = await stream_of(user, spec, "flooding")
    await user.close()
    assert (record.error, record.ending) == (ErrorClass.FLOOD, Ending.CLIENT)
    assert [finding.rule for finding in record.findings] == ["wire.flood"]


async def test_violations_are_findings_of_a_completed_reply(spec: TargetSpec, stream_of: Streaming) -> None:
    user = open_session(spec)
    for prompt in ("bad_order", "binary"):
        record = await stream_of(user, spec, prompt)
        assert record.outcome is Outcome.COMPLETED
        assert record.text == TEXT
        (finding,) = record.findings
        assert (finding.event_index, finding.offset) == (0, 0)
    await user.close()


async def test_cancelling_closes_the_connection_at_once(chat: Chat, spec: TargetSpec, stream_of: Streaming) -> None:
    user = open_session(spec)
    await user.prepare()
    records = []
    task = asyncio.create_task(stream_of(user, spec, "mute"))
    while not chat.asked:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        records.append(await task)
    async with asyncio.timeout(30):
        await chat.connections[0].wait_closed()
    assert chat.connections[0].close_code == 1006


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("closing", ErrorClass.SETUP, "4401.* who are you"),
        ("angry", ErrorClass.SETUP, "no rooms left"),
        ("mute", ErrorClass.SETUP, "'welcome' did not come within"),
    ],
)
async def test_a_setup_that_fails_says_why(
    path: str, error: ErrorClass, message: str, spec: TargetSpec, stream_of: Streaming
) -> None:
    wait_ns = 300_000_000 if path == "mute" else 30_000_000_000
    spec = replace(spec.reached(timeouts=Timeouts(first_chunk_ns=wait_ns)), variables={"room": path})
    user = open_session(spec)
    with pytest.raises(SetupError, match=message) as raised:
        await user.prepare()
    assert raised.value.error == error
    record = await stream_of(user, spec, "plain")
    await user.close()
    assert (record.outcome, record.error, record.ending) == (Outcome.FAILED, error, Ending.NOT_CONNECTED)
    assert re.search(message, record.error_message)


async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    path = head.split(" ")[1]
    if "401" in path:
        writer.write(b'HTTP/1.1 401 Unauthorized\r\nContent-Length: 21\r\n\r\n{"detail":"no token!"}'[:-1])
    elif "200" in path:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    elif "101" in path:
        writer.write(b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n")
    elif "garbage" in path:
        writer.write(b"\x00\x01 what\r\n\r\n")
    elif "hang" in path:
        await asyncio.sleep(30)
    writer.close()


@pytest.mark.parametrize(
    ("room", "error"),
    [
        ("401", "http_401"),
        ("200", "http_200"),
        ("101", ErrorClass.PROTOCOL),
        ("garbage", ErrorClass.PROTOCOL),
        ("closed", ErrorClass.DISCONNECT),
        ("hang", ErrorClass.TIMEOUT_CONNECT),
    ],
)
async def test_a_refused_upgrade(room: str, error: str, spec: TargetSpec) -> None:
    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connect_ns = 300_000_000 if room == "hang" else 20_000_000_000
    user = open_session(
        replace(
            spec.reached(url=f"ws://127.0.0.1:{port}", timeouts=Timeouts(connect_ns=connect_ns)),
            variables={"room": room},
        )
    )
    with pytest.raises(SetupError) as raised:
        await user.prepare()
    assert raised.value.error == error
    server.close()


async def test_a_dead_target(spec: TargetSpec) -> None:
    with pytest.raises(SetupError) as raised:
        await open_session(spec.reached(url="ws://127.0.0.1:1")).prepare()
    assert raised.value.error == ErrorClass.CONNECT


async def test_headers_cookies_subprotocol_and_path_of_the_upgrade(
    chat: Chat, spec: TargetSpec, stream_of: Streaming
) -> None:
    async with serve(chat.serve, "127.0.0.1", 0, subprotocols=["chat.v2"]) as server:
        port = server.sockets[0].getsockname()[1]
        there = replace(spec, variables={"room": "a b/c"}).reached(
            url=f"ws://127.0.0.1:{port}/base?key=1",
            headers=(
                ("Authorization", "Bearer secret"),
                ("Sec-WebSocket-Protocol", "chat.v1, chat.v2"),
                ("Cookie", "a=b"),
                ("Host", "chat.example"),
            ),
        )
        user = open_session(there)
        record = await stream_of(user, there, "plain")
        await user.close()
    assert record.outcome is Outcome.COMPLETED
    request = chat.connections[0].request
    assert request.path == "/base/chat/a%20b%2Fc?key=1"
    assert request.headers["Authorization"] == "Bearer secret"
    assert (request.headers["Cookie"], request.headers["Host"]) == ("a=b", "chat.example")
    assert request.headers["User-Agent"].startswith("streambench/")
    assert chat.connections[0].subprotocol == "chat.v2"


async def test_tls_and_a_proxy(
    chat: Chat, spec: TargetSpec, certificate: Any, tunnel_proxy: Any, stream_of: Streaming
) -> None:
    async with serve(chat.serve, "127.0.0.1", 0, ssl=certificate.server) as secure:
        port = secure.sockets[0].getsockname()[1]
        targets = [
            spec.reached(url=f"wss://localhost:{port}", tls_verify=certificate.path),
            spec.reached(url=f"wss://127.0.0.1:{port}", tls_verify=False),
            spec.reached(url=f"wss://localhost:{port}", tls_verify=certificate.path, proxy=tunnel_proxy.url),
            spec.reached(proxy=tunnel_proxy.url.replace("://", "://user:pass%21@")),
        ]
        for target in targets:
            user = open_session(target)
            record = await stream_of(user, target, "words")
            await user.close()
            assert (record.outcome, record.findings) == (Outcome.COMPLETED, [])
        with pytest.raises(SetupError) as raised:
            await open_session(targets[0].reached(tls_verify=True)).prepare()
        assert raised.value.error == ErrorClass.TLS
    assert [head.split(" ")[0] for head in tunnel_proxy.asked] == ["CONNECT"] * 2
    assert "Basic " + base64.b64encode(b"user:pass!").decode() in tunnel_proxy.asked[1]


async def test_two_users_have_connections_of_their_own(chat: Chat, spec: TargetSpec, stream_of: Streaming) -> None:
    users = [open_session(spec, {"user": str(number)}) for number in range(20)]
    await asyncio.gather(*(user.prepare() for user in users))
    records = await asyncio.gather(*(stream_of(user, spec, "words") for user in users))
    await asyncio.gather(*(user.close() for user in users))
    assert all(record.outcome is Outcome.COMPLETED and record.text == TEXT for record in records)
    assert len(chat.connections) == 20


LOGIN_DIALECT = """
dialect: test-login
version: 1
transport: websocket
path: /ws/{thread}
setup:
  - {method: POST, path: /login, json: {name: ann}, capture: {thread: thread.id}}
request:
  send: ["{prompt}", {thread: "{thread}"}]
name: type
events:
  delta: {content: text}
  done: {}
grammar: delta* done
"""


async def test_a_login_beside_the_socket_gives_its_cookie_and_its_thread(
    dialect_file: Callable[[str], str], stream_of: Streaming
) -> None:
    upgrades: list[web.Request] = []

    async def login(request: web.Request) -> web.Response:
        assert await request.json() == {"name": "ann"}
        response = web.json_response({"thread": {"id": 7}})
        response.set_cookie("session", "s3cret", httponly=True)
        return response

    async def socket(request: web.Request) -> web.WebSocketResponse:
        upgrades.append(request)
        ws = web.WebSocketResponse()
        ws.set_cookie("affinity", "b2")
        await ws.prepare(request)
        async for message in ws:
            if message.data.startswith("{"):
                await ws.send_json({"type": "delta", "text": message.data})
                await ws.send_json({"type": "done"})
            elif message.data == "leave":
                await ws.close(code=1001)
        return ws

    app = web.Application()
    app.add_routes([web.post("/login", login), web.get("/ws/7", socket)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    dialect = load_dialect(dialect_file(LOGIN_DIALECT))
    spec = TargetSpec("t", dialect, Endpoint(f"ws://127.0.0.1:{runner.addresses[0][1]}"))
    user = open_session(spec)
    await user.prepare()
    record = await stream_of(user, spec, "hello")
    assert (record.outcome, record.text) == (Outcome.COMPLETED, '{"thread":"7"}')
    left = await stream_of(user, spec, "leave")
    assert (left.ending, left.close_code) == (Ending.CLOSE_FRAME, 1001)
    assert (await stream_of(user, spec, "again")).outcome is Outcome.COMPLETED
    await user.close()
    await runner.cleanup()
    assert [request.cookies for request in upgrades] == [
        {"session": "s3cret"},
        {"session": "s3cret", "affinity": "b2"},
    ]


async def test_deltas_and_all_the_text_so_far_are_measured_alike(
    dialect_file: Callable[[str], str], stream_of: Streaming
) -> None:
    words = ["grüß ", "Gott, ", "", "Welt ", "😀"]

    async def speak(socket: ServerConnection) -> None:
        async for prompt in socket:
            for i, word in enumerate(words):
                await socket.send(event("delta", text=word if prompt == "delta" else "".join(words[: i + 1])))
            await socket.send(event("done"))

    measured = []
    async with serve(speak, "127.0.0.1", 0) as server:
        for mode in ("delta", "snapshot"):
            text = DIALECT.replace("delta: {content: text}", f"delta: {{content: text, mode: {mode}}}")
            text = text.replace("/chat/{room}", "/chat").replace("variables: {room: main}\n", "")
            text = text[: text.index("setup:")] + 'request: {send: ["{prompt}"]}\n' + text[text.index("name:") :]
            dialect = load_dialect(dialect_file(text))
            spec = TargetSpec("t", dialect, Endpoint(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
            user = open_session(spec)
            record = await stream_of(user, spec, mode)
            await user.close()
            measured.append(
                (record.text, record.events.name, list(record.events.chars), record.outcome, record.findings)
            )
    assert measured[0] == measured[1]
    assert measured[0][2] == [*map(len, words), 0]
