"""What it costs to analyse and report a run of many records: CPU, wall-clock time and memory.

    python benchmarks/analysis.py --records 100000                 # write a records file, then report on it
    python benchmarks/analysis.py --records 20000 --two-sided      # with an upstream's side in every record
    python benchmarks/analysis.py --records 300 --write run.jsonl  # only write the file

The records are made, not measured: the same seed writes the same file. Each stream has 20 chunks (`--chunks`), some
streams fail, break a rule, are cut or dropped, as in a run under load. The report is what `streambench run` writes:
summary.json, report.html with its pictures, summary.md and junit.xml.
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
from memory import children, pss_bytes

MS = 1_000_000
MIB = 1 << 20
GATES = ("ttfc.p95 < 800ms", "error_rate < 5%", "gap.p99 < 200ms", "e2e.p50 < 5s, confidence 95%")
AIM_S = 60.0
AIM_MIB = 2048


def lines(records: int, *, chunks: int, two_sided: bool, seed: int) -> Iterator[dict[str, Any]]:
    """The lines of a records file. Seen from both sides, half of the streams are of a target that buffers."""
    chance = random.Random(seed)
    targets = ("real", "buffered") if two_sided else ("real",)
    yield _header(targets, two_sided=two_sided)
    for number in range(records):
        yield _stream(number, targets[number % len(targets)], chance, chunks=chunks, two_sided=two_sided)
        if number % 1000 == 999:
            yield {"kind": "generator", "at_ns": number * MS, "cpu": 0.5, "loop_lag_p99_ms": 1.0, "gc_pause_ms": 0.0}
    generator = {
        "valid": True,
        "reasons": [],
        "requested_rate": None,
        "achieved_rate": None,
        "start_delay_p99_ms": 0.1,
        "loop_lag_p99_ms": 1.0,
        "cpu": 0.5,
        "stamps": "kernel",
        "coalesced_reads": 0,
    }
    yield {"kind": "end", "at_ns": records * MS + 5000 * MS, "reason": "finished", "generator": generator}


def _header(targets: tuple[str, ...], *, two_sided: bool) -> dict[str, Any]:
    gates = [*GATES, "forward_lag.p95 < 1s"] if two_sided else list(GATES)
    return {
        "kind": "header",
        "schema": "streambench.records/1",
        "streambench": "0",
        "scenario": {"name": "made", "path": "made.yaml", "hash": "0" * 64},
        "started": "2026-01-01T00:00:00+00:00",
        "start_ns": 0,
        "seed": 0,
        "targets": {
            name: {
                "dialect": "openai-chat",
                "transport": "sse",
                "url": f"http://127.0.0.1/{name}",
                "two_sided": two_sided,
            }
            for name in targets
        },
        "gates": gates,
        "settings": {"stall_after_ms": 500.0, "reading_wpm": 250.0},
        "warmup_s": 0,
        "phases": ["made"],
        "environment": {"cpu": "none", "cores": 2, "platform": "none", "python": "none"},
    }


def _stream(number: int, target: str, chance: random.Random, *, chunks: int, two_sided: bool) -> dict[str, Any]:
    intended_ns = number * MS + chance.randrange(3 * MS)
    first = chance.randrange(100, 400) * MS + chance.randrange(MS)
    written = [first]
    for _ in range(chunks - 1):
        written.append(written[-1] + round(chance.expovariate(1 / 30) * MS) + MS)
    delay = 2 * MS if target == "real" else written[-1] - first + 5 * MS
    at = [moment + delay + chance.randrange(MS) for moment in written]
    if target == "buffered":
        at = [written[-1] + 5 * MS + chance.randrange(MS)] * chunks
    at.sort()
    texts = [f"w{index}-{chance.randrange(100)} " for index in range(chunks)]
    fate = chance.random()
    record = _fields(number, target, intended_ns, at[-1])
    if fate < 0.005:
        return record | {"outcome": "dropped", "end": None, "sent": None, "headers": None, "ending": None}
    if fate < 0.02:
        status = chance.choice((429, 500, 503))
        return record | {
            "outcome": "failed",
            "error": f"http_{status}",
            "error_message": f"the server answered {status}",
            "status": status,
            "ending": "response_end",
            "terminal_event": False,
        }
    kept = chunks
    if fate < 0.03:
        kept = max(1, chunks // 2)
        record |= {"outcome": "censored" if fate < 0.025 else "failed", "terminal_event": False, "ending": "client"}
        if fate >= 0.025:
            record |= {"error": "timeout_total", "error_message": "it took longer than 120 s", "ending": "timeout"}
    elif fate < 0.05:
        message = "An event came where another was due."
        record["findings"] = [
            {"axis": "grammar", "rule": "grammar.unexpected-event", "message": message, "event_index": 3, "got": "x"}
        ]
    if two_sided and 0.05 <= fate < 0.06:
        texts_got = [*texts[: chunks // 2], *texts[chunks // 2 + 1 :]]
        at, kept = at[: len(texts_got)], len(texts_got)
    else:
        texts_got = texts[:kept]
    sizes = list(map(len, texts_got))
    record["events"] = {
        "names": ["DELTA", "DONE", "ROLE"],
        "name": [2, *[0] * kept, 1],
        "at": [at[0] - MS // 2, *at[:kept], at[kept - 1] + 1000],
        "chars": [0, *sizes, 0],
        "read": [0, *range(1, kept + 2)] if target == "real" else [0, *[1] * kept, 2],
    }
    record["reads"] = kept + 2
    record["end"] = at[kept - 1] + 2000
    record["tokens"] = chunks if number % 2 else None
    if two_sided:
        record |= _both_sides(record, texts, texts_got, written, cancelled=record["outcome"] == "censored")
    return record


def _fields(number: int, target: str, intended_ns: int, end: int) -> dict[str, Any]:
    return {
        "kind": "stream",
        "id": f"{target}/{number}",
        "target": target,
        "dialect": "openai-chat",
        "phase": 0,
        "user": number % 50,
        "iteration": number // 50,
        "warmup": number < 10,
        "mark": None,
        "intended_ns": intended_ns,
        "start_ns": intended_ns + 50_000,
        "connected": 300_000 if number % 3 else None,
        "reused_connection": number % 3 == 0,
        "sent": 400_000,
        "headers": 20 * MS,
        "status": 200,
        "end": end,
        "outcome": "completed",
        "error": None,
        "error_message": None,
        "ending": "response_end",
        "close_code": None,
        "terminal_event": True,
        "stamps": "kernel",
        "reads": 1,
        "coalesced_reads": 0,
        "wire_bytes": 4000,
        "tokens": None,
        "text": None,
        "findings": [],
        "findings_dropped": 0,
        "events": {"names": [], "name": [], "at": [], "chars": [], "read": []},
        "upstream": [],
    }


def _both_sides(
    record: dict[str, Any], texts: list[str], got: list[str], written: list[int], *, cancelled: bool
) -> dict[str, Any]:
    offset, total = [], 0
    for text in texts:
        total += len(text)
        offset.append(total)
    exchange = {
        "attempt": 1,
        "status": 200,
        "profile": "fast",
        "arrived": MS,
        "headers": 2 * MS,
        "ended_at": written[-1] + 1000,
        "ended": "cancelled" if cancelled else "complete",
        "cancelled": record["end"] + 3 * MS if cancelled else None,
        "written_after_cancel": 0,
        "finish": "stop",
        "faults": [],
        "clock_error": 0,
        "text": "".join(texts),
        "scheduled": written,
        "written": written,
        "offset": offset,
    }
    return {"mark": f"m{record['id']}", "text": "".join(got), "upstream": [exchange]}


def write(path: Path, records: int, *, chunks: int, two_sided: bool, seed: int) -> None:
    """A records file of so many streams."""
    with path.open("wb") as out:
        for line in lines(records, chunks=chunks, two_sided=two_sided, seed=seed):
            out.write(orjson.dumps(line) + b"\n")


def report(path: Path) -> tuple[float, float, float]:
    """`streambench report` in a process of its own: wall-clock s, CPU s, and the most memory of all its processes (PSS)
    in MiB, as far as it was seen twice a second.
    """
    start = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "streambench", "report", str(path), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    most = 0
    while process.poll() is None:
        most = max(most, pss_bytes([process.pid, *children(process.pid)]))
        time.sleep(0.5)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - start, cpu, most / MIB


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--chunks", type=int, default=20)
    parser.add_argument("--two-sided", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, metavar="FILE", help="only write the records file")
    given = parser.parse_args()
    made = {"chunks": given.chunks, "two_sided": given.two_sided, "seed": given.seed}
    if given.write is not None:
        write(given.write, given.records, **made)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.jsonl"
        write(path, given.records, **made)
        size_mib = path.stat().st_size / MIB
        wall_s, cpu_s, memory_mib = report(path)
    print(f"{given.records:,} records of {given.chunks} chunks, {size_mib:,.0f} MiB")
    print(f"  wall clock {wall_s:7.1f} s   CPU {cpu_s:7.1f} s, {cpu_s / given.records * 1e6:,.0f} µs a record")
    print(f"  memory     {memory_mib:7.0f} MiB")
    if given.records == 1_000_000:
        verdict = "kept" if wall_s < AIM_S and memory_mib < AIM_MIB else "missed"
        print(f"  aim: under {AIM_S:.0f} s and {AIM_MIB:,} MiB for a million records: {verdict}")


if __name__ == "__main__":
    main()
