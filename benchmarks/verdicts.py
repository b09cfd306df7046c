"""Is the verdict right? Five chat systems, thirteen ways to hand a reply on, several rhythms, one user and fifty.

    python benchmarks/verdicts.py --profile fixed                      # one user a target
    python benchmarks/verdicts.py --profile openai-fast --users 50     # ten users on each system, one way at a time
    python benchmarks/verdicts.py --profile fixed --hog                # with a busy loop on every core beside it
    python benchmarks/verdicts.py --table                              # what all parts found, as Markdown

A part can be as small as wanted (`--system`, `--mode`, both repeatable); each cell is added to `--results`, where a
later one replaces an earlier one. Each cell is one target with at least 20 streams. A verdict is *right*, *wrong*,
*open* (unknown, with its reason) or *blind*: a buffer of as many words as the upstream writes at a time, which no
rhythm shows, and of which the evidence says so. Of an invalid run (the machine was too busy) the verdicts are counted
apart. Exits 1 where a verdict is wrong.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

SYSTEMS: dict[str, dict[str, Any]] = {
    "chat-stream": {"url": "${serve.chat}/api/chat/stream"},
    "assistant-ws": {"url": "${serve.chat}"},
    "thread-events": {"url": "${serve.chat}"},
    "room-chat": {"url": "${serve.chat}"},
    "conversation-stream": {"url": "${serve.chat}/api/conversation-stream/alice"},
}
EXPECTED = {
    "real": "forwarded",
    "hold-2": "batched",
    "hold-3": "batched",
    "hold-5": "batched",
    "hold-10": "batched",
    "slide-1": "batched",
    "slide-4": "batched",
    "slide-10": "batched",
    "sentence": "batched",
    "paced": "paced",
    "rapid": "buffered",
    "blocking-typed": "paced",
    "blocking-at-once": "buffered",
}
# How long a reply is, so that the upstream writes several times whatever its rhythm.
TOKENS = {"fixed": 40, "openai-fast": 40, "openai-slow": 24, "azure-filtered": 140}
STREAMS = 20
# With one user a target, so many ways at a time: more streams at once would measure the machine.
BATCHES = (
    ("real", "hold-2", "hold-3", "hold-5"),
    ("hold-10", "slide-1", "slide-4", "slide-10"),
    ("sentence", "rapid", "blocking-at-once"),
    ("paced", "blocking-typed"),
)
RESULTS = Path("verdicts.jsonl")
SIGNS = {"right": "✓", "blind": "(✓)", "open": "?", "wrong": "✗"}

Cell = dict[str, Any]


def scenario(profile: str, systems: Sequence[str], modes: Sequence[str], users: int) -> dict[str, Any]:
    """A run of some systems in some modes, so many users on each target."""
    targets = {
        f"{system}.{mode}": {
            "dialect": system,
            **SYSTEMS[system],
            "query": {"streaming": mode},
            "auth": {"bearer": "alice-token"},
        }
        for system in systems
        for mode in modes
    }
    return {
        "version": 1,
        "name": f"verdicts-{profile}",
        "serve": {"openai": {"profile": profile}, "chat": {"rate_limit": "10000/s"}},
        "targets": targets,
        "prompts": {"text": "Explain quantum computing in simple terms", "tokens": TOKENS[profile]},
        "load": {"users": users, "streams": max(STREAMS, 2 * users)},
    }


def run(document: dict[str, Any]) -> dict[str, Any]:
    """The summary of a run; it has no targets where the run did not come about."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scenario.yaml"
        path.write_text(json.dumps(document))
        command = [sys.executable, "-m", "streambench", "run", str(path), "--output", folder, "--no-plots", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    try:
        return dict(json.loads(done.stdout))
    except ValueError:
        print(done.stderr[-2000:], file=sys.stderr)
        return {"targets": {}, "generator": {"valid": False, "reasons": ["the run did not come about"]}}


def judge(mode: str, found: dict[str, Any]) -> str:
    """Whether the verdict on a target is right, wrong, open or blind."""
    if found["verdict"] == EXPECTED[mode]:
        return "right"
    if found["verdict"] == "unknown":
        return "open"
    if mode.startswith("hold-") and found["verdict"] == "forwarded" and "might not show" in found["evidence"]:
        words = round(found["write_words"])
        return "blind" if words % int(mode.removeprefix("hold-")) == 0 else "wrong"
    return "wrong"


def cells(profile: str, systems: Sequence[str], modes: Sequence[str], users: int, *, hogs: int) -> Iterator[Cell]:
    """What came of each system and mode."""
    batches: Iterable[Sequence[str]] = BATCHES if users == 1 else [[mode] for mode in EXPECTED]
    for batch in batches:
        wanted = [mode for mode in batch if mode in modes]
        if not wanted:
            continue
        summary = run(scenario(profile, systems, wanted, 1 if users == 1 else users // len(SYSTEMS)))
        generator = summary["generator"]
        if not generator["valid"]:
            print(f"  invalid: {'; '.join(generator['reasons'])}", file=sys.stderr)
        for name, target in summary["targets"].items():
            system, mode = name.split(".")
            found = target["authenticity"]
            yield {
                "profile": profile,
                "users": users,
                "hogs": hogs,
                "system": system,
                "mode": mode,
                "result": judge(mode, found),
                "valid": bool(generator["valid"]),
                "verdict": found["verdict"],
                "evidence": found["evidence"],
                "shares": found["shares"],
                "held": found["held"],
                "hold_ms": found["hold_ms"],
                "streams": target["streams"]["completed"],
                "date": time.strftime("%Y-%m-%d"),
                "machine": f"{os.cpu_count()} cores, {platform.system()}",
            }


def table(found: Sequence[Cell]) -> list[str]:
    """For each profile, number of users and hogs a Markdown table, a row for each way to hand a reply on."""
    lines = []
    for part in dict.fromkeys((cell["profile"], cell["users"], cell["hogs"]) for cell in found):
        profile, users, hogs = part
        these = [cell for cell in found if (cell["profile"], cell["users"], cell["hogs"]) == part]
        title = f"`{profile}`, {users} user{'s' if users > 1 else ''}{f', {hogs} busy loops' if hogs else ''}"
        lines += ["", f"| {title} | {' | '.join(SYSTEMS)} | held | hold p50 |", f"|---|{'---|' * (len(SYSTEMS) + 2)}"]
        for mode in EXPECTED:
            row = {cell["system"]: cell for cell in these if cell["mode"] == mode}
            held, hold = ([cell[name] for cell in row.values()] for name in ("held", "hold_ms"))
            signs = " | ".join(_sign(row.get(system)) for system in SYSTEMS)
            if row:
                lines.append(f"| {mode} | {signs} | {_middle(held, '.0%')} | {_middle(hold, ',.0f', ' ms')} |")
    return lines


def totals(found: Sequence[Cell]) -> list[str]:
    """A row for each way to hand a reply on: how many cells were right, and what the others were."""
    lines = ["", "| mode | cells | streams | right | blind | open | wrong | in invalid runs |", f"|---|{'---|' * 7}"]
    for mode in (*EXPECTED, None):
        these = [cell for cell in found if mode in (cell["mode"], None)]
        valid = Counter(cell["result"] for cell in these if cell["valid"])
        counts = " | ".join(str(valid[result]) for result in ("right", "blind", "open", "wrong"))
        invalid = Counter(cell["result"] for cell in these if not cell["valid"])
        apart = ", ".join(f"{count} {result}" for result, count in invalid.most_common()) or "0"
        streams = sum(cell["streams"] for cell in these)
        lines.append(f"| {mode or 'all'} | {len(these)} | {streams:,} | {counts} | {apart} |")
    return lines


def _sign(cell: Cell | None) -> str:
    if cell is None:
        return "–"
    return f"{SIGNS[cell['result']]} {cell['verdict']}{'' if cell['valid'] else ' (invalid)'}"


def _middle(values: Sequence[float | None], form: str, unit: str = "") -> str:
    known = sorted(value for value in values if value is not None)
    return f"{known[len(known) // 2]:{form}}{unit}" if known else "–"


def _spin() -> None:
    while True:
        pass


def read(results: Path) -> list[Cell]:
    """The cells of all parts; of those that were measured several times, the last."""
    by_place: dict[tuple[Any, ...], Cell] = {}
    for line in results.read_text().splitlines() if results.exists() else ():
        cell = json.loads(line)
        by_place[tuple(cell[key] for key in ("profile", "users", "hogs", "system", "mode"))] = cell
    return [by_place[place] for place in sorted(by_place, key=str)]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--profile", action="append", choices=TOKENS, help="repeatable (default: all)")
    add("--system", action="append", choices=SYSTEMS, help="repeatable (default: all)")
    add("--mode", action="append", choices=EXPECTED, help="repeatable (default: all)")
    add("--users", type=int, default=1, choices=(1, 50))
    add("--hog", action="store_true", help="a busy loop on every core beside it")
    add("--hogs", type=int, default=0, metavar="N", help="so many busy loops")
    add("--results", type=Path, default=RESULTS, help="where cells are added (default: %(default)s)")
    add("--table", action="store_true", help="run nothing, and print what all parts found")
    given = parser.parse_args()
    if given.table:
        found = read(given.results)
        print("\n".join([*table(found), *totals(found)]))
        return any(cell["result"] == "wrong" for cell in found)
    count = given.hogs or (os.cpu_count() or 1 if given.hog else 0)
    hogs = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(count)]
    for hog in hogs:
        hog.start()
    part: list[Cell] = []
    begin = time.monotonic()
    systems, modes = given.system or list(SYSTEMS), given.mode or list(EXPECTED)
    try:
        for profile in given.profile or TOKENS:
            for cell in cells(profile, systems, modes, given.users, hogs=count):
                part.append(cell)
                with given.results.open("a") as file:
                    file.write(json.dumps(cell) + "\n")
                if cell["result"] in ("wrong", "open"):
                    print(f"  {cell['result']}: {cell['system']}.{cell['mode']}: {cell['evidence']}", file=sys.stderr)
    finally:
        for hog in hogs:
            hog.kill()
    counts = ", ".join(f"{count} {name}" for name, count in Counter(cell["result"] for cell in part).most_common())
    print("\n".join(table(part)))
    streams = sum(cell["streams"] for cell in part)
    print(f"\n{len(part)} cells, {streams:,} streams in {time.monotonic() - begin:.0f} s: {counts}")
    return any(cell["result"] == "wrong" for cell in part)


if __name__ == "__main__":
    sys.exit(main())
