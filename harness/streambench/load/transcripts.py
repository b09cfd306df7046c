"""Which streams of a run are saved, byte by byte, in the run folder."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from streambench.record.model import Outcome, StreamRecord
from streambench.record.recorder import Recorder
from streambench.record.transcript import Transcript, file_name, write_transcript

SLOWEST = 3  # of each target
ALIKE = 5  # of each target, that failed for the same reason
MAX_FILES = 200  # chosen ones
MAX_ALL_FILES = 100_000
MAX_STREAM_BYTES = 256 << 10
MAX_LISTENED = 1_000  # streams at once: more are not listened to


class Keep(StrEnum):
    """Which streams are kept: all, those that failed or broke the protocol and the slowest, or none."""

    ALL = "all"
    FAILED = "failed"
    NONE = "none"


class TranscriptKeeper:
    """Listens to streams and writes down those that are worth it, in `folder`, without secrets."""

    def __init__(self, folder: Path, keep: Keep, redact: Callable[[str], str]) -> None:
        self._folder = folder
        self._keep = keep
        self._redact = redact
        self._open: dict[str, tuple[Recorder, Transcript]] = {}
        self._alike: Counter[tuple[str, ...]] = Counter()
        self._slowest: dict[str, list[tuple[int, str, Recorder, Transcript]]] = {}
        self._files = 0

    def listen(self, recorder: Recorder) -> None:
        """Listen to a stream that begins, as far as there is room."""
        if self._keep is Keep.NONE or (self._keep is Keep.FAILED and len(self._open) >= MAX_LISTENED):
            return
        transcript = Transcript(MAX_STREAM_BYTES)
        recorder.tap = transcript
        self._open[recorder.record.id] = recorder, transcript

    def take(self, record: StreamRecord) -> None:
        """A stream is over: keep it, keep it in mind, or forget it. Raises OSError."""
        found = self._open.pop(record.id, None)
        if found is None or record.outcome is Outcome.DROPPED:
            return
        recorder, transcript = found
        recorder.tap = None
        if self._keep is Keep.ALL:
            if self._files < MAX_ALL_FILES:
                self._write(recorder, transcript)
            return
        if record.error is not None or record.violations:
            reason = (record.target, record.error or "", *sorted({finding.rule for finding in record.violations}))
            self._alike[reason] += 1
            if self._alike[reason] <= ALIKE and self._files < MAX_FILES:
                self._write(recorder, transcript)
        elif record.outcome is Outcome.COMPLETED and not record.warmup and record.end_ns is not None:
            slowest = self._slowest.setdefault(record.target, [])
            heapq.heappush(slowest, (record.end_ns - record.intended_ns, record.id, recorder, transcript))
            if len(slowest) > SLOWEST:
                heapq.heappop(slowest)

    def close(self) -> None:
        """Write the slowest streams of each target. Raises OSError."""
        for slowest in self._slowest.values():
            for _, _, recorder, transcript in slowest:
                self._write(recorder, transcript)
        self._slowest.clear()

    def _write(self, recorder: Recorder, transcript: Transcript) -> None:
        self._folder.mkdir(exist_ok=True)
        self._files += 1
        write_transcript(self._folder / file_name(recorder.record.id), transcript, recorder, self._redact)
