"""A server that only writes on time and records when: the ground truth of a calibration.

`python -m streambench.load.calibration.server` prints its port. A POST is answered with texts of `openai-chat` whose
bytes were prepared before; `GET /log` gives when each was written, a stream a line, in ns of CLOCK_MONOTONIC, and
forgets it. Loopback only.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque

from streambench.clock import MonotonicClock
from streambench.units import NS_PER_MS, NS_PER_S

FIRST_NS = 200 * NS_PER_MS
GAP_NS = 20 * NS_PER_MS
TEXTS = 50
BACKLOG = 4096

_clock = MonotonicClock()


def _chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    told = {
        "id": "chatcmpl-calibration",
        "object": "chat.completion.chunk",
        "created": 1763000000,
        "model": "calibration",
        "choices": [choice],
    }
    return _piece(f"data: {json.dumps(told)}\n\n".encode())


def _piece(body: bytes) -> bytes:
    return f"{len(body):x}\r\n".encode() + body + b"\r\n"


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_FIRST = _HEAD + _chunk({"role": "assistant", "content": ""}) + _chunk({"content": " word"})
_TEXT = _chunk({"content": " word"})
_LAST = _chunk({}, "stop") + _piece(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Pace:
    """Writes what is due, and keeps the moments."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._beginning: deque[_Stream] = deque()  # each in the order of their due times
        self._running: deque[_Stream] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.log: list[list[int]] = []

    def begin(self, stream: _Stream) -> None:
        """A stream was asked for."""
        stream.due_ns = _clock.now_ns() + FIRST_NS
        self._beginning.append(stream)
        if self._timer is None:
            self._work()

    def _work(self) -> None:
        for queue in (self._beginning, self._running):
            while queue and queue[0].due_ns <= _clock.now_ns():
                stream = queue.popleft()
                if not stream.write():
                    self.log.append(stream.written_ns)
                    continue
                stream.due_ns += GAP_NS
                self._running.append(stream)
        due = [queue[0].due_ns for queue in (self._beginning, self._running) if queue]
        self._timer = None
        if due:
            wait_ns = max(0, min(due) - _clock.now_ns())
            self._timer = self._loop.call_later(wait_ns / NS_PER_S, self._work)


class _Stream(asyncio.Protocol):
    """One connection, and the stream on it."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._transport: asyncio.Transport | None = None
        self._asked = bytearray()
        self.due_ns = 0
        self.written_ns: list[int] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._asked += data
        head, separator, body = bytes(self._asked).partition(b"\r\n\r\n")
        if not separator:
            return
        lines = head.lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
        if len(body) < length:
            return
        self._asked.clear()
        if head.startswith(b"GET /log"):
            self._answer_log()
        elif head.startswith(b"GET"):
            assert self._transport is not None
            self._transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        else:
            self.written_ns = []
            self._pace.begin(self)

    def write(self) -> bool:
        """Write what is due; False when that was the end."""
        transport = self._transport
        assert transport is not None
        if transport.is_closing():
            return False
        if len(self.written_ns) == TEXTS:
            transport.write(_LAST)
            return False
        data = _TEXT if self.written_ns else _FIRST
        self.written_ns.append(_clock.now_ns())
        transport.write(data)
        return True

    def _answer_log(self) -> None:
        assert self._transport is not None
        body = json.dumps(self._pace.log).encode()
        self._pace.log.clear()
        self._transport.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)


async def serve() -> None:
    """Serve until standard input ends: then whoever has started it is gone."""
    pace = Pace()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Stream(pace), "127.0.0.1", 0, backlog=BACKLOG)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())
