"""Which bundled dialects fit a stream, tried on the received bytes."""

from __future__ import annotations

from dataclasses import replace

from streambench.dialects import Dialect, bundled_dialects, load_dialect
from streambench.record.decoding import open_decoding
from streambench.record.model import Outcome, StreamRecord
from streambench.record.recorder import Recorder
from streambench.record.transcript import Transcript

HTTP = ("sse", "ndjson")  # one server may speak either of them at the same place


def fitting_dialects(record: StreamRecord, transcript: Transcript) -> list[str]:
    """The dialects by which the stream is complete, has text and breaks nothing; those that tell the most events first.

    `record` is what another dialect made of the same arrivals.
    """
    setting = transcript.setting
    if setting is None or transcript.truncated:
        return []
    framings = HTTP if setting.transport in HTTP else (setting.transport,)
    found: list[tuple[int, str]] = []
    for name in bundled_dialects():
        dialect = load_dialect(name)
        if dialect.transport not in framings or name == record.dialect:
            continue
        again = _read_as(dialect, record, transcript)
        if again.outcome is Outcome.COMPLETED and not again.violations and any(again.events.chars):
            found.append((-len(set(again.events.name)), name))
    return [name for _, name in sorted(found)]


def _read_as(dialect: Dialect, record: StreamRecord, transcript: Transcript) -> StreamRecord:
    assert transcript.setting is not None
    again = StreamRecord(record.id, record.target, dialect.name, record.intended_ns, record.start_ns)
    recorder = Recorder(again, dialect, keep_text=False)
    open_decoding(recorder, replace(transcript.setting, transport=dialect.transport)).take(transcript.arrivals)
    return again
