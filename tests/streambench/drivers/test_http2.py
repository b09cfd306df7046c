"""The HTTP/2 driver against a server made of h2 itself: every ending, flow control, and servers that speak none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic_ns
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import pytest

from streambench.dialects import load_dialect
from streambench.drivers.target import TargetSpec
from streambench.drivers.users import open_session
from streambench.endings import Ending, ErrorClass
from streambench.record.model import Outcome, StreamRecord
from streambench.record.recorder import Recorder
from streambench.transport.target import Endpoint

DIALECT = load_dialect("chat-stream")
HEADERS = [(":status", "200"), ("content-type", "text/event-stream")]

Answer = Callable[["Server", int], Awaitable[None]]


def event(payload: object) -> bytes:
    return f"data: {json.dumps(payload)}\n\n".encode()


class Server:
    """One connection's server. `answer` is called with each stream whose request has ended."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.connections = 0
        self.bodies: dict[int, bytes] = {}
        self.headers: dict[int, dict[str, str]] = {}
        self.resets: list[int] = []
        self.reset_came = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writer = writer
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.flush()
        while data := await reader.read(1 << 16):
            for happened in self.h2.receive_data(data):
                match happened:
                    case h2.events.RequestReceived():
                        self.headers[happened.stream_id] = dict(happened.headers)  # type: ignore[arg-type]
                        self.bodies[happened.stream_id] = b""
                    case h2.events.DataReceived():
                        self.bodies[happened.stream_id] += happened.data
                        self.h2.acknowledge_received_data(happened.flow_controlled_length, happened.stream_id)
                    case h2.events.StreamEnded():
                        await self._answer(self, happened.stream_id)
                    case h2.events.StreamReset():
                        self.resets.append(happened.stream_id)
                        self.reset_came.set()
            self.flush()
        writer.close()

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    def send(self, stream_id: int, *pieces: bytes, end: bool = False) -> None:
        for piece in pieces:
            self.h2.send_data(stream_id, piece)
        if end:
            self.h2.end_stream(stream_id)
        self.flush()


@pytest.fixture
async def start() -> AsyncIterator[Callable[[Answer], Awaitable[tuple[Server, TargetSpec]]]]:
    servers: list[asyncio.Server] = []

    async def listen(answer: Answer) -> tuple[Server, TargetSpec]:
        server = Server(answer)
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        servers.append(listening)
        port = listening.sockets[0].getsockname()[1]
        return server, TargetSpec("t", DIALECT, Endpoint(f"http://127.0.0.1:{port}/chat?a=1", http=2))

    yield listen
    for listening in servers:
        listening.close()


@pytest.fixture
def ask(stream_of: Any) -> Any:
    async def one(session: Any, spec: TargetSpec, prompt: str = "Hello") -> StreamRecord:
        record: StreamRecord = await stream_of(session, spec, prompt)
        return record

    return one


async def whole(server: Server, stream_id: int) -> None:
    server.h2.send_headers(stream_id, HEADERS)
    server.send(stream_id, event({"content": "Hel"}), event({"content": "lo"}), event({"done": True}), end=True)


async def test_two_replies_share_a_connection(start: Any, ask: Any) -> None:
    server, spec = await start(whole)
    session = open_session(spec)
    records = [await ask(session, spec), await ask(session, spec)]
    await session.close()
    assert [record.outcome for record in records] == [Outcome.COMPLETED] * 2
    assert [record.text for record in records] == ["Hello"] * 2
    assert [record.ending for record in records] == [Ending.RESPONSE_END] * 2
    assert [record.reused_connection for record in records] == [False, True]
    assert server.connections == 1
    assert server.headers[1][":path"] == "/chat?a=1"
    assert server.headers[1][":method"] == "POST"
    assert json.loads(server.bodies[1]) == {"message": "Hello"}


async def test_a_body_larger_than_the_window_is_sent_whole(start: Any, ask: Any) -> None:
    server, spec = await start(whole)
    session = open_session(spec)
    prompt = "x" * 300_000
    record = await ask(session, spec, prompt)
    await session.close()
    assert record.outcome is Outcome.COMPLETED
    assert json.loads(server.bodies[1])["message"] == prompt


