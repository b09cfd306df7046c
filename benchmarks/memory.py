"""How much memory the client needs for each open stream: many slow ones, held for a while by several workers.

`ground_truth.c` (compiled here) writes a text to each stream every 5 s. The same run is made with few streams and with
many; what the workers' proportional set size (PSS) grows by, divided by the further streams, is the memory of one. It
holds everything: socket, parsers, timers, the record so far, transcripts.

    python benchmarks/memory.py                              # 10,000 streams, two workers, a minute; about 110 s
    python benchmarks/memory.py --streams 1000 --hold 10 --save-streams none

Loopback only, bounded in count and time. Exits 1 where a stream failed or needs more than the aim.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
GAP_S = 5.0
FEW = 100
COMING_PER_S = 1000
AIM_BYTES = 25_000
SCENARIO = """\
name: memory
target: {{dialect: openai-chat, url: "http://127.0.0.1:{port}/v1/chat/completions"}}
load: {{users: {streams}, streams: {streams}, ramp_up: {ramp_s:g}s, workers: {workers}}}
timeouts: {{connect: 60s, first_chunk: 60s, idle: 60s, total: 300s}}
"""


@dataclass(frozen=True, slots=True)
class Held:
    """What a run needed: the most memory of all its workers together, and how many streams were completed."""

    memory_bytes: int
    completed: int
    summary: dict[str, Any]


def measure(program: Path, streams: int, workers: int, hold_s: float, save: str, folder: Path) -> Held:
    """One run against a server of its own."""
    chunks = round(hold_s / GAP_S)
    server = subprocess.Popen(
        [str(program), "serve", "1000", str(round(GAP_S * 1000)), str(chunks)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        path = folder / "memory.yaml"
        path.write_text(SCENARIO.format(port=port, streams=streams, workers=workers, ramp_s=streams / COMING_PER_S))
        options = ["--json", "--no-plots", "--save-streams", save, "-o", str(folder)]
        with (folder / "summary.json").open("w") as output:
            run = subprocess.Popen([sys.executable, "-m", "streambench", "run", str(path), *options], stdout=output)
            most = 0
            while run.poll() is None:
                most = max(most, pss_bytes([run.pid] if workers == 1 else children(run.pid, "load.worker")))
                time.sleep(0.5)
        summary = json.loads((folder / "summary.json").read_text())
    finally:
        server.kill()
        server.wait()
    (target,) = summary["targets"].values()
    return Held(most, target["streams"]["completed"], summary)


def children(pid: int, command: str = "") -> list[int]:
    """The processes that a process has started, with this in their command lines."""
    try:
        started = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return [child for child in started if command in Path(f"/proc/{child}/cmdline").read_text()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def pss_bytes(pids: list[int]) -> int:
    """The proportional set size of processes together; 0 where one of them has just ended."""
    try:
        rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(1024 * int(line.split()[1]) for text in rollups for line in text.splitlines() if line.startswith("Pss:"))


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--hold", type=float, default=60.0, help="seconds that each stream lasts")
    parser.add_argument("--save-streams", default="failed")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = folder / "ground_truth"
        subprocess.run(["cc", "-O2", "-o", str(program), str(HERE / "ground_truth.c")], check=True)
        few = measure(program, FEW, given.workers, 5.0, given.save_streams, folder)
        many = measure(program, given.streams, given.workers, given.hold, given.save_streams, folder)
    each = (many.memory_bytes - few.memory_bytes) / (given.streams - FEW)
    print(
        f"{many.completed:,} of {given.streams:,} streams held for {given.hold:g} s by {given.workers} workers: "
        f"{many.memory_bytes / 1e6:.0f} MB, {few.memory_bytes / 1e6:.0f} MB with {FEW} streams; "
        f"{each / 1000:.1f} KB a stream (aim: {AIM_BYTES / 1000:.0f})"
    )
    generator = many.summary["generator"]
    print(f"valid {generator['valid']}, cpu {generator['cpu']}, {'; '.join(generator['reasons'])}")
    return int(each > AIM_BYTES or many.completed < given.streams)


if __name__ == "__main__":
    sys.exit(main())
