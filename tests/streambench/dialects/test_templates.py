"""Requests: whatever a prompt holds, the JSON around it stays what it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streambench.dialects import load_dialect
from streambench.dialects.loading import parse_dialect
from streambench.errors import ConfigurationError


@given(st.text())
def test_a_prompt_arrives_as_it_is(prompt: str) -> None:
    body = load_dialect("chat-stream").render_request({"prompt": prompt}).body
    expected = prompt.encode("utf-8", "replace").decode()
    assert json.loads(body) == {"message": expected}


def test_an_http_request() -> None:
    request = load_dialect("thread-events").render_request({"prompt": "Hi", "thread_id": "a/b c"})
    assert (request.method, request.path) == ("POST", "/chat/threads/a%2Fb%20c/messages/stream")
    assert dict(request.headers) == {"Accept": "text/event-stream", "Content-Type": "application/json"}


def test_a_websocket_message_and_its_setup() -> None:
    dialect = load_dialect("assistant-ws")
    joined, created = dialect.setup
    assert (joined.wait_for, joined.is_http, joined.render({}).send) == ("project_joined", False, ())
    assert json.loads(created.render(dialect.with_defaults({})).send[0])["type"] == "create_conversation"
    captured = created.capture_from({"data": {"conversation": {"id": "c1"}}})
    (message,) = dialect.render_request({"prompt": 'say "hi"', **captured}).send
    assert json.loads(message)["data"] == {"conversation_id": "c1", "content": 'say "hi"'}
    assert dialect.render_request({"prompt": "x", "user": "u7", **captured}).path.startswith(
        "/ws/chat?project=streambench-u7"
    )


def test_a_socketio_event() -> None:
    name, arguments = load_dialect("room-chat").render_request({"prompt": "Hi", "client_id": "x"}).emit or ("", ())
    assert (name, arguments) == ("stream-chat", ({"messages": [{"role": "user", "content": "Hi"}]},))


def test_an_answer_without_the_captured_value_is_the_servers_mistake() -> None:
    step = load_dialect("thread-events").setup[0]
    with pytest.raises(LookupError, match=r"no 'thread.id' to capture as \{thread_id\}"):
        step.capture_from({"error": "no"})


def test_a_variable_without_a_value() -> None:
    dialect = parse_dialect(
        "dialect: x\nversion: 1\ntransport: sse\nevents: {e: {}}\ngrammar: e*\nvariables: {tenant: null}\n"
        "request: {json: {tenant: '{tenant}', brace: '{{x}}'}}\n",
        Path("x"),
    )
    with pytest.raises(ConfigurationError, match=r"\{tenant\}"):
        dialect.render_request({"prompt": "x"})
    assert json.loads(dialect.render_request({"tenant": "t"}).body) == {"tenant": "t", "brace": "{x}"}


def test_a_header_cannot_be_broken_out_of() -> None:
    dialect = parse_dialect(
        "dialect: x\nversion: 1\ntransport: sse\nevents: {e: {}}\ngrammar: e*\n"
        "request: {headers: {X-Prompt: '{prompt}'}, body: '{prompt}'}\n",
        Path("x"),
    )
    with pytest.raises(ConfigurationError, match="line break"):
        dialect.render_request({"prompt": "a\r\nX-Evil: 1"})
