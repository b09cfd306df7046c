"""The Socket.IO driver against python-socketio and the official Node server, over every transport."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
import socketio
from aiohttp import web
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as websocket_server

from streambench.dialects import load_dialect
from streambench.drivers.failures import SetupError
from streambench.drivers.target import TargetSpec
from streambench.drivers.users import open_session
from streambench.endings import Ending, ErrorClass
from streambench.record.model import Outcome, StreamRecord
from streambench.transport.target import Endpoint, Timeouts
from streambench.wire.limits import WireLimits

DIALECT = """
dialect: test-socketio
version: 1
transport: socketio
variables: {token: right, name: ann}
setup:
  - emit: [connect, {token: "{token}"}]
  - await: welcome
    capture: {id: id, transport: transport, namespace: namespace, sent_token: auth.token}
  - emit: [hello, {name: "{name}"}]
    await: session
    capture: {session: id}
request:
  emit: [ask, {session: "{session}", text: "{prompt}"}]
name: socketio.event
events:
  delta: {content: text}
  done: {}
  error_event: {error: message}
  welcome: {}
  session: {}
grammar: delta* done
interrupt: error_event
anywhere: [welcome, session]
"""
TEXT = "grüß Gott, Welt 😀"
Streaming = Callable[..., Awaitable[StreamRecord]]
Serving = Callable[..., Awaitable[str]]

TRANSPORTS = {"websocket": "?transport=websocket", "polling": "?transport=polling", "upgrade": ""}


class Chat:
    """The chat of socketio_server.cjs on python-socketio."""

    def __init__(self, transports: str, ping_interval: float) -> None:
        self.requests: list[web.BaseRequest] = []
        self.peers: set[Any] = set()
        self.keeps_alive = True
        self.forgets = ""  # the next request with this method, and closes its connection
        self.server = socketio.AsyncServer(
            async_mode="aiohttp",
            transports=transports.split(","),
            ping_interval=ping_interval,
            ping_timeout=5,
            cookie="affinity",
        )
        for namespace in ("/", "/admin"):
            self.server.on("connect", self._connect(namespace), namespace=namespace)
            self.server.on("hello", self._hello(namespace), namespace=namespace)
            self.server.on("ask", self._ask(namespace), namespace=namespace)

    def _connect(self, namespace: str) -> Any:
        async def connect(sid: str, environ: Any, auth: Any) -> None:
            if auth and auth.get("token") == "wrong":
                raise socketio.exceptions.ConnectionRefusedError("who are you")
            fields = {
                "id": sid,
                "auth": auth or {},
                "namespace": namespace,
                "transport": self.server.transport(sid, namespace),
                "authorization": environ.get("HTTP_AUTHORIZATION", ""),
                "cookie": environ.get("HTTP_COOKIE", ""),
                "query": environ["aiohttp.request"].query.get("key", ""),
            }
            self.server.start_background_task(self.server.emit, "welcome", fields, sid, namespace=namespace)

        return connect

    def _hello(self, namespace: str) -> Any:
        async def hello(sid: str, fields: Any) -> None:
            await self.server.emit("session", {"id": fields["name"] + "'s"}, sid, namespace=namespace)

        return hello

    def _ask(self, namespace: str) -> Any:
        async def ask(sid: str, fields: Any) -> None:
            async def emit(event: str, **data: Any) -> None:
                await self.server.emit(event, data, sid, namespace=namespace)

            words = ["grüß ", "Gott, ", "Welt ", "😀"]
            match fields["text"].split()[0]:
                case "plain":
                    await emit("delta", text=TEXT)
                    await emit("done")
                case "words" | "slow" as kind:
                    for word in words:
                        await emit("delta", text=word)
                        await asyncio.sleep(0.06 if kind == "slow" else 0.001)
                    await emit("done")
                case "binary":
                    await emit("delta", text=TEXT, blobs=[b"\x00\x01\xff", {"more": b""}])
                    await emit("done")
                case "acked":
                    await self.server.call("delta", {"text": TEXT}, sid, namespace=namespace, timeout=10)
                    await emit("done")
                case "failing":
                    await emit("delta", text="half")
                    await emit("error_event", message="out of tokens")
                case "disconnecting":
                    await emit("delta", text="half")
                    await self.server.disconnect(sid, namespace=namespace)
                case "closing":
                    await emit("delta", text="half")
                    await asyncio.sleep(0.05)
                    await self.server.eio.disconnect(self.server.manager.eio_sid_from_sid(sid, namespace))
                case "large":
                    await emit("delta", text="x" * 100_000)
                case "silent":
                    await emit("delta", text="half")

        return ask

    def app(self, path: str) -> web.Application:
        @web.middleware
        async def note(request: web.Request, handler: Any) -> web.StreamResponse:
            self.requests.append(request)
            self.peers.add(request.transport and request.transport.get_extra_info("peername"))
            if request.method == self.forgets:
                self.forgets = ""
                assert request.transport is not None
                request.transport.close()
                return web.Response()
            response: web.StreamResponse = await handler(request)
            if not self.keeps_alive:
                response.force_close()
            return response

        app = web.Application(middlewares=[note])
        self.server.attach(app, socketio_path=path)
        return app


@pytest.fixture
async def serve_python() -> AsyncIterator[Serving]:
    runners: list[tuple[web.AppRunner, Chat]] = []

    async def serve(
        path: str = "socket.io", transports: str = "polling,websocket", ping_interval: float = 25, ssl: Any = None
    ) -> str:
        chat = Chat(transports, ping_interval)
        runner = web.AppRunner(chat.app(path), shutdown_timeout=0.1)
        runners.append((runner, chat))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl).start()
        serve.chat = chat  # type: ignore[attr-defined]
        return f"{'https' if ssl else 'http'}://127.0.0.1:{runner.addresses[0][1]}"

    yield serve
    for runner, chat in runners:
        await chat.server.shutdown()
        await runner.cleanup()


@pytest.fixture(scope="module")
def serve_node(node: str) -> Iterator[Serving]:
    """Node takes a while to start, so servers with the same options are shared."""
    processes: dict[tuple[str, ...], tuple[subprocess.Popen[str], str]] = {}

    async def serve(path: str = "socket.io", transports: str = "polling,websocket", ping_interval: float = 25) -> str:
        here = Path(__file__)
        modules = here.parents[2] / "node" / "node_modules"
        options = (f"/{path}", transports, str(round(ping_interval * 1000)))
        if options not in processes:
            process = subprocess.Popen(
                [node, str(here.with_name("socketio_server.cjs")), str(modules), *options],
                stdout=subprocess.PIPE,
                text=True,
            )
            assert process.stdout is not None
            processes[options] = process, process.stdout.readline()
        return f"http://127.0.0.1:{int(processes[options][1])}"

    serve.processes = processes  # type: ignore[attr-defined]
    yield serve
    for process, _ in processes.values():
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture(params=["python", "node"])
def serve(request: pytest.FixtureRequest) -> Serving:
    serving: Serving = request.getfixturevalue(f"serve_{request.param}")
    return serving


@pytest.fixture
def spec(dialect_file: Callable[[str], str]) -> TargetSpec:
    return TargetSpec("t", load_dialect(dialect_file(DIALECT)), Endpoint("http://127.0.0.1:1"))


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_replies_come_in_sequence(transport: str, serve: Serving, spec: TargetSpec, stream_of: Streaming) -> None:
    spec = spec.reached(url=await serve() + "/" + TRANSPORTS[transport])
    user = open_session(spec)
    await user.prepare()
    assert user.variables["session"] == "ann's"
    assert user.variables["sent_token"] == "right"
    assert user.variables["transport"] == ("polling" if transport == "polling" else "websocket")
    records = [await stream_of(user, spec, prompt) for prompt in ("words", "plain", "binary", "acked", "words")]
    await user.close()
    for record in records:
        assert (record.outcome, record.error, record.text) == (Outcome.COMPLETED, None, TEXT)
        assert (record.ending, record.terminal_event, record.findings) == (Ending.RESPONSE_END, True, [])
        assert record.reused_connection
        assert record.events.name == ["delta"] * (len(record.events) - 1) + ["done"]
        assert record.start_ns <= record.sent_ns <= record.events.at_ns[0] <= record.events.at_ns[-1] == record.end_ns
        assert list(record.events.at_ns) == sorted(record.events.at_ns)
        assert record.wire_bytes > 0


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_heartbeats_go_on_during_a_reply(
    transport: str, serve: Serving, spec: TargetSpec, stream_of: Streaming
) -> None:
    spec = spec.reached(url=await serve(ping_interval=0.05) + "/" + TRANSPORTS[transport])
    user = open_session(spec)
    await user.prepare()
    record = await stream_of(user, spec, "slow")
    await user.close()
    assert (record.outcome, record.text, record.findings) == (Outcome.COMPLETED, TEXT, [])


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_namespace_and_a_path_of_its_own(
    transport: str, serve: Serving, spec: TargetSpec, stream_of: Streaming
) -> None:
    url = await serve(path="ws/socket.io")
    spec = spec.reached(url=f"{url}/ws/socket.io{TRANSPORTS[transport]}#/admin")
    user = open_session(spec)
    record = await stream_of(user, spec, "words")
    await user.close()
    assert user.variables["namespace"] == "/admin"
    assert (record.outcome, record.text, record.reused_connection) == (Outcome.COMPLETED, TEXT, False)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("fragment", "token", "message"),
    [("", "wrong", "who are you"), ("#/nowhere", "right", "refuses the namespace '/nowhere'")],
)
async def test_a_refusal_is_a_failed_setup_with_the_servers_reason(
    fragment: str, token: str, message: str, transport: str, serve: Serving, spec: TargetSpec, stream_of: Streaming
) -> None:
    spec = replace(spec.reached(url=await serve() + "/" + TRANSPORTS[transport] + fragment), variables={"token": token})
    user = open_session(spec)
    with pytest.raises(SetupError, match=message) as raised:
        await user.prepare()
    assert raised.value.error == ErrorClass.SETUP
    record = await stream_of(user, spec, "plain")
    await user.close()
    assert (record.outcome, record.error, record.ending) == (Outcome.FAILED, ErrorClass.SETUP, Ending.NOT_CONNECTED)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("prompt", "error", "ending"),
    [
        ("disconnecting", ErrorClass.DISCONNECT, Ending.CLOSE_FRAME),
        ("closing", ErrorClass.DISCONNECT, None),
        ("large", ErrorClass.OVERSIZE, Ending.CLIENT),
    ],
)
async def test_what_ends_a_reply_is_recorded_and_the_next_one_has_a_new_connection(
    prompt: str,
    error: ErrorClass,
    ending: Ending | None,
    transport: str,
    serve: Serving,
    spec: TargetSpec,
    stream_of: Streaming,
) -> None:
    spec = spec.reached(url=await serve() + "/" + TRANSPORTS[transport], limits=WireLimits(max_event_bytes=10_000))
    user = open_session(spec)
    await user.prepare()
    first = user.variables["id"]
    record = await stream_of(user, spec, prompt)
    assert (record.outcome, record.error) == (Outcome.FAILED, error)
    if ending is not None:
        assert record.ending is ending
    after = await stream_of(user, spec, "plain")
    await user.close()
    assert (after.outcome, after.text, after.reused_connection) == (Outcome.COMPLETED, TEXT, False)
    assert user.variables["id"] != first


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_server_that_dies(transport: str, serve_node: Any, spec: TargetSpec, stream_of: Any) -> None:
    own = f"socket.io/{transport}"
    spec = spec.reached(url=await serve_node(path=own) + f"/{own}/{TRANSPORTS[transport]}")
    process = next(process for options, (process, _) in serve_node.processes.items() if options[0] == f"/{own}")
    user = open_session(spec)
    await user.prepare()
    streaming = asyncio.create_task(stream_of(user, spec, "silent"))
    await asyncio.sleep(0.05)
    process.kill()
    record = await streaming
    await user.close()
    assert record.outcome is Outcome.FAILED
    assert record.error in (ErrorClass.DISCONNECT, ErrorClass.RESET)
    assert record.ending in (Ending.FIN, Ending.RESET)


async def test_an_error_event_fails_the_reply_and_leaves_the_connection(
    serve: Serving, spec: TargetSpec, stream_of: Streaming
) -> None:
    spec = spec.reached(url=await serve())
    user = open_session(spec)
    failed = await stream_of(user, spec, "failing")
    after = await stream_of(user, spec, "plain")
    await user.close()
    assert (failed.outcome, failed.error, failed.error_message) == (
        Outcome.FAILED,
        ErrorClass.ERROR_EVENT,
        "out of tokens",
    )
    assert (after.outcome, after.reused_connection) == (Outcome.COMPLETED, True)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_reply_that_stalls_while_the_heart_beats(
    transport: str, serve: Serving, spec: TargetSpec, stream_of: Streaming
) -> None:
    spec = spec.reached(url=await serve(ping_interval=0.05) + "/" + TRANSPORTS[transport])
    user = open_session(spec)
    await user.prepare()
    hasty = spec.reached(timeouts=Timeouts(idle_ns=250_000_000))
    user._spec = hasty  # type: ignore[attr-defined]  # setup may take its time
    record = await stream_of(user, hasty, "silent")
    await user.close()
    assert (record.outcome, record.error, record.text) == (Outcome.FAILED, ErrorClass.TIMEOUT_IDLE, "half")


async def test_a_server_without_websockets_is_polled(serve: Serving, spec: TargetSpec, stream_of: Streaming) -> None:
    url = await serve(transports="polling")
    user = open_session(spec.reached(url=url))
    record = await stream_of(user, spec, "words")
    await user.close()
    assert (record.outcome, record.text, user.variables["transport"]) == (Outcome.COMPLETED, TEXT, "polling")
    with pytest.raises(SetupError) as raised:
        await open_session(spec.reached(url=url + "?transport=websocket")).prepare()
    assert raised.value.error == "http_400"


async def test_a_server_without_polling(serve: Serving, spec: TargetSpec) -> None:
    url = await serve(transports="websocket")
    with pytest.raises(SetupError) as raised:
        await open_session(spec.reached(url=url)).prepare()
    assert raised.value.error == "http_400"
    user = open_session(spec.reached(url=url.replace("http:", "ws:")))
    await user.prepare()
    await user.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_cancelling_closes_everything_at_once(
    transport: str, serve_python: Any, spec: TargetSpec, stream_of: Any
) -> None:
    spec = spec.reached(url=await serve_python() + "/" + TRANSPORTS[transport])
    before = asyncio.all_tasks()
    user = open_session(spec)
    await user.prepare()
    task = asyncio.create_task(stream_of(user, spec, "silent"))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert not [left for left in asyncio.all_tasks() - before if "streambench" in repr(left.get_coro())]
    await user.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_headers_query_and_cookies_reach_every_request(
    transport: str, serve_python: Any, spec: TargetSpec, stream_of: Streaming
) -> None:
    query = TRANSPORTS[transport] + ("&" if TRANSPORTS[transport] else "?") + "key=a%20b"
    spec = spec.reached(
        url=await serve_python() + "/" + query,
        headers=(("Authorization", "Bearer secret"), ("Cookie", "mine=1")),
    )
    user = open_session(spec)
    record = await stream_of(user, spec, "words")
    await user.close()
    assert record.outcome is Outcome.COMPLETED
    requests = serve_python.chat.requests
    assert {request.headers["Authorization"] for request in requests} == {"Bearer secret"}
    assert {request.query["key"] for request in requests} == {"a b"}
    assert {request.query["EIO"] for request in requests} == {"4"}
    cookies = [SimpleCookie(request.headers["Cookie"]) for request in requests]
    assert all(cookie["mine"].value == "1" for cookie in cookies)
    assert all("affinity" in cookie for cookie in cookies[1:])


@pytest.mark.parametrize("keeps_alive", [True, False])
async def test_polling_takes_two_connections_where_the_server_keeps_them(
    keeps_alive: bool, serve_python: Any, spec: TargetSpec, stream_of: Streaming
) -> None:
    spec = spec.reached(url=await serve_python() + "/?transport=polling")
    chat = serve_python.chat
    chat.keeps_alive = keeps_alive
    user = open_session(spec)
    records = [await stream_of(user, spec, "words") for _ in range(3)]
    await user.close()
    assert [(record.outcome, record.text) for record in records] == [(Outcome.COMPLETED, TEXT)] * 3
    assert len(chat.peers) == (2 if keeps_alive else len(chat.requests))


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_polling_that_is_sent_again_is_counted_in_its_stream(
    method: str, serve_python: Any, spec: TargetSpec, stream_of: Streaming
) -> None:
    """The POST is that of the prompt, the GET one between two answers: of this reply, or of the time before."""
    spec = spec.reached(url=await serve_python() + "/?transport=polling")
    user = open_session(spec)
    records = [await stream_of(user, spec, "words")]
    serve_python.chat.forgets = method
    records += [await stream_of(user, spec, "words") for _ in range(3)]
    await user.close()
    assert [(record.outcome, record.text) for record in records] == [(Outcome.COMPLETED, TEXT)] * 4
    assert records[0].resent == 0
    assert sum(record.resent for record in records) == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_tls_and_a_proxy(
    transport: str,
    serve_python: Any,
    spec: TargetSpec,
    certificate: Any,
    tunnel_proxy: Any,
    stream_of: Streaming,
) -> None:
    url = (await serve_python(ssl=certificate.server)).replace("127.0.0.1", "localhost")
    spec = spec.reached(url=url + "/" + TRANSPORTS[transport], tls_verify=certificate.path)
    for target in (spec, spec.reached(proxy=tunnel_proxy.url), spec.reached(tls_verify=False)):
        user = open_session(target)
        record = await stream_of(user, target, "words")
        await user.close()
        assert (record.outcome, record.text) == (Outcome.COMPLETED, TEXT)
    assert tunnel_proxy.asked
    with pytest.raises(SetupError) as raised:
        await open_session(spec.reached(tls_verify=True)).prepare()
    assert raised.value.error == ErrorClass.TLS


ANSWERS = {
    "page": b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
    "nothing": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "older": b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n97:0{"sid":"',
    "unfit": b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n0{"sid":""}',
    "garbage": b"nonsense\r\n\r\n",
    "cut": b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n0{",
    "endless": b"HTTP/1.1 200 OK\r\n" + b"X-Header: 0123456789\r\n" * 5000,
    "line": b"HTTP/1.1 200 OK\r\nX-Header: " + b"0" * 200_000,
    "bomb": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n4" + b"x" * 5_000_000,
    "encoded": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
    "gone": b"HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\nno chat",
    "closed": b"",
}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("page", ErrorClass.PROTOCOL),
        ("nothing", ErrorClass.PROTOCOL),
        ("older", ErrorClass.PROTOCOL),
        ("unfit", ErrorClass.PROTOCOL),
        ("garbage", ErrorClass.PROTOCOL),
        ("cut", ErrorClass.DISCONNECT),
        ("endless", ErrorClass.OVERSIZE),
        ("line", ErrorClass.OVERSIZE),
        ("bomb", ErrorClass.OVERSIZE),
        ("encoded", ErrorClass.PROTOCOL),
        ("gone", "http_404"),
        ("closed", ErrorClass.DISCONNECT),
    ],
)
async def test_what_is_no_engineio_server(answer: str, error: str, spec: TargetSpec) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWERS[answer])
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    with pytest.raises(SetupError) as raised:
        await open_session(spec.reached(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")).prepare()
    assert raised.value.error == error
    server.close()


async def test_many_users_at_once(serve: Serving, spec: TargetSpec, stream_of: Streaming) -> None:
    url = await serve()
    specs = [spec.reached(url=f"{url}/{query}") for query in TRANSPORTS.values() for _ in range(8)]
    users = [open_session(each) for each in specs]
    await asyncio.gather(*(user.prepare() for user in users))
    records = await asyncio.gather(*(stream_of(user, each, "words") for user, each in zip(users, specs, strict=True)))
    await asyncio.gather(*(user.close() for user in users))
    assert [(record.outcome, record.text) for record in records] == [(Outcome.COMPLETED, TEXT)] * 24


@pytest.mark.parametrize(
    ("answers", "error", "ending", "message", "rules"),
    [
        ([], ErrorClass.TIMEOUT_IDLE, Ending.TIMEOUT, "no ping from the server for 300 ms", set()),
        ([b"stray"], ErrorClass.PROTOCOL, Ending.CLIENT, "belongs to no packet", {"socketio.stray-attachment"}),
        (["9"], ErrorClass.PROTOCOL, Ending.CLIENT, "no packet type", {"engineio.unknown-type"}),
        (["42[]"], ErrorClass.PROTOCOL, Ending.CLIENT, "begins with the event's name", {"socketio.bad-payload"}),
        (['459-["a"]'], ErrorClass.OVERSIZE, Ending.CLIENT, "attachments", {"wire.oversize"}),
        (["1"], ErrorClass.DISCONNECT, Ending.CLOSE_FRAME, "", {"termination.close-frame"}),
        (["41"], ErrorClass.DISCONNECT, Ending.CLOSE_FRAME, "", {"termination.close-frame"}),
        (
            ['42/else,["delta",{}]', "3", '42["done",{}]'],
            ErrorClass.EMPTY,
            Ending.RESPONSE_END,
            "",
            {
                "socketio.wrong-namespace-state",
                "engineio.stray-pong",
                "content.empty",
            },
        ),
        (['451-["done",{}]', "41"], ErrorClass.PROTOCOL, Ending.CLIENT, "", {"socketio.missing-attachments"}),
    ],
)
async def test_a_server_that_breaks_the_protocol_within_a_reply(
    answers: list[str | bytes],
    error: ErrorClass | None,
    ending: Ending,
    message: str,
    rules: set[str],
    spec: TargetSpec,
    stream_of: Streaming,
) -> None:
    async def serve(socket: ServerConnection) -> None:
        interval = 100 if not answers else 60_000
        await socket.send(f'0{{"sid":"s","upgrades":[],"pingInterval":{interval},"pingTimeout":200}}')
        async for packet in socket:
            if packet == '40{"token":"right"}':
                await socket.send('40{"sid":"x"}')
                await socket.send('42["welcome",{"id":1,"transport":"","namespace":"","auth":{"token":""}}]')
            elif "hello" in str(packet):
                await socket.send('42["session",{"id":1}]')
            elif "ask" in str(packet):
                for answer in answers:
                    await socket.send(answer)

    async with websocket_server(serve, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        spec = spec.reached(url=url, limits=WireLimits(max_attachments=8))
        user = open_session(spec)
        record = await stream_of(user, spec, "anything")
        await user.close()
    assert (record.error, record.ending) == (error, ending)
    assert message in (record.error_message or "")
    assert rules <= {finding.rule for finding in record.findings}
