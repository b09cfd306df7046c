"""What an event costs on each transport: CPU time from the bytes of a read to the record, everything checked.

Replies of deltas, each with another text, are framed by the libraries that servers use. Their bytes are read by the
product's own layers above the socket, without a socket. `openai-chat` comes over HTTP, `assistant-ws` over WebSocket,
`chainlit` over Socket.IO. A read brings one event, as of a live stream, or 13, as of a fast one. Medians, and ratios to
HTTP/1.1 of the same run, which travel better between machines than microseconds do.

    python benchmarks/transports.py [--events 2000] [--rounds 15]
    python benchmarks/transports.py --streams 1000 --events 40 --transports HTTP/1.1,WebSocket

With many streams, each of which has its events, their reads take turns, as those of a live run do: what a read touches
is then no longer in the CPU's cache, which costs more than all that is left to save.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import ssl
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
from checker import DELTAS, HEAD, WORDS
from websockets.frames import Frame, Opcode

from streambench.dialects import load_dialect
from streambench.record.decoding import ResponseDecoding, SocketDecoding, StreamDecoding
from streambench.record.model import StreamRecord
from streambench.record.recorder import Recorder
from streambench.record.sockets import MessageReader, SocketIoReader
from streambench.transport.arrivals import Arrival, Data
from streambench.transport.http1 import Http1Connection
from streambench.transport.http2 import Http2Connection
from streambench.transport.requests import Request
from streambench.transport.target import Endpoint, locate
from streambench.transport.tls import TlsSession, tls_context
from streambench.transport.websocket import WebSocketConnection
from streambench.wire.limits import WireLimits

FREE = 10**12
LIMITS = WireLimits(max_events_per_s=FREE, max_lines_per_s=FREE, max_frames_per_s=FREE, max_control_per_s=FREE)
ENDPOINT = Endpoint("https://localhost/", limits=LIMITS)
WHERE = locate(ENDPOINT.url, "")
ASK = Request("POST", (), b"{}")

Receive = Callable[[bytes], Sequence[Arrival]]
Bench = Callable[[int, int], tuple[list[bytes], Receive, StreamDecoding]]
"""Of so many events, some in each read: the reads, what reads them, and the decoding of the stream."""


def recorder(dialect: str) -> Recorder:
    return Recorder(StreamRecord("1", "t", dialect, 0, 0), load_dialect(dialect), keep_text=True)


def joined(pieces: Sequence[bytes], size: int) -> list[bytes]:
    return [b"".join(pieces[start : start + size]) for start in range(0, len(pieces), size)]


def words(events: int) -> list[str]:
    return [WORDS[n % len(WORDS)] for n in range(events)]


def sse(events: int) -> list[bytes]:
    return [DELTAS[n % len(DELTAS)] for n in range(events)]


def http1(events: int, a_read: int) -> tuple[list[bytes], Receive, StreamDecoding]:
    connection = Http1Connection(ENDPOINT)
    connection.request(WHERE, ASK, {})
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [HEAD, *sse(events)]]
    chunks[0] = head + chunks[0]
    decoding = ResponseDecoding(recorder("openai-chat"), "sse", LIMITS)
    return joined(chunks, a_read), lambda data: connection.receive(data, 1, kernel=True), decoding


def http2(events: int, a_read: int) -> tuple[list[bytes], Receive, StreamDecoding]:
    connection = Http2Connection(ENDPOINT)
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    server.initiate_connection()
    (stream,) = {
        event.stream_id
        for event in server.receive_data(connection.request(WHERE, ASK, {}))
        if isinstance(event, h2.events.RequestReceived)
    }
    assert stream is not None
    server.send_headers(stream, [(":status", "200"), ("content-type", "text/event-stream")])
    frames = []
    for piece in [HEAD, *sse(events)]:
        server.send_data(stream, piece)
        frames.append(server.data_to_send())
    return (
        joined(frames, a_read),
        lambda data: connection.receive(data, 1, kernel=True),
        ResponseDecoding(recorder("openai-chat"), "sse", LIMITS),
    )


def over_tls(bench: Bench) -> Bench:
    """The same, in one TLS record a read."""

    def tls(events: int, a_read: int) -> tuple[list[bytes], Receive, StreamDecoding]:
        reads, receive, decoding = bench(events, a_read)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = SERVER.wrap_bio(incoming, outgoing, server_side=True)
        client = TlsSession(tls_context(False, ()), "localhost")
        for _ in range(3):  # hello, certificate, finished
            client.shake(outgoing.read())
            incoming.write(client.outgoing())
            with contextlib.suppress(ssl.SSLWantReadError):
                server.do_handshake()
        assert client.shaken
        records = []
        for data in reads:
            server.write(data)
            records.append(outgoing.read())

        def decrypt(data: bytes) -> Sequence[Arrival]:
            plain = client.receive(data)
            client.outgoing()
            return receive(plain.data)

        return records, decrypt, decoding

    return tls


def web_socket(messages: Sequence[str], a_read: int) -> tuple[list[bytes], Receive]:
    connection = WebSocketConnection(locate("ws://localhost/", ""), [], LIMITS)
    asked = connection.upgrade({}).decode()
    key = next(line for line in asked.split("\r\n") if line.lower().startswith("sec-websocket-key")).split()[1]
    from websockets.utils import accept_key

    answer = "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n"
    connection.receive(answer.format(accept_key(key)).encode(), 1, kernel=True)
    frames = [Frame(Opcode.TEXT, message.encode()).serialize(mask=False) for message in messages]
    return joined(frames, a_read), lambda data: connection.receive(data, 1, kernel=True)


def websocket(events: int, a_read: int) -> tuple[list[bytes], Receive, StreamDecoding]:
    ids = {
        "conversation_id": "0b6f2f9e-7d61-4c8e-9a43-2a8a4e5d3a11",
        "message_id": "f3f0c7c2-5a5e-4a39-8d1e-6f1d2b7c9e55",
    }
    messages = [
        json.dumps(
            {
                "type": "assistant_response",
                "data": {**ids, "content": text, "done": False, "tool_calls": []},
                "timestamp": 1_763_000_000.5 + n,
            }
        )
        for n, text in enumerate(words(events))
    ]
    reads, receive = web_socket(messages, a_read)
    return reads, receive, SocketDecoding(recorder("assistant-ws"), MessageReader("websocket"), LIMITS)


def socketio(events: int, a_read: int) -> tuple[list[bytes], Receive, StreamDecoding]:
    reader = SocketIoReader("/", LIMITS)
    reader.join(None)
    handshake = '0{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'
    for text in (handshake, '40{"sid":"a"}'):
        reader.read(Data(1, text, 0))
    step = "5c7f1f0e-3c8d-4f5e-8f8e-2b8d1a9c7e21"
    opening: list[list[Any]] = [
        ["task_start"],
        ["stream_start", {"id": step, "output": "", "type": "assistant_message"}],
    ]
    tokens: list[list[Any]] = [
        ["stream_token", {"id": step, "token": text, "isSequence": False, "isInput": False}] for text in words(events)
    ]
    reads, receive = web_socket([f"42{json.dumps(event)}" for event in [*opening, *tokens]], a_read)
    return reads, receive, SocketDecoding(recorder("chainlit"), reader, LIMITS)


BENCHES: dict[str, Bench] = {
    "HTTP/1.1": http1,
    "HTTP/1.1 over TLS": over_tls(http1),
    "HTTP/2": http2,
    "HTTP/2 over TLS": over_tls(http2),
    "WebSocket": websocket,
    "WebSocket over TLS": over_tls(websocket),
    "Socket.IO": socketio,
    "Socket.IO over TLS": over_tls(socketio),
}
SERVER = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


def certify() -> None:
    """A certificate for the server, made by openssl."""
    with tempfile.TemporaryDirectory() as folder:
        key, path = Path(folder) / "key.pem", Path(folder) / "cert.pem"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
                *("-keyout", str(key), "-out", str(path), "-days", "2", "-subj", "/CN=localhost"),
            ],
            check=True,
            capture_output=True,
        )
        SERVER.load_cert_chain(path, key)


def us_an_event(bench: Bench, events: int, a_read: int, streams: int) -> float:
    benches = [bench(events, a_read) for _ in range(streams)]
    turns = [[(receive, decoding, data) for reads, receive, decoding in benches if (data := reads[turn : turn + 1])]
             for turn in range(max(len(reads) for reads, _, _ in benches))]  # fmt: skip
    gc.collect()
    gc.freeze()
    start = time.process_time_ns()
    for turn in turns:
        for receive, decoding, (data,) in turn:
            decoding.take(receive(data))
    took = time.process_time_ns() - start
    gc.unfreeze()
    for _, _, decoding in benches:
        record = decoding._recorder.record
        assert len(record.events) >= events, len(record.events)
        assert not [finding for finding in record.violations if finding.rule != "http.content-type"], record.findings
    return took / events / streams / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--transports", default=",".join(BENCHES))
    options = parser.parse_args()
    certify()
    costs: dict[tuple[str, int], list[float]] = {}
    for _ in range(options.rounds):
        for name in options.transports.split(","):
            for a_read in (1, 13):
                cost = us_an_event(BENCHES[name], options.events, a_read, options.streams)
                costs.setdefault((name, a_read), []).append(cost)
    print("| transport | µs per event, one per read | x | 13 per read | x |")
    print("|---|---|---|---|---|")
    middle = {key: statistics.median(values) for key, values in costs.items()}
    first, fast = list(middle.values())[:2]
    for name in options.transports.split(","):
        one, many = middle[name, 1], middle[name, 13]
        print(f"| {name} | {one:.1f} | {one / first:.2f} | {many:.1f} | {many / fast:.2f} |")


if __name__ == "__main__":
    main()
