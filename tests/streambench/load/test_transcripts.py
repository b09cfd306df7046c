"""Which streams of a run are kept, within which bounds, and that a kept one says the same again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streambench.dialects import load_dialect
from streambench.endings import Ending
from streambench.load.transcripts import ALIKE, MAX_LISTENED, SLOWEST, Keep, TranscriptKeeper
from streambench.record.decoding import open_decoding
from streambench.record.model import StreamRecord, UpstreamExchange
from streambench.record.recorder import Recorder
from streambench.record.tap import Setting
from streambench.record.transcript import file_name, replay
from streambench.transport.arrivals import Connected, Data, Ended, Head, Read, Sent

DIALECT = load_dialect("chat-stream")
WHOLE = b'data: {"content": "Hello"}\n\ndata: {"done": true}\n\n'
S = 1_000_000_000


class Run:
    """Streams that begin, arrive and end."""

    def __init__(self, folder: Path, keep: Keep) -> None:
        self.folder = folder / "streams"
        self.keeper = TranscriptKeeper(self.folder, keep, lambda text: text.replace("s3cret", "***"))
        self.number = 0

    def begin(self, target: str = "t", *, warmup: bool = False) -> Recorder:
        record = StreamRecord(f"{target}/{self.number}", target, DIALECT.name, 0, 0, warmup=warmup)
        self.number += 1
        recorder = Recorder(record, DIALECT, keep_text=False)
        self.keeper.listen(recorder)
        return recorder

    def stream(
        self, body: bytes = WHOLE, *, status: int = 200, took_ns: int = S, target: str = "t", warmup: bool = False
    ) -> StreamRecord:
        recorder = self.begin(target, warmup=warmup)
        decoding = open_decoding(recorder, Setting("sse"))
        decoding.take([Connected(1), Sent(2), Read(3, len(body), kernel=True)])
        decoding.take([Head(3, status, {"content-type": "text/event-stream"}), Data(took_ns, body, 0)])
        decoding.take([Ended(took_ns, Ending.RESPONSE_END)])
        self.keeper.take(recorder.record)
        return recorder.record

    @property
    def kept(self) -> set[str]:
        return {path.stem for path in self.folder.glob("*")}


def test_what_failed_and_what_broke_the_protocol_is_kept_a_few_of_each(tmp_path: Path) -> None:
    run = Run(tmp_path, Keep.FAILED)
    for _ in range(ALIKE + 3):
        run.stream(b'data: {"content": "Hello"}\n\n')
    for _ in range(2):
        run.stream(status=503)
    assert run.kept == {f"t-{i}" for i in (*range(ALIKE), ALIKE + 3, ALIKE + 4)}


def test_the_slowest_of_each_target_are_kept_at_the_end(tmp_path: Path) -> None:
    run = Run(tmp_path, Keep.FAILED)
    for i in range(10):
        run.stream(took_ns=(i * 7 % 10 + 1) * S)  # 8 s, 9 s and 10 s are those of 1, 4 and 7
    run.stream(took_ns=100 * S, warmup=True)
    run.stream(target="other")
    assert run.kept == set()
    run.keeper.close()
    slowest = sorted(range(10), key=lambda i: i * 7 % 10)[-SLOWEST:]
    assert run.kept == {*(f"t-{i}" for i in slowest), "other-11"}


@pytest.mark.parametrize(("keep", "files"), [(Keep.ALL, 3), (Keep.NONE, 0)])
def test_all_or_none(tmp_path: Path, keep: Keep, files: int) -> None:
    run = Run(tmp_path, keep)
    run.stream()
    run.stream(status=503)
    run.stream()
    run.keeper.close()
    assert len(run.kept) == files
    assert run.folder.exists() is (files > 0)


def test_more_streams_at_once_than_there_is_room_for_are_not_listened_to(tmp_path: Path) -> None:
    run = Run(tmp_path, Keep.FAILED)
    listening = [run.begin() for _ in range(MAX_LISTENED + 5)]
    assert sum(recorder.tap is not None for recorder in listening) == MAX_LISTENED


def test_a_kept_stream_says_the_same_again_with_the_upstreams_side_and_no_secret(tmp_path: Path) -> None:
    run = Run(tmp_path, Keep.ALL)
    recorder = run.begin()
    decoding = open_decoding(recorder, Setting("sse"))
    body = b'data: {"content": "s3cret"}\n\n'
    decoding.take([Connected(1), Sent(2), Head(3, 200, {"content-type": "text/event-stream"}), Data(4, body, 0)])
    decoding.take([Ended(9, Ending.RESPONSE_END)])
    recorder.record.upstream = [UpstreamExchange(1, 2, 200, "Hello", written_ns=[3], offset=[5], scheduled_ns=[3])]
    run.keeper.take(recorder.record)
    path = run.folder / file_name(recorder.record.id)
    assert "s3cret" not in path.read_text()
    again = replay(path, load_dialect)
    assert [finding.rule for finding in again.findings] == [finding.rule for finding in recorder.record.findings]
    assert again.upstream == recorder.record.upstream
    assert json.loads(path.read_text().splitlines()[0])["schema"] == "streambench.transcript/1"
