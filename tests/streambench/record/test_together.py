"""Reads that are taken in together give the record, the transcript and the budgets that they give one by one."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streambench.dialects import load_dialect
from streambench.record.decoding import ResponseDecoding
from streambench.record.model import StreamRecord
from streambench.record.recorder import Recorder
from streambench.record.transcript import Transcript, arrival_to_json
from streambench.transport.arrivals import Reads
from streambench.transport.http1 import Http1Connection
from streambench.transport.requests import Request
from streambench.transport.target import Endpoint, locate
from streambench.wire.limits import WireLimits

URL = "http://127.0.0.1:1/v1/chat"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LIMITS = WireLimits(max_events_per_s=40, max_lines_per_s=200, max_frames_per_s=100)  # soon used up
MS = 1_000_000


def chunk(event: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(event), event)


def delta(inside: str) -> bytes:
    """An event whose text stands between the quotes just so."""
    return b'data: {"content":"%b"}\n\n' % inside.encode()


class Client:
    """One stream, from its bytes to its record."""

    def __init__(self, *, keep_text: bool, max_events: int) -> None:
        endpoint = Endpoint(URL, limits=LIMITS)
        self.http = Http1Connection(endpoint)
        self.http.request(locate(URL), Request("POST", (), b"{}"), {})
        self.tap = Transcript()
        record = StreamRecord(id="t/1", target="t", dialect="chat-stream", intended_ns=0, start_ns=0)
        dialect = load_dialect("chat-stream")
        self.recorder = Recorder(record, dialect, keep_text=keep_text, max_events=max_events, tap=self.tap)
        self.decoding = ResponseDecoding(self.recorder, "sse", LIMITS)
        self.together = 0

    def take(self, data: bytes, at_ns: int) -> None:
        """As a driver does for a read."""
        arrivals = self.http.receive(data, at_ns, kernel=True)
        if arrivals:
            self.decoding.take(arrivals)

    def take_all(self, reads: Reads) -> None:
        """As a driver does for several."""
        pieces = self.http.pieces(reads)
        if pieces is not None and self.decoding.take_together(pieces):
            self.http.pass_over(pieces)
            self.together += len(reads.data)
            return
        for data, at_ns in zip(reads.data, reads.at_ns, strict=True):
            self.take(data, at_ns)

    def state(self) -> tuple[Any, ...]:
        """All that is known of the stream."""
        decoding, recorder = self.decoding, self.recorder
        meters = [(m._left, m._at_ns) for m in (self.http._frames, decoding._lines, decoding._events)]
        kept = [arrival_to_json(arrival, 0) for arrival in self.tap.arrivals]
        facts = decoding.progress, decoding.alive_ns, recorder.chunks, recorder._text, self.tap.truncated
        return recorder.record.to_json(), kept, meters, facts


inside = st.sampled_from(["a", "word ", "quick brown", "\\n", '\\"', "é", "日本", "\\u00e9", "\\ud83d\\ude00", "%"])
odd = st.sampled_from(
    [
        delta(""),
        delta('"},{"'),
        delta("\\ud83d"),
        b'data: {"content":"a","other":1}\n\n',
        b"data: {\n\n",
        b": comment\n\n",
        delta("a") + delta("b"),
        b'data: {"done":true}\n\n',
        b'data: {"error":"broke"}\n\n',
        b'data: {"content":"\xff"}\n\n',
    ]
)
event = st.one_of(*[inside.map(delta)] * 9, odd)
step = st.tuples(event, st.sampled_from([20 * MS, 5 * MS, 1 * MS, MS // 10, 0, -1]))


@settings(max_examples=400, deadline=None)
@given(st.data(), st.booleans(), st.sampled_from([1_000, 12]))
def test_reads_together_are_the_same_as_one_by_one(data: st.DataObject, keep_text: bool, max_events: int) -> None:
    one, other = (Client(keep_text=keep_text, max_events=max_events) for _ in range(2))
    at_ns = MS
    for client in (one, other):
        for number, first in enumerate([HEAD, *map(chunk, map(delta, ("a", "b", "c", "d")))]):
            client.take(first, at_ns + number * 20 * MS)
    at_ns += 100 * MS
    for steps in data.draw(st.lists(st.lists(step, min_size=2, max_size=30), max_size=4)):
        reads = Reads(True)
        for body, later_ns in steps:
            at_ns += later_ns
            reads.at_ns.append(at_ns)
            reads.data.append(chunk(body))
            reads.bytes += len(reads.data[-1])
        for came, read_ns in zip(list(reads.data), list(reads.at_ns), strict=True):
            one.take(came, read_ns)
        other.take_all(reads)
        assert one.state() == other.state()
        assert one.decoding.usual == other.decoding.usual


def test_deltas_are_taken_together() -> None:
    client = Client(keep_text=True, max_events=1_000)
    for number, first in enumerate([HEAD, *map(chunk, map(delta, ("a", "b", "c", "d")))]):
        client.take(first, number * 20 * MS)
    data = [chunk(delta(text)) for text in ("one ", "\\n", "drei ")]
    client.take_all(Reads(True, [200 * MS, 220 * MS, 240 * MS], data, sum(map(len, data))))
    assert client.together == 3
    assert client.recorder._text[-3:] == ["one ", "\n", "drei "]
    events = client.recorder.record.events
    assert list(events.at_ns[-3:]) == [200 * MS, 220 * MS, 240 * MS]
    assert list(events.read[-3:]) == [5, 6, 7]


def test_what_is_no_whole_chunk_is_not_taken_together() -> None:
    client = Client(keep_text=True, max_events=1_000)
    for number, first in enumerate([HEAD, *map(chunk, map(delta, ("a", "b", "c", "d")))]):
        client.take(first, number * 20 * MS)
    whole = chunk(delta("x"))
    for broken in (whole[:-1], whole + b"5", b"0" + whole, whole.replace(b"\r\n", b";x\r\n", 1), b"0\r\n\r\n", b"\r\n"):
        assert client.http.pieces(Reads(True, [1, 2], [whole, broken], len(whole) + len(broken))) is None
    assert client.http.pieces(Reads(True, [1, 2], [whole, whole], 2 * len(whole))) is not None
