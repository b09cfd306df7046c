"""What the libraries that we use cost, beside those that we do without: the figures of docs/decisions.

Three tables: how long a fresh interpreter takes to import each; how long HTTP parsers take for one chunk of a
streamed response; how long it takes to note one event of a stream, and to read a stream's record back. Best of the
repeats, one process, no network; under a minute. Run it with `python benchmarks/libraries.py`.
"""

from __future__ import annotations

import subprocess
import sys
import time
import timeit
from collections.abc import Callable

import h2.config
import h2.connection
import h2.events
import h11
import httptools
import orjson
import pydantic

from streambench.record.model import EventColumns

REPEATS = 7
IMPORTS = ("httptools", "h2.connection", "orjson", "h11", "pydantic", "httpx", "aiohttp", "pandas", "matplotlib.pyplot")
CHUNKS = 2_000
H2_CHUNKS = 500
"""As many as fit into the first window of a stream."""
CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}\n\n'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENTS = 50


class Event(pydantic.BaseModel):
    """An event as a validated object; `EventColumns` keeps the same four values as rows of columns."""

    at_ns: int
    name: str
    chars: int
    read: int


class Events(pydantic.BaseModel):
    """The events of a stream as they stand in the records file."""

    names: list[str]
    name: list[int]
    at: list[int]
    chars: list[int]
    read: list[int]


def import_ms(module: str | None) -> float:
    """From the start of an interpreter to its end, the best of the repeats; None imports nothing."""
    times = []
    for _ in range(REPEATS):
        begin_ns = time.monotonic_ns()
        subprocess.run([sys.executable, "-c", f"import {module}" if module else "pass"], check=True)
        times.append((time.monotonic_ns() - begin_ns) / 1e6)
    return min(times)


def reads() -> list[bytes]:
    """A streamed response as it is read: its head, and one HTTP chunk a read."""
    return [HEAD, *(b"%x\r\n%b\r\n" % (len(CHUNK), CHUNK) for _ in range(CHUNKS)), b"0\r\n\r\n"]


def with_httptools() -> None:
    """Parses the response by llhttp."""

    class Body:
        size = 0

        def on_body(self, data: bytes) -> None:
            self.size += len(data)

    body = Body()
    parser = httptools.HttpResponseParser(body)
    for data in reads():
        parser.feed_data(data)
    assert body.size == CHUNKS * len(CHUNK)


def with_h11() -> None:
    """Parses the response in Python."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "localhost")]))
    connection.send(h11.EndOfMessage())
    size = 0
    for data in reads():
        connection.receive_data(data)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Data):
                size += len(event.data)
            elif event is h11.NEED_DATA or isinstance(event, h11.EndOfMessage):
                break
    assert size == CHUNKS * len(CHUNK)


def h2_reads() -> list[bytes]:
    """The same response over HTTP/2, one DATA frame a read, as an h2 server writes it."""
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    server.initiate_connection()
    client, stream = h2_client()
    server.receive_data(client.data_to_send())
    server.send_headers(stream, [(":status", "200"), ("content-type", "text/event-stream")])
    frames = [server.data_to_send()]
    for _ in range(H2_CHUNKS):
        server.send_data(stream, CHUNK)
        frames.append(server.data_to_send())
    server.end_stream(stream)
    return [*frames, server.data_to_send()]


def h2_client() -> tuple[h2.connection.H2Connection, int]:
    """A client that has sent its request, and the number of its stream."""
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    client.initiate_connection()
    head = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "localhost")]
    client.send_headers(1, head, end_stream=True)
    return client, 1


def with_h2(frames: list[bytes]) -> None:
    """Reads the response by h2."""
    client, _ = h2_client()
    size = 0
    for data in frames:
        for event in client.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                size += len(event.data)
    assert size == H2_CHUNKS * len(CHUNK)


def columns() -> EventColumns:
    """The events of one stream, as they are recorded."""
    events = EventColumns()
    for number in range(EVENTS):
        events.append(1_000_000_000 + number, "delta", 5, number)
    return events


def objects() -> list[Event]:
    """The same events as validated objects."""
    return [Event(at_ns=1_000_000_000 + number, name="delta", chars=5, read=number) for number in range(EVENTS)]


def best_us(call: Callable[[], object], per: int) -> float:
    """Microseconds of one of the `per` things that a call does."""
    timer = timeit.Timer(call)
    number, _ = timer.autorange()
    return min(timer.repeat(REPEATS, number)) / number / per * 1e6


def table(title: str, rows: dict[str, float], unit: str) -> None:
    """Prints figures with their ratio to the first one."""
    first = next(iter(rows.values()))
    print(f"\n{title:<44}{unit:>8}{'ratio':>8}")
    for name, value in rows.items():
        print(f"{name:<44}{value:>8.2f}{value / first:>8.1f}")


def main() -> None:
    """Measures and prints the three tables."""
    nothing = import_ms(None)
    table("import, beyond an empty interpreter", {name: import_ms(name) - nothing for name in IMPORTS}, "ms")
    frames = h2_reads()
    table(
        "one chunk of a response",
        {
            "HTTP/1.1 by httptools (llhttp)": best_us(with_httptools, CHUNKS),
            "HTTP/1.1 by h11": best_us(with_h11, CHUNKS),
            "HTTP/2 by h2": best_us(lambda: with_h2(frames), H2_CHUNKS),
        },
        "us",
    )
    table(
        "noting one event",
        {"a row of columns": best_us(columns, EVENTS), "a pydantic model": best_us(objects, EVENTS)},
        "us",
    )
    line = orjson.dumps(columns().to_json(0))
    table(
        f"reading {EVENTS} events back",
        {
            "orjson and columns": best_us(lambda: EventColumns.from_json(orjson.loads(line), 0), 1),
            "pydantic columns": best_us(lambda: Events.model_validate_json(line), 1),
        },
        "us",
    )


if __name__ == "__main__":
    main()
