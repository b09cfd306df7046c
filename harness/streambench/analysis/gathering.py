"""Goes through the records of a run once, and keeps of each stream what the summary needs: a row of numbers.

The records of a large file are read by several processes, a part of the file each. What they have gathered is joined
in the order of the parts, so it is what one process would have gathered.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from streambench.analysis.metrics import Settings
from streambench.analysis.stream import AnalysedStream, analyse
from streambench.analysis.tally import Tally
from streambench.analysis.validity import Activity
from streambench.analysis.waivers import Waiver
from streambench.cores import usable_cores
from streambench.record.model import StreamRecord
from streambench.record.run_file import Rest, Run, RunFile

PART_BYTES = 32 << 20  # a process takes about as long to start as to go through a tenth of it
MAX_PARTS = 8


@dataclass(slots=True)
class Whole:
    """What is said of all records together, those of the warm-up included. `last_end_ns`: the last stream's end."""

    last_end_ns: int | None = None
    reads: int = 0
    user_reads: int = 0
    coalesced_reads: int = 0
    activity: Activity = field(default_factory=Activity)

    def add(self, record: StreamRecord) -> None:
        """Count one stream."""
        if record.end_ns is not None:
            self.last_end_ns = record.end_ns if self.last_end_ns is None else max(self.last_end_ns, record.end_ns)
            self.activity.add(record.start_ns, record.end_ns)
        self.reads += record.reads
        self.user_reads += record.user_reads
        self.coalesced_reads += record.coalesced_reads

    def join(self, part: Whole) -> None:
        """Count all streams of another part of the run."""
        if part.last_end_ns is not None:
            self.last_end_ns = max(part.last_end_ns, self.last_end_ns or part.last_end_ns)
        self.reads += part.reads
        self.user_reads += part.user_reads
        self.coalesced_reads += part.coalesced_reads
        self.activity.join(part.activity)


@dataclass(slots=True)
class Gathered:
    """What is kept of the streams of a run, or of a part of one: by target of those that are judged, and of all."""

    tallies: dict[str, Tally]
    whole: Whole = field(default_factory=Whole)
    records: int = 0

    def join(self, part: Gathered) -> None:
        """Take in the part of the run that follows."""
        for name, tally in self.tallies.items():
            tally.join(part.tallies[name], self.records)
        self.whole.join(part.whole)
        self.records += part.records


def gather(
    run: Run,
    settings: Settings,
    waivers: Sequence[Waiver] = (),
    also: Callable[[AnalysedStream], None] | None = None,
) -> Gathered:
    """What is kept of the streams of a run. `also` is given each judged stream, in the order of the records."""
    if isinstance(run, RunFile) and also is None:
        parts = min(usable_cores(), MAX_PARTS, run.path.stat().st_size // PART_BYTES)
        if parts > 1:
            return _gather_side_by_side(run, settings, waivers, parts)
    return _gathered(run, run.records, settings, waivers, also)


def _gathered(
    run: Run,
    records: Sequence[StreamRecord] | Iterator[StreamRecord],
    settings: Settings,
    waivers: Sequence[Waiver],
    also: Callable[[AnalysedStream], None] | None = None,
) -> Gathered:
    tallies = {name: Tally(name, waivers, settings.milestones.get(name, ())) for name in run.header["targets"]}
    out = Gathered(tallies)
    for place, record in enumerate(records):
        out.records += 1
        out.whole.add(record)
        tally = tallies.get(record.target)
        if tally is not None and not record.warmup:
            stream = analyse(record, settings)
            tally.add(place, stream)
            if also is not None:
                also(stream)
    return out


def _gather_side_by_side(run: RunFile, settings: Settings, waivers: Sequence[Waiver], parts: int) -> Gathered:
    """A process for each part but the first, which is ours."""
    own, *others = run.cuts(parts)
    spawn = multiprocessing.get_context("spawn")
    started = []
    for begin, end in others:
        ours, theirs = spawn.Pipe(duplex=False)
        part_of = (theirs, run.path, begin, end, settings, waivers)
        process = spawn.Process(target=_gather_part, args=part_of, daemon=True)
        process.start()
        theirs.close()
        started.append((process, ours, (begin, end)))
    rest = Rest()
    out = _gathered(run, run.part(*own, rest), settings, waivers)
    for process, ours, (begin, end) in started:
        try:
            part, part_rest = ours.recv()
        except EOFError:  # whatever has ended that process, the records are still here
            part_rest = Rest()
            part = _gathered(run, run.part(begin, end, part_rest), settings, waivers)
        out.join(part)
        rest.add(part_rest)
        ours.close()
        process.join()
    run.know(rest)
    return out


def _gather_part(
    to: Connection, path: Path, begin: int, end: int, settings: Settings, waivers: Sequence[Waiver]
) -> None:
    """What a process of its own does: gather a part of a records file, and hand it over."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C is answered by who has started us
    run, rest = RunFile(path), Rest()
    part = _gathered(run, run.part(begin, end, rest), settings, waivers)
    to.send((part, rest))
