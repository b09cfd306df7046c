"""A read whose deltas are found in its bytes gives the same record as one that framing and dialect read."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from streambench.dialects import bundled_dialects, load_dialect
from streambench.endings import Ending
from streambench.record.decoding import ResponseDecoding, open_decoding
from streambench.record.model import StreamRecord
from streambench.record.recorder import Recorder
from streambench.record.repeats import MessageRepeats, Repeats
from streambench.record.tap import Setting
from streambench.transport.arrivals import Arrival, Data, Ended, Head, Read
from streambench.wire.framings import FRAMINGS
from streambench.wire.limits import WireLimits

CAPTURES = Path(__file__).parents[2] / "captures"
HTTP = [name for name in bundled_dialects() if not FRAMINGS[load_dialect(name).transport].is_socket]
TEXTS = [
    " word",
    "\n",
    '"',
    "\\",
    "naïve",
    "文",
    "\U0001f600",
    "\x7f",
    "\u2028",
    "\x85",
    "",
    "\x00",
    "\ud83d",
    "\\u0041",
]
LIMITS = WireLimits(max_event_bytes=1 << 16, max_line_bytes=1 << 16)


def decoded(name: str, pieces: Sequence[bytes], limits: WireLimits, max_events: int) -> tuple[dict[str, Any], int]:
    """The record of a body that comes in such pieces, one a millisecond, and how many deltas were found in bytes."""
    dialect = load_dialect(name)
    recorder = Recorder(StreamRecord("1", "t", name, 0, 0), dialect, keep_text=True, max_events=max_events)
    decoding = ResponseDecoding(recorder, dialect.transport, limits)
    found = 0
    deltas = recorder.deltas

    def counted(texts: list[str], at_ns: int) -> None:
        nonlocal found
        found += len(texts)
        deltas(texts, at_ns)

    Recorder.deltas, original = lambda _, texts, at_ns: counted(texts, at_ns), Recorder.deltas  # type: ignore[method-assign]
    try:
        headers = {"content-type": FRAMINGS[dialect.transport].accept}
        decoding.take([Head(0, 200, headers)])
        at = 0
        for at_ms, piece in enumerate(pieces):
            arrivals: list[Arrival] = [Read(at_ms * 10**6, len(piece), True), Data(at_ms * 10**6, piece, at)]
            decoding.take(arrivals)
            at += len(piece)
        decoding.take([Ended(len(pieces) * 10**6, Ending.RESPONSE_END)])
    finally:
        Recorder.deltas = original  # type: ignore[method-assign]
    return recorder.record.to_json(), found


def both(
    monkeypatch: pytest.MonkeyPatch, name: str, pieces: Sequence[bytes], limits: WireLimits = LIMITS, most: int = 10**6
) -> int:
    """Compares the two ways; how many deltas were found in the bytes."""
    ours, found = decoded(name, pieces, limits, most)
    with monkeypatch.context() as patched:
        patched.setattr(Repeats, "texts", lambda self, data: None)
        theirs, _ = decoded(name, pieces, limits, most)
    assert ours == theirs
    return found


def blocks(body: bytes) -> list[bytes]:
    """The events of a body, or its lines, each with its end."""
    end = b"\n\n" if b"\n\n" in body else b"\n"
    return [block + end for block in body.split(end)[:-1]]


def run_of(block: bytes, rng: random.Random, broken: float = 0.2) -> list[bytes]:
    """An event again and again, with other texts in place of its last one, and some of them `broken`."""
    out = [block] * 3
    for _ in range(12):
        again = block
        start = again.rfind(b'":"') + 3
        start = start if start > 2 else again.rfind(b'": "') + 4
        end = again.find(b'"', start)
        if 3 < start < end:
            text = json.dumps(rng.choice(TEXTS), ensure_ascii=rng.random() < 0.5)[1:-1]
            again = again[:start] + text.encode("utf-8", "surrogatepass") + again[end:]
        if rng.random() < broken:
            place = rng.randrange(len(again))
            again = again[:place] + rng.choice([b"", b"\n", b"\r", b"\xff", b" ", b'"', b"data: "]) + again[place + 1 :]
        out.append(again)
    return out


def cut(body: bytes, rng: random.Random) -> list[bytes]:
    """The body in pieces, most of them whole events."""
    pieces, gathered = [], b""
    for block in blocks(body):
        gathered += block
        if rng.random() < 0.5:
            place = rng.randrange(len(gathered)) if rng.random() < 0.3 else len(gathered)
            pieces.append(gathered[:place])
            gathered = gathered[place:]
    return [piece for piece in (*pieces, gathered) if piece]


@pytest.mark.parametrize("name", HTTP)
def test_captures_and_runs_of_their_events_give_the_same_record(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    rng = random.Random(name)
    for path in sorted((CAPTURES / name).iterdir()):
        if path.name == "findings.yaml":
            continue
        body = path.read_bytes()
        both(monkeypatch, name, [body])
        for _ in range(3):
            whole = blocks(body)
            for index in sorted(rng.sample(range(len(whole)), min(3, len(whole))), reverse=True):
                whole[index : index + 1] = run_of(whole[index], rng)
            both(monkeypatch, name, cut(b"".join(whole), rng))


DELTA = (
    'data: {{"id":"a","object":"chat.completion.chunk","created":1,"model":"m",'
    '"choices":[{{"index":0,"delta":{{"content":{}}},"finish_reason":null}}]}}\n\n'
)
FIRST = DELTA.format('"","role":"assistant"').encode()


def delta(text: str) -> bytes:
    return DELTA.format(json.dumps(text)).encode()


def test_deltas_are_found_in_bytes_and_however_they_are_split_the_record_is_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rest = b"".join(delta(text) for text in (" one", ' "two"', "\n\n", " vier", " 五"))
    start = [FIRST, delta("a"), delta("b"), delta("c")]
    assert both(monkeypatch, "openai-chat", [*start, rest]) == 6
    for place in range(1, len(rest)):
        both(monkeypatch, "openai-chat", [*start, rest[:place], rest[place:]])


def test_of_reads_that_end_within_a_delta_the_whole_ones_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    body = b"".join(map(delta, "abcdefghijklmnopqrstuvwxyz" * 4))
    reads = [body[at : at + 1000] for at in range(0, len(body), 1000)]
    assert both(monkeypatch, "openai-chat", [FIRST, delta("a"), delta("b"), delta("c"), *reads]) > 60


@pytest.mark.parametrize(
    "limits",
    [
        WireLimits(max_event_bytes=150),
        WireLimits(max_line_bytes=400),
        WireLimits(max_events_per_s=2),
        WireLimits(max_lines_per_s=4),
    ],
)
def test_what_is_too_much_is_too_much_in_either_way(monkeypatch: pytest.MonkeyPatch, limits: WireLimits) -> None:
    pieces = [FIRST, *[delta("x" * (n % 7)) for n in range(1, 30)], b"".join(map(delta, "abcdefgh"))]
    both(monkeypatch, "openai-chat", pieces, limits)


@pytest.mark.parametrize("most", [5, 6, 7, 8, 12])
def test_the_most_events_are_the_same(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    pieces = [FIRST, delta("a"), delta("b"), delta("c"), b"".join(map(delta, "defgh"))]
    both(monkeypatch, "openai-chat", pieces, most=most)


def test_data_that_came_in_several_lines_is_never_taken_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ['{"id":"a","object":"chat.completion.chunk","created":1,', '"model":"m","choices":[{"index":0,"delta":{']
    whole = "".join(f"data: {line}\n" for line in lines) + 'data: "content":%s},"finish_reason":null}]}\n\n'
    bare = f"data: {lines[0]}\n{lines[1]}\n" + '"content":%s},"finish_reason":null}]}\n\n'
    pieces = [FIRST, *[(whole % json.dumps(text)).encode() for text in "abcd"]]
    both(monkeypatch, "openai-chat", [*pieces, (bare % '"e"').encode(), (whole % '"f"').encode()])


SNAPSHOTS = ("assistant-ws-accumulated", "room-chat")  # each message repeats all the text, so none is like another
SOCKETS = [name for name in bundled_dialects() if FRAMINGS[load_dialect(name).transport].is_socket]


def socket_record(
    name: str, reads: Sequence[Sequence[str]], limits: WireLimits
) -> tuple[dict[str, Any], list[tuple[int, int]]]:
    """The record of a reply whose messages come in such reads, and what is known of it after each of them."""
    dialect = load_dialect(name)
    recorder = Recorder(StreamRecord("1", "t", name, 0, 0), dialect, keep_text=True)
    decoding = open_decoding(recorder, Setting(dialect.transport, limits, before=joined(dialect.transport)))
    at = 0
    known = []
    for at_ms, messages in enumerate(reads):
        arrivals: list[Arrival] = [Read(at_ms * 10**6, sum(map(len, messages)), True)]
        for message in messages:
            arrivals.append(Data(at_ms * 10**6, message, at))
            at += len(message)
        known.append((int(decoding.take(arrivals)), len(recorder.record.events)))
    decoding.take([Ended(len(reads) * 10**6, Ending.CLOSE_FRAME)])
    return recorder.record.to_json(), known


def joined(transport: str) -> tuple[Arrival, ...]:
    """What brings a connection to where replies come."""
    if transport != "socketio":
        return ()
    return tuple(
        Data(0, text, 0) for text in ('0{"sid":"s","upgrades":[],"pingInterval":9,"pingTimeout":9}', '40{"sid":"a"}')
    )


def each_way(
    monkeypatch: pytest.MonkeyPatch, name: str, reads: Sequence[Sequence[str]], limits: WireLimits = LIMITS
) -> tuple[dict[str, Any], int]:
    """The record, which is the same in all ways, and how many runs of messages were taken at once."""
    take, runs = MessageRepeats.take, 0

    def counted(self: MessageRepeats, run: Sequence[Sequence[Any]], last_offset: int) -> list[str] | None:
        nonlocal runs
        texts = take(self, run, last_offset)
        runs += len(texts or ()) > 1
        return texts

    with monkeypatch.context() as patched:
        patched.setattr(MessageRepeats, "take", counted)
        at_once = socket_record(name, reads, limits)
    with monkeypatch.context() as patched:
        patched.setattr(MessageRepeats, "run", lambda self, arrivals, begin, lead: ())
        assert socket_record(name, reads, limits) == at_once
        patched.setattr(MessageRepeats, "delta", lambda self, data, lead, offset: None)
        assert socket_record(name, reads, limits) == at_once
    return at_once[0], runs


@pytest.mark.parametrize("name", SOCKETS)
@pytest.mark.parametrize("limits", [LIMITS, WireLimits(max_events_per_s=2), WireLimits(max_event_bytes=300)])
def test_messages_of_sockets_give_the_same_record(
    monkeypatch: pytest.MonkeyPatch, name: str, limits: WireLimits
) -> None:
    rng = random.Random(name)
    is_socketio = load_dialect(name).transport == "socketio"
    found = 0
    for path in sorted((CAPTURES / name).iterdir()):
        if path.name == "findings.yaml":
            continue
        lines = [line for line in path.read_bytes().splitlines() if line and line[:2] != b"40"]
        for index in sorted(rng.sample(range(len(lines)), min(4, len(lines))), reverse=True):
            lines[index : index + 1] = run_of(lines[index], rng, 0.02)
        messages = [line.decode("utf-8", "replace") for line in lines]
        if is_socketio:
            messages = [message if rng.random() < 0.95 else "2" for message in messages]
        reads = []
        while messages:
            count = rng.randrange(1, 9)
            reads.append(messages[:count])
            messages = messages[count:]
        found += each_way(monkeypatch, name, reads, limits)[1]
    assert found or limits is not LIMITS or name in SNAPSHOTS


@pytest.mark.parametrize("seed", range(12))
def test_runs_of_messages_with_a_time_of_their_own_are_taken_at_once_unless_it_goes_back(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    times, messages = [1_763_000_000.5], []
    for number in range(80):
        step = rng.choice([0, 0.25, 1.5]) if rng.random() > 0.02 * (seed % 3) else -3
        times.append(times[-1] + step if rng.random() > 0.05 else int(times[-1]) + 1)
        data = {"conversation_id": "c", "message_id": "m", "content": rng.choice("abc "), "done": number == 79}
        messages.append(json.dumps({"type": "assistant_response", "data": data, "timestamp": times[-1]}))
    reads = [messages[at : at + 9] for at in range(0, 80, 9)]
    record, runs = each_way(monkeypatch, "assistant-ws", reads)
    assert runs
    assert any(finding["rule"] == "timestamp.nondecreasing" for finding in record["findings"]) is (
        times != sorted(times)
    )