@pytest.mark.parametrize("way", ["goodbye", "refused", "hung up"])
async def test_what_a_server_has_not_looked_at_is_sent_again(start: Any, ask: Any, way: str) -> None:
    asked: list[int] = []

    async def once_more(server: Server, stream_id: int) -> None:
        asked.append(stream_id)
        if len(asked) != 2:
            await whole(server, stream_id)
        elif way == "goodbye":
            server.h2.close_connection(last_stream_id=1)
        elif way == "refused":
            server.h2.reset_stream(stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
        else:
            server.writer.close()

    server, spec = await start(once_more)
    session = open_session(spec)
    await ask(session, spec)
    record = await ask(session, spec)
    await session.close()
    assert (record.outcome, record.text, record.resent) == (Outcome.COMPLETED, "Hello", 1)
    assert (asked, server.connections) == ([1, 3, 1], 2)


async def test_what_a_server_may_have_looked_at_is_not_sent_again(start: Any, ask: Any) -> None:
    asked: list[int] = []

    async def reset(server: Server, stream_id: int) -> None:
        asked.append(stream_id)
        if len(asked) == 1:
            await whole(server, stream_id)
        else:
            server.h2.reset_stream(stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)

    _, spec = await start(reset)
    session = open_session(spec)
    await ask(session, spec)
    record = await ask(session, spec)
    await session.close()
    assert (record.error, record.resent, asked) == (ErrorClass.RESET, 0, [1, 3])


async def test_a_reset_stream_and_a_lost_connection_are_two_things(start: Any, ask: Any) -> None:
    async def reset(server: Server, stream_id: int) -> None:
        server.h2.send_headers(stream_id, HEADERS)
        server.send(stream_id, event({"content": "Hel"}))
        server.h2.reset_stream(stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)
        server.flush()

    async def hang_up(server: Server, stream_id: int) -> None:
        server.h2.send_headers(stream_id, HEADERS)
        server.send(stream_id, event({"content": "Hel"}))
        server.writer.write_eof()

    for answer, ending, error in (
        (reset, Ending.RESET, ErrorClass.RESET),
        (hang_up, Ending.FIN, ErrorClass.DISCONNECT),
    ):
        _, spec = await start(answer)
        session = open_session(spec)
        record = await ask(session, spec)
        await session.close()
        assert (record.outcome, record.ending, record.error) == (Outcome.FAILED, ending, error)
        assert record.text == "Hel"


async def test_a_connection_that_is_going_away_is_not_used_again(start: Any, ask: Any) -> None:
    async def last_one(server: Server, stream_id: int) -> None:
        await whole(server, stream_id)
        server.h2.close_connection(last_stream_id=stream_id)
        server.flush()

    server, spec = await start(last_one)
    session = open_session(spec)
    records = [await ask(session, spec), await ask(session, spec)]
    await session.close()
    assert [record.outcome for record in records] == [Outcome.COMPLETED] * 2
    assert server.connections == 2


async def test_an_unwelcome_status_shows_what_the_server_said(start: Any, ask: Any) -> None:
    async def refuse(server: Server, stream_id: int) -> None:
        server.h2.send_headers(stream_id, [(":status", "503"), ("content-type", "application/json")])
        server.send(stream_id, b'{"error": "too busy"}', end=True)

    _, spec = await start(refuse)
    session = open_session(spec)
    record = await ask(session, spec)
    await session.close()
    assert record.error == "http_503"
    assert "too busy" in (record.error_message or "")


async def test_cancelling_tells_the_server_and_censors_the_record(start: Any) -> None:
    began = asyncio.Event()

    async def endless(server: Server, stream_id: int) -> None:
        server.h2.send_headers(stream_id, HEADERS)
        server.send(stream_id, event({"content": "Hel"}))
        began.set()

    server, spec = await start(endless)
    session = open_session(spec)
    now_ns = monotonic_ns()
    record = StreamRecord("s", spec.name, spec.dialect.name, now_ns, now_ns)
    task = asyncio.create_task(session.stream("Hello", Recorder(record, spec.dialect, keep_text=True)))
    async with asyncio.timeout(60):
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.reset_came.wait()
    assert record.outcome is Outcome.CENSORED
    assert server.resets == [1]


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"])
async def test_a_server_that_speaks_no_http2_is_told_from_one_that_fails(said: bytes, ask: Any) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(said)
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    spec = TargetSpec("t", DIALECT, Endpoint(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/", http=2))
    session = open_session(spec)
    record = await ask(session, spec)
    await session.close()
    listening.close()
    assert record.outcome is Outcome.FAILED
    assert record.error in (ErrorClass.PROTOCOL, ErrorClass.RESET)
    assert "HTTP/2" in (record.error_message or "")
