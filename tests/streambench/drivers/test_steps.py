"""A prompt in several HTTP requests, and a reply on a socket to a request by HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from streambench.dialects.loading import parse_dialect
from streambench.drivers.target import TargetSpec
from streambench.drivers.users import UserSession, open_session
from streambench.endings import Ending, ErrorClass
from streambench.record.model import Outcome, StreamRecord
from streambench.transport.target import Endpoint, Timeouts

MS = 1_000_000
EVENTS = """
name: type
events: {piece: {content: text}, done: {}}
grammar: piece* done
"""
TICKET = f"""
dialect: ticket
version: 1
transport: sse
path: /messages/{{message_id}}/stream
request:
  - {{path: /messages, json: {{text: "{{prompt}}"}}, capture: {{message_id: message.id}}}}
  - {{method: PUT, path: "/messages/{{message_id}}", json: {{user: "{{user}}"}}}}
  - {{method: GET}}
{EVENTS}"""
PUSHED = f"""
dialect: pushed
version: 1
transport: websocket
path: /socket
setup: [{{await: hello, capture: {{channel: channel}}}}]
request: {{path: "/channels/{{channel}}/ask", json: {{text: "{{prompt}}"}}}}
{EVENTS.replace("events: {", "events: {hello: {}, ")}"""
ORDERED = PUSHED.replace(
    """request: {path: "/channels/{channel}/ask", json: {text: "{prompt}"}}""",
    """request:
  - {path: /messages, json: {text: "{prompt}"}, capture: {message_id: message.id}}
  - {send: {type: "start", id: "{message_id}"}}""",
)


class Service:
    """Takes messages by HTTP and replies to them by an event stream, or on a socket."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.ports: set[int] = set()
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self.answer: Callable[[], Awaitable[web.StreamResponse]] | None = None
        self.forgets = False  # the next message, and closes the connection

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/messages", self.take)
        app.router.add_put("/v1/messages/{id}", self.claim)
        app.router.add_get("/v1/messages/{id}/stream", self.stream)
        app.router.add_get("/v1/socket", self.socket)
        app.router.add_post("/v1/channels/{channel}/ask", self.ask)
        return app

    def note(self, request: web.Request) -> None:
        assert request.transport is not None
        self.ports.add(request.transport.get_extra_info("peername")[1])
        self.asked.append(f"{request.method} {request.path}")

    async def take(self, request: web.Request) -> web.StreamResponse:
        self.note(request)
        if self.answer is not None:
            return await self.answer()
        if self.forgets:
            self.forgets = False
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        self.said.append((await request.json())["text"])
        answer = web.json_response({"message": {"id": f"m{len(self.said)}"}}, status=201)
        answer.set_cookie("affinity", "two")
        return answer

    async def claim(self, request: web.Request) -> web.StreamResponse:
        self.note(request)
        assert request.cookies["affinity"] == "two"
        return web.Response(status=204)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        assert request.cookies["affinity"] == "two"
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for event in reply(request.match_info["id"]):
            await response.write(f"data: {json.dumps(event)}\n\n".encode())
        return response

    async def socket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        channel = f"c{len(self.sockets)}"
        self.sockets[channel] = socket
        await socket.send_json({"type": "hello", "channel": channel})
        async for message in socket:
            for event in reply(message.json()["id"]):
                await socket.send_json(event)
        return socket

    async def ask(self, request: web.Request) -> web.StreamResponse:
        """The whole reply is on its way before the request is answered."""
        self.note(request)
        if self.answer is not None:
            return await self.answer()
        for event in reply((await request.json())["text"]):
            await self.sockets[request.match_info["channel"]].send_json(event)
        return web.Response(status=202)


def reply(text: str) -> list[dict[str, str]]:
    return [{"type": "piece", "text": f"You said {text}"}, {"type": "piece", "text": "."}, {"type": "done"}]


