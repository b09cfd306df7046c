"""Meets every hostile server of the tests alone, and prints how each ends, its peak memory and its time.

    python benchmarks/hostile.py --only h1+sse/bomb
    python benchmarks/hostile.py --against ../older-checkout

Two streams each, with the default limits. `--against` runs the same with the code of another checkout, beside it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/hostile"))

from corpus import CASES, Case  # noqa: E402
from desk import Jobs, Servers, endings, make_certificate  # noqa: E402

SECONDS = 40.0
MEBIBYTES = 150
MOST_S = 10.0


def environ_of(tree: Path) -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join([str(tree / "harness"), str(tree)])}


def met(jobs: Jobs, servers: Servers, case: Case, folder: Path) -> tuple[str, bool]:
    """One case in words, and whether it is within the bounds."""
    folder.mkdir()
    scenario = servers.scenario(folder, case)
    done = jobs.run("run", str(scenario), "-q", "--no-plots", "-o", "out", cwd=folder, seconds=SECONDS)
    records = list(folder.glob("out/*/*-*/records.jsonl"))
    ends = [end for target in (endings(records[0]).values() if records else ()) for end in target]
    good = done.code is not None and not done.is_bug and done.mebibytes < MEBIBYTES and done.wall_s < MOST_S
    good &= set(ends) <= set(case.hostile.ends)
    code = "killed" if done.code is None else f"exit {done.code}"
    words = ", ".join(sorted(set(ends))) or "no record"
    return f"{words:<28} {code:<8} {done.mebibytes:6.0f} MiB {done.cpu_s:6.1f} s CPU {done.wall_s:6.1f} s", good


def rows(arguments: argparse.Namespace) -> Iterator[bool]:
    trees = [ROOT, *([arguments.against] if arguments.against else [])]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        certificate = make_certificate(folder)
        all_jobs = [stack.enter_context(Jobs(environ_of(tree))) for tree in trees]
        for name, case in CASES.items():
            if not any(name.startswith(only) for only in arguments.only or [""]):
                continue
            for number, jobs in enumerate(all_jobs):
                with Servers(certificate) as servers:
                    line, good = met(jobs, servers, case, folder / f"{name.replace('/', '.')}-{number}")
                print(f"{'' if number else name:<40} {'now' if not number else 'before':<7} {line}", flush=True)
                if not number:
                    yield good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", help="cases whose name begins so (repeatable)")
    parser.add_argument("--against", type=Path, help="another checkout")
    found = list(rows(parser.parse_args()))
    print(f"{sum(found)} of {len(found)} within {MEBIBYTES} MiB and {MOST_S:g} s, and with the right class")


if __name__ == "__main__":
    main()
