"""The file of a stream's arrivals. That it gives the live record again is shown by every test of the drivers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streambench.dialects import load_dialect
from streambench.endings import Ending
from streambench.errors import ConfigurationError
from streambench.findings import Axis, Finding
from streambench.record.decoding import Progress, ResponseDecoding, SocketDecoding
from streambench.record.model import Outcome, StreamRecord
from streambench.record.recorder import Recorder
from streambench.record.sockets import SocketIoReader
from streambench.record.transcript import (
    Transcript,
    arrival_from_json,
    arrival_to_json,
    replay,
    write_transcript,
)
from streambench.transport.arrivals import (
    Arrival,
    Cancelled,
    Connected,
    Data,
    Ended,
    Failed,
    Head,
    Noted,
    Read,
    Resent,
    Sent,
)
from streambench.wire.limits import WireLimits

DIALECT = load_dialect("chat-stream")
FINDING = Finding(Axis.GRAMMAR, "wire.unreadable", "odd", offset=3, got="x", expected=("y",))
BODY = b'data: {"content": "Hello"}\n\ndata: {"done": true}\n\n'
HEAD = Head(140, 200, {"content-type": "text/event-stream"})


def recorded(arrivals: list[Arrival], transcript: Transcript) -> Recorder:
    record = StreamRecord("s", "t", DIALECT.name, 100, 100)
    recorder = Recorder(record, DIALECT, keep_text=True, tap=transcript)
    ResponseDecoding(recorder, "sse", WireLimits()).take(arrivals)
    return recorder


@pytest.mark.parametrize(
    "arrival",
    [
        Connected(5, True),
        Sent(5),
        Resent(5),
        Read(5, 10, True),
        Read(5, 10, False, 3),
        HEAD,
        Data(5, "text \u2028 😀", 7),
        Data(5, "grüß".encode(), 7),
        Data(5, b"\xff\x00", 7),
        Noted(5, FINDING),
        Failed(5, "timeout_idle", "nothing more came"),
        Failed(5, "http_503", "busy", FINDING),
        Ended(5, Ending.FIN),
        Ended(5, Ending.CLOSE_FRAME, 1011, "the server closed"),
        Cancelled(5),
    ],
    ids=lambda arrival: type(arrival).__name__,
)
def test_every_arrival_is_read_as_it_was_written(arrival: Arrival) -> None:
    line = json.loads(json.dumps(arrival_to_json(arrival, 3)))
    assert repr(arrival_from_json(line, 3)) == repr(arrival)


STAMPS = st.integers(0, 1 << 62)
PAYLOADS = st.binary(max_size=20) | st.text(max_size=20)
READS = st.builds(Read, STAMPS, st.integers(0, 1 << 20), st.booleans(), st.integers(0, 300), STAMPS)
PIECES = st.builds(Data, st.just(5) | STAMPS, PAYLOADS, STAMPS)
TOGETHER = st.builds(lambda read, data: [read, Data(read.at_ns, data.data, data.offset)], READS, PIECES)


@given(st.lists(TOGETHER | st.lists(READS | PIECES | st.builds(Sent, STAMPS), max_size=3), max_size=12))
def test_what_is_kept_is_what_came(reads: list[list[Arrival]]) -> None:
    transcript = Transcript()
    for arrivals in reads:
        transcript.take(arrivals)
    assert list(map(repr, transcript.arrivals)) == [repr(arrival) for arrivals in reads for arrival in arrivals]


def test_a_transcript_is_bounded_and_says_so(tmp_path: Path) -> None:
    transcript = Transcript(max_bytes=10_000)
    many: list[Arrival] = [Data(150, b": a long comment\n" * 10, 0) for _ in range(1000)]
    recorder = recorded([HEAD, *many, Ended(160, Ending.FIN)], transcript)
    assert transcript.truncated
    assert len(transcript.arrivals) < 100
    assert isinstance(transcript.arrivals[-1], Ended)
    write_transcript(tmp_path / "s.jsonl", transcript, recorder)
    header = json.loads((tmp_path / "s.jsonl").read_text().splitlines()[0])
    assert header["truncated"] is True
    assert replay(tmp_path / "s.jsonl", lambda _: DIALECT).outcome is Outcome.FAILED


def test_a_cancelled_stream_is_censored_again(tmp_path: Path) -> None:
    transcript = Transcript()
    recorder = recorded([Connected(120), Sent(130), HEAD, Data(150, BODY[:30], 0), Cancelled(170)], transcript)
    write_transcript(tmp_path / "s.jsonl", transcript, recorder)
    record = replay(tmp_path / "s.jsonl", lambda _: DIALECT)
    assert (record.outcome, record.ending, record.text) == (Outcome.CENSORED, Ending.CLIENT, "Hello")
    assert record.to_json() == recorder.record.to_json()


def test_what_came_in_one_file_may_be_taken_in_any_portions(tmp_path: Path) -> None:
    arrivals: list[Arrival] = [Connected(110), Sent(120), Read(140, 100, True), HEAD]
    arrivals += [Data(150 + i, BODY[i : i + 1], i) for i in range(len(BODY))]
    arrivals.append(Ended(300, Ending.RESPONSE_END))
    at_once = recorded(arrivals, Transcript()).record
    record = StreamRecord("s", "t", DIALECT.name, 100, 100)
    decoding = ResponseDecoding(Recorder(record, DIALECT, keep_text=True), "sse", WireLimits())
    seen = [decoding.take([arrival]) for arrival in arrivals]
    assert record.to_json() == at_once.to_json()
    assert list(dict.fromkeys(seen)) == [Progress.WAITING, Progress.STREAMING, Progress.COMPLETE, Progress.ENDED]


def test_secrets_are_hidden_in_the_file(tmp_path: Path) -> None:
    transcript = Transcript()
    recorder = recorded([HEAD, Data(150, b"data: s3cret\n\n", 0), Ended(160, Ending.FIN)], transcript)
    write_transcript(tmp_path / "s.jsonl", transcript, recorder, lambda text: text.replace("s3cret", "${KEY}"))
    assert "s3cret" not in (tmp_path / "s.jsonl").read_text()


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "[]\n", '{"kind":"transcript","schema":"streambench.transcript/99"}', '{"kind":"header"}'],
)
def test_what_is_no_transcript(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.jsonl").write_text(text)
    with pytest.raises(ConfigurationError, match=r"s\.jsonl"):
        replay(tmp_path / "s.jsonl", lambda _: DIALECT)


def test_a_transcript_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        replay(tmp_path / "none.jsonl", lambda _: DIALECT)


def frames(*texts: str | bytes, at: int = 0) -> list[Arrival]:
    out: list[Arrival] = []
    for text in texts:
        out.append(Data(at, text, at))
        at += len(text)
    return out


def test_a_socket_goes_on_where_the_replies_before_have_left_it(tmp_path: Path) -> None:
    """The session was opened, an oddity was noted, and a binary packet is half here when the reply begins."""
    dialect = load_dialect("room-chat")
    reader = SocketIoReader("/", WireLimits())
    reader.join(None)
    opening: list[Any] = frames(
        '0{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":20000}',
        '40{"sid":"a"}',
        "3",
        '451-["odd",{"_placeholder":true,"num":0}]',
    )
    for arrival in opening:
        reader.read(arrival)
    transcript = Transcript()
    record = StreamRecord("s", "t", dialect.name, 100, 100)
    recorder = Recorder(record, dialect, keep_text=True, tap=transcript)
    decoding = SocketDecoding(recorder, reader, WireLimits())
    last = opening[-1]
    decoding.take([Read(150, 9, True), *frames(b"\x00", "3", '42["odd",1]', "9", at=last.offset + len(last.data))])
    decoding.take([Ended(160, Ending.CLIENT)])
    write_transcript(tmp_path / "s.jsonl", transcript, recorder)
    assert replay(tmp_path / "s.jsonl", lambda _: dialect).to_json() == record.to_json()
    assert "engineio.stray-pong" not in {finding.rule for finding in record.findings}
    assert len(record.events) == 2