@pytest.fixture
async def service() -> AsyncIterator[tuple[Service, str]]:
    served = Service()
    runner = web.AppRunner(served.app(), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield served, f"127.0.0.1:{runner.addresses[0][1]}/v1?key=x"
    await runner.cleanup()


Ask = Callable[..., Awaitable[StreamRecord]]


@pytest.fixture
async def ask(service: tuple[Service, str], stream_of: Any) -> AsyncIterator[Ask]:
    """`await ask(dialect, prompt)`: one user a dialect, asked again over what it keeps open."""
    users: dict[str, tuple[UserSession, TargetSpec]] = {}

    async def one(text: str, prompt: str = "Hi", **changes: Any) -> StreamRecord:
        if text not in users:
            dialect = parse_dialect(text, Path("x.yaml"))
            scheme = "ws" if dialect.is_socket else "http"
            spec = TargetSpec("t", dialect, Endpoint(f"{scheme}://{service[1]}", **changes))
            users[text] = open_session(spec, {"user": "me"}), spec
            await users[text][0].prepare()
        record: StreamRecord = await stream_of(*users[text], prompt)
        return record

    yield one
    for user, _ in users.values():
        await user.close()


def assert_whole(record: StreamRecord, text: str) -> None:
    assert (record.outcome, record.error, record.error_message) == (Outcome.COMPLETED, None, None)
    assert record.text == f"You said {text}."
    assert record.violations == []


async def test_a_prompt_in_three_requests(ask: Ask, service: tuple[Service, str]) -> None:
    assert_whole(await ask(TICKET, "Hi"), "m1")
    assert_whole(await ask(TICKET, "again"), "m2")
    assert service[0].said == ["Hi", "again"]
    assert service[0].asked == ["POST /v1/messages", "PUT /v1/messages/m1", "POST /v1/messages", "PUT /v1/messages/m2"]
    assert len(service[0].ports) == 1  # the connection stays


async def test_a_request_that_is_sent_again_is_counted(ask: Ask, service: tuple[Service, str]) -> None:
    first = await ask(TICKET, "Hi")
    service[0].forgets = True
    second, third = await ask(TICKET, "again"), await ask(TICKET, "and again")
    assert_whole(second, "m2")
    assert [record.resent for record in (first, second, third)] == [0, 1, 0]


async def test_the_time_of_the_first_requests_is_the_readers(ask: Ask, service: tuple[Service, str]) -> None:
    async def slowly() -> web.StreamResponse:
        await asyncio.sleep(0.05)
        answer = web.json_response({"message": {"id": "slow"}})
        answer.set_cookie("affinity", "two")
        return answer

    service[0].answer = slowly
    record = await ask(TICKET)
    assert_whole(record, "slow")
    assert record.events.at_ns[0] - record.start_ns > 50 * MS


async def test_a_request_by_http_with_the_reply_on_a_socket(ask: Ask, service: tuple[Service, str]) -> None:
    for prompt in ("Hi", "again"):
        record = await ask(PUSHED, prompt)
        assert_whole(record, prompt)
        assert record.ending is Ending.RESPONSE_END
    assert len(service[0].sockets) == 1


async def test_a_request_by_http_whose_answer_goes_onto_the_socket(ask: Ask) -> None:
    assert_whole(await ask(ORDERED), "m1")
    assert_whole(await ask(ORDERED), "m2")


async def refused() -> web.StreamResponse:
    return web.json_response({"error": {"message": "too many"}}, status=429)


async def without_an_id() -> web.StreamResponse:
    return web.json_response({"message": {}})


async def no_json() -> web.StreamResponse:
    return web.Response(text="ok")


async def huge() -> web.StreamResponse:
    return web.Response(body=b" " * (2 << 20))


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (refused, "http_429", "POST /messages: the server answered 429: too many"),
        (without_an_id, ErrorClass.PROTOCOL, "no 'message.id' to capture as {message_id}"),
        (no_json, ErrorClass.PROTOCOL, "no 'message.id'"),
        (huge, ErrorClass.OVERSIZE, "more than 1,048,576 bytes"),
    ],
)
@pytest.mark.parametrize("dialect", [TICKET, ORDERED], ids=["event stream", "socket"])
async def test_a_request_that_goes_wrong_fails_the_stream_and_not_the_user(
    ask: Ask, service: tuple[Service, str], answer: Any, error: str, said: str, dialect: str
) -> None:
    service[0].answer = answer
    record = await ask(dialect)
    assert (record.outcome, record.error) == (Outcome.FAILED, error)
    assert said in (record.error_message or "")
    service[0].answer = None
    assert_whole(await ask(dialect), "m1")


@pytest.mark.parametrize("dialect", [TICKET, ORDERED], ids=["event stream", "socket"])
async def test_a_request_that_is_not_answered_in_time(ask: Ask, service: tuple[Service, str], dialect: str) -> None:
    async def never() -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError

    service[0].answer = never
    record = await ask(dialect, timeouts=Timeouts(first_chunk_ns=1000 * MS))
    assert (record.outcome, record.error) == (Outcome.FAILED, ErrorClass.TIMEOUT_FIRST_CHUNK)
    assert "within 1.00 s" in (record.error_message or "")
