"""What is on the wire: the ways a reply can end are different things, and writes are split where it was ordered."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

ENDED_BY_HTTP = b"\r\n0\r\n\r\n"
PACED: dict[str, Any] = {"name": "fixed", "ttft_ms": 0, "gap_ms": 1}


def connect(upstream: Any) -> socket.socket:
    host, _, port = upstream.url.removeprefix("http://").rpartition(":")
    raw = socket.create_connection((host, int(port)), timeout=20)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return raw


def send(raw: socket.socket, prompt: str, *, version: str = "1.1") -> None:
    body = json.dumps({"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": prompt}]}).encode()
    head = f"POST /v1/chat/completions HTTP/{version}\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
    raw.sendall(head.encode() + body)


def read_until(raw: socket.socket, enough: Callable[[bytes], bool]) -> tuple[bytes, str]:
    """What comes, and how it ends: "open" once there is enough, "fin" or "rst"."""
    data = b""
    while not enough(data):
        try:
            more = raw.recv(65536)
        except ConnectionResetError:
            return data, "rst"
        if not more:
            return data, "fin"
        data += more
    return data, "open"


def ended(data: bytes) -> bool:
    return data.endswith(ENDED_BY_HTTP)


def never(data: bytes) -> bool:
    return False


def test_clean_end_cut_and_reset_are_three_things(upstream: Any) -> None:
    ways: dict[str, tuple[bytes, str]] = {}
    for name, faults in {
        "clean": [],
        "cut-end": [{"fault": "cut-end", "at": {"chunk": 3}}],
        "cut-fin": [{"fault": "cut-fin", "at": {"chunk": 3}}],
        "cut-rst": [{"fault": "cut-rst", "at": {"chunk": 3}}],
    }.items():
        with connect(upstream) as raw:
            send(raw, upstream.plan(faults=faults, profile=PACED))
            ways[name] = read_until(raw, ended)
            if ways[name][1] == "open":
                # The connection lives: it serves the next request.
                send(raw, upstream.plan())
                assert read_until(raw, ended)[1] == "open"
    clean, clean_end = ways["clean"]
    assert clean_end == "open"
    assert b"data: [DONE]\n\n" in clean
    # The body ends as HTTP says, and says nothing of the terminal event.
    assert ways["cut-end"][1] == "open"
    assert b"[DONE]" not in ways["cut-end"][0]
    # The connection ends in the middle of the body: by FIN, so that everything sent is read, or by RST.
    assert ways["cut-fin"][1] == "fin"
    assert ways["cut-rst"][1] == "rst"
    for name in ("cut-fin", "cut-rst"):
        assert b"[DONE]" not in ways[name][0]
        assert not ended(ways[name][0])
    assert ways["cut-fin"][0].count(b"data: ") == 4  # the role, and three chunks


@pytest.mark.parametrize(("fault", "ending"), [("close", "fin"), ("reset", "rst")])
def test_a_connection_can_end_without_a_byte(upstream: Any, fault: str, ending: str) -> None:
    with connect(upstream) as raw:
        send(raw, upstream.plan(faults=[fault]))
        assert read_until(raw, never) == (b"", ending)


def parts(data: bytes) -> list[bytes]:
    """The parts of a chunked body: what the server wrote, one write each."""
    rest = data.partition(b"\r\n\r\n")[2]
    out = []
    while True:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            return out
        out.append(rest[:length])
        rest = rest[length + 2 :]


def exchange(upstream: Any, prompt: str) -> bytes:
    with connect(upstream) as raw:
        send(raw, prompt)
        return read_until(raw, ended)[0]


def test_a_character_and_a_frame_are_split_at_a_chosen_byte(upstream: Any) -> None:
    undamaged = b"".join(parts(exchange(upstream, upstream.plan(text="zwölf Boxkämpfer"))))
    for byte in (undamaged.index("ö".encode()) + 1, undamaged.index(b'"delta"', 400) + 3):
        fault = {"fault": "split-frame", "at": {"byte": byte}, "gap_ms": 1}
        prompt = upstream.plan(text="zwölf Boxkämpfer", faults=[fault])
        written = parts(exchange(upstream, prompt))
        starts = [sum(map(len, written[:index])) for index in range(len(written))]
        assert byte in starts
        (applied,) = upstream.closed(prompt)["faults"]
        assert applied["at"] == {"byte": byte}
    prompt = upstream.plan(text="zwölf Boxkämpfer", faults=["split-utf8"])
    first_half = next(part for part in parts(exchange(upstream, prompt)) if part.endswith(b"\xc3"))
    assert first_half.startswith(b"data: ")


def test_every_byte_alone(upstream: Any) -> None:
    written = parts(exchange(upstream, upstream.plan(tokens=2, faults=[{"fault": "drip", "gap_ms": 0}])))
    assert {len(part) for part in written} == {1}


def test_line_ends_are_crlf(upstream: Any) -> None:
    body = b"".join(parts(exchange(upstream, upstream.plan(faults=["crlf"]))))
    assert body.count(b"\r\n\r\n") == 15
    assert body.count(b"\n") == body.count(b"\r\n")


def test_a_client_of_http_1_0_reads_to_the_end_of_the_connection(upstream: Any) -> None:
    with connect(upstream) as raw:
        send(raw, upstream.plan(), version="1.0")
        data, ending = read_until(raw, never)
    assert ending == "fin"
    assert b"transfer-encoding" not in data.lower()
    assert data.endswith(b"data: [DONE]\n\n")


def test_a_client_that_does_not_read_bounds_the_memory(upstream: Any) -> None:
    fault = {"fault": "giant-chunk", "bytes": 1_000_000, "at": {"probability": 1}}
    prompt = upstream.plan(tokens=12, faults=[fault], profile=PACED)
    with connect(upstream) as raw:
        send(raw, prompt)
        read_until(raw, lambda data: len(data) > 1000)
        # 12 MB are due at once, and far less than that fits into the socket's buffers.
        (entry,) = upstream.entries(prompt)
        assert entry["ended"] == "open"
        assert len(read_until(raw, ended)[0]) > 11_000_000
    assert upstream.closed(prompt)["ended"] == "complete"
