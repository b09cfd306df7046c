"""Clients that do not read, replies that are long, and requests that never come whole: others do not feel them."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from mock_openai.upstream.stream import Frame, joined

GIANT = [{"fault": "giant-chunk", "bytes": 8 << 20, "at": {"chunk": 1}}]


@contextmanager
def unread(upstream: Any, prompt: str) -> Iterator[socket.socket]:
    """Ask for a stream, and read nothing of it."""
    host, _, port = upstream.url.removeprefix("http://").rpartition(":")
    body = json.dumps({"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": prompt}]}).encode()
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        raw.connect((host, int(port)))
        raw.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        )
        yield raw


def resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_clients_that_do_not_read_make_room_for_those_that_do(start_upstream: Callable[..., Any]) -> None:
    upstream = start_upstream("--profile", "instant", "--tokens", "12", "--max-memory", "64")
    before_mib = resident_mib(upstream.pid)
    giant = upstream.plan(faults=GIANT)
    with ExitStack() as clients:
        for _ in range(40):
            clients.enter_context(unread(upstream, giant))
        assert httpx.get(f"{upstream.url}/_mock/health", timeout=20).status_code == 200
        # Once it is seen that nobody reads there, everybody else is served, whatever was asked for.
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}
        deadline = time.monotonic() + 60
        while httpx.post(f"{upstream.base_url}/chat/completions", json=body, timeout=20).status_code != 200:
            assert time.monotonic() < deadline, "others are refused for the sake of clients that do not read"
            time.sleep(0.1)
        assert resident_mib(upstream.pid) - before_mib < 400, "40 replies of 8 MiB are not all kept"
    entries = upstream.entries(giant)
    given_up = [entry for entry in entries if {"unread"} & {fault["fault"] for fault in entry["faults"]}]
    refused = [entry for entry in entries if entry["status"] == 503]
    assert len(entries) == 40
    assert given_up
    assert refused


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_long_replies_that_nobody_reads_are_bounded_together(start_upstream: Callable[..., Any]) -> None:
    upstream = start_upstream("--profile", "instant", "--max-memory", "8")
    before_mib = resident_mib(upstream.pid)
    long = upstream.plan(tokens=30_000)
    with ExitStack() as clients:
        for _ in range(30):  # who all ask before the first reply is composed
            clients.enter_context(unread(upstream, long))
        deadline = time.monotonic() + 60
        while any(entry["headers_ns"] is None and entry["status"] == 200 for entry in upstream.entries(long)):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert resident_mib(upstream.pid) - before_mib < 60, "thirty replies of 4 MiB are not all kept"
    entries = upstream.entries(long)
    # Whether it is too much for all of them, or for those that have not read for a second, is a matter of speed.
    without = [entry for entry in entries if {"overloaded", "unread"} & {fault["fault"] for fault in entry["faults"]}]
    assert 0 < len(without) < len(entries) == 30


def test_a_long_reply_is_composed_in_time_that_grows_with_its_length() -> None:
    class Counted(bytes):
        """Bytes that count how often they are copied by concatenation."""

        copies = 0

        def __add__(self, other: bytes) -> bytes:
            Counted.copies += 1
            return Counted(bytes(self) + other)

    frames = [Frame(0, Counted(b"data"), number, number) for number in range(1, 1001)]
    (write,) = joined(frames)
    assert (len(write.data), write.offset) == (4000, 1000)
    assert Counted.copies == 0, "each concatenation would copy all that came before"


def test_other_streams_go_on_while_a_long_reply_is_composed(upstream: Any) -> None:
    long = upstream.plan(tokens=60_000)
    paced = upstream.plan(tokens=40, profile={"name": "fixed", "ttft_ms": 0, "gap_ms": 25})
    with unread(upstream, long), httpx.Client() as client:
        body = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": paced}]}
        assert client.post(f"{upstream.base_url}/chat/completions", json=body, timeout=60).status_code == 200
    assert upstream.closed(paced)["ended"] == "complete"


@pytest.mark.parametrize("data", [b"", b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-le"])
def test_half_open_connections_do_not_keep_the_server_from_ending(
    start_upstream: Callable[..., Any], data: bytes
) -> None:
    upstream = start_upstream("--profile", "instant")
    host, _, port = upstream.url.removeprefix("http://").rpartition(":")
    with ExitStack() as connections:
        for _ in range(100):
            raw = connections.enter_context(socket.create_connection((host, int(port))))
            raw.sendall(data)
        assert httpx.get(f"{upstream.url}/_mock/health", timeout=20).status_code == 200
        upstream.end()
