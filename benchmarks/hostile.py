"""Meets the hostile servers of the tests, and prints how each ends, its peak memory and its time.

    python benchmarks/hostile.py --only h1+sse/bomb        every case alone, two streams, the default limits
    python benchmarks/hostile.py --table --against ../old  what the page of limits shows, beside another checkout
    python benchmarks/hostile.py --beside                  what twenty healthy streams notice of each flood

Alone, a case may take 150 MiB and 10 s. Beside a flood, the gaps of healthy streams may grow by 1 ms at p99, and the
run has to stay valid. `--part 2/3` runs the second third of the cases.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/hostile"))

from corpus import CASES, FLOOD, Case  # noqa: E402
from desk import Done, Jobs, Servers, endings, make_certificate  # noqa: E402

SECONDS = 60.0
CAP_MEBIBYTES = 8192  # of address space, for a checkout without bounds
MEBIBYTES = 150
MOST_S = 10.0
WORST = 10

# Long enough that what a flood costs is not hidden behind a timeout.
PATIENT = {"connect": "5s", "first_chunk": "10s", "idle": "10s", "total": "10s"}
TABLE = {
    "gzip bomb of comment lines": "h1+sse/bomb-of-comments",
    "gzip bomb of empty lines": "h1+sse/bomb-of-empty-lines",
    "gzip bomb of Engine.IO packets": "polling/bomb",
    "tiny events": "h1+sse/tiny-events",
    "events without data": "h1+sse/empty-data",
    "WebSocket pings": "ws/pings",
    "empty WebSocket messages": "ws/empty-messages",
    "Engine.IO no-ops": "eio-ws/no-ops",
    "Socket.IO requests for an ack": "eio-ws/ack-requests",
    "empty DATA frames": "h2/empty-data-frames",
    "SETTINGS frames": "h2/settings",
    "`MAX_CONCURRENT_STREAMS 0`": "h2-again/no-more-streams",
    "a status that is not a number": "h2/status-in-letters",
    "half a character in an event": "h1+sse/half-a-character-too-many",
    "half a character in a session id": "eio-polling/half-a-session",
    "half a character to capture": "setup/half-a-character",
    "a setup that drips": "setup/drip",
    "a kept connection closed at the next request": "h1-again/forgotten",
}

HEALTHY = 10  # targets with two streams each
PROFILE = {"name": "fixed", "ttft_ms": 50, "gap_ms": 20}
TOKENS = 100
RUNS_WITHOUT = 7
MORE_MS = 1.0


@dataclass(frozen=True)
class Met:
    """A case and what became of it."""

    done: Done
    ends: tuple[str, ...]

    def __str__(self) -> str:
        code = "killed" if self.done.code is None else f"exit {self.done.code}"
        words = ", ".join(self.ends) or "no record"
        done = self.done
        return f"{words:<28} {code:<8} {done.mebibytes:6.0f} MiB {done.cpu_s:6.1f} s CPU {done.wall_s:6.1f} s"

    def is_good(self, case: Case) -> bool:
        """Whether it is within the bounds, and ends as it should."""
        done = self.done
        bounded = done.code is not None and done.mebibytes < MEBIBYTES and done.wall_s < MOST_S
        return bounded and not done.is_bug and set(self.ends) <= set(case.hostile.ends)


class Bench:
    """Runs cases with the code of this checkout and of another; each meets servers of its own."""

    def __init__(self, stack: ExitStack, against: Path | None) -> None:
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self._certificate = make_certificate(self._folder)
        trees = {"now": ROOT} | ({} if against is None else {"before": against.resolve()})
        self.jobs = {name: stack.enter_context(Jobs(environ_of(tree))) for name, tree in trees.items()}
        self._count = 0

    def meet(self, tree: str, cases: Sequence[Case], **changes: Any) -> tuple[Done, Path | None]:
        """One run, and where its records are."""
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        with Servers(self._certificate) as servers:
            scenario = servers.scenario(folder, *cases, **changes)
            done = self.jobs[tree].run(
                *("run", str(scenario), "-q", "--no-plots", "-o", "out"),
                cwd=folder,
                seconds=SECONDS,
                mebibytes=CAP_MEBIBYTES,
            )
        return done, next(folder.glob("out/*/*-*/records.jsonl"), None)

    def alone(self, tree: str, case: Case, **changes: Any) -> Met:
        """A case with nobody beside it."""
        done, records = self.meet(tree, [case], **changes)
        ends = () if records is None else tuple(sorted({end for ends in endings(records).values() for end in ends}))
        return Met(done, ends)


def environ_of(tree: Path) -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join([str(tree / "harness"), str(tree)])}


def every_case(bench: Bench, cases: Sequence[Case]) -> None:
    """Each alone; the worst at the end."""
    found: list[tuple[Case, Met]] = []
    good = 0
    for case in cases:
        for tree in bench.jobs:
            met = bench.alone(tree, case)
            print(f"{case.id if tree == 'now' else '':<44} {tree:<7} {met}", flush=True)
            if tree == "now":
                found.append((case, met))
                good += met.is_good(case)
    for what, key in (("memory", lambda met: met.done.mebibytes), ("time", lambda met: met.done.wall_s)):
        print(f"\nthe most {what}")
        for case, met in sorted(found, key=lambda one: -key(one[1]))[:WORST]:
            print(f"{case.id:<44} {met}")
    print(f"\n{good} of {len(found)} within {MEBIBYTES} MiB and {MOST_S:g} s, and with the right class")


def table(bench: Bench, only: Sequence[str]) -> None:
    """The rows of docs/explanation/limits.md."""
    for what, name in TABLE.items():
        if not name.startswith(tuple(only)):
            continue
        cells = [f"| {what} "]
        for tree in reversed(bench.jobs):
            met = bench.alone(tree, CASES[name], timeouts=PATIENT)
            code = "killed" if met.done.code is None else f"exit {met.done.code}"
            ends = ", ".join(f"`{end}`" for end in met.ends) or "no record"
            cells.append(f"| {ends}, {code} | {met.done.mebibytes:,.0f} MiB, {met.done.wall_s:.1f} s ")
        print("".join(cells) + "|", flush=True)


def beside(bench: Bench, cases: Sequence[Case]) -> None:
    """Twenty healthy streams beside each flood, against the same twenty alone."""
    without = [healthy_p99_ms(bench)[0] for _ in range(RUNS_WITHOUT)]
    usual = median(without)
    print(f"gap p99 of 20 healthy streams alone: median {usual:.2f} ms, {min(without):.2f} to {max(without):.2f} ms")
    more = []
    good = 0
    for case in cases:
        p99_ms, valid, completed, ends = healthy_p99_ms(bench, case)
        more.append(p99_ms - usual)
        good += valid and completed == 2 * HEALTHY and p99_ms - usual < MORE_MS
        state = "valid" if valid else "INVALID"
        print(f"{case.id:<44} {ends:<24} {completed} whole, {state}, gap p99 {p99_ms - usual:+.2f} ms", flush=True)
    print(f"{good} of {len(cases)} leave a valid run, 20 whole streams, and gaps within {MORE_MS:g} ms")


def healthy_p99_ms(bench: Bench, case: Case | None = None) -> tuple[float, bool, int, str]:
    """The p99 of the healthy streams' gaps, whether the run is valid, how many are whole, how the others ended."""
    target = {"dialect": "openai-chat", "url": "${serve.openai}/v1/chat/completions"}
    targets = {f"healthy{number}": target for number in range(HEALTHY)}
    done, records = bench.meet(
        "now",
        [] if case is None else [case],
        serve={"openai": {"profile": PROFILE}},
        prompts={"tokens": TOKENS},
        more_targets=targets,
        timeouts={"connect": "5s", "first_chunk": "5s", "idle": "5s", "total": "10s"},
    )
    assert records is not None, done.err
    gaps: list[int] = []
    completed = 0
    ends = set()
    for line in map(json.loads, records.read_bytes().splitlines()):
        if line.get("kind") != "stream":
            continue
        if not line["target"].startswith("healthy"):
            ends.add(line["error"] or line["outcome"])
            continue
        completed += line["outcome"] == "completed"
        at = [at for at, chars in zip(line["events"]["at"], line["events"]["chars"], strict=True) if chars]
        gaps += [later - earlier for earlier, later in pairwise(at)]
    gaps.sort()
    summary = json.loads(records.with_name("summary.json").read_text())
    return gaps[int(0.99 * len(gaps))] / 1e6, summary["generator"]["valid"], completed, ", ".join(sorted(ends))


def chosen(only: Sequence[str], part: str) -> Iterator[Case]:
    number, _, parts = part.partition("/")
    found = [case for name, case in CASES.items() if name.startswith(tuple(only))]
    yield from found[int(number) - 1 :: int(parts)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], help="cases whose name begins so (repeatable)")
    parser.add_argument("--part", default="1/1", help="such as 2/3")
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--table", action="store_true", help="the table of the page of limits")
    parser.add_argument("--beside", action="store_true", help="healthy streams beside each flood")
    arguments = parser.parse_args()
    only = arguments.only or [""]
    cases = list(chosen(only, arguments.part))
    with ExitStack() as stack:
        bench = Bench(stack, arguments.against)
        if arguments.table:
            table(bench, only)
        elif arguments.beside:
            beside(bench, [case for case in cases if set(FLOOD) & set(case.hostile.ends)])
        else:
            every_case(bench, cases)


if __name__ == "__main__":
    main()
