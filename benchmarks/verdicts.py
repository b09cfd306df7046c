"""Is the verdict right? Five chat systems, ten ways to hand a reply on, several rhythms, one user and fifty.

    python benchmarks/verdicts.py                                      # every profile, one user a target
    python benchmarks/verdicts.py --profiles openai-fast --users 50    # ten users on each system, one way at a time
    python benchmarks/verdicts.py --profiles fixed --hog               # with a busy loop on every core beside it

Each cell of the table is one target with at least 20 streams. A verdict is *right*, *wrong*, *open* (unknown, with its
reason) or *blind*: a buffer of as many words as the upstream writes at a time, which no rhythm shows, and of which the
evidence says so. An invalid run (the machine was too busy) decides nothing. Exits 1 where a verdict is wrong.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
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
    ("hold-10", "sentence", "rapid", "blocking-at-once"),
    ("paced", "blocking-typed"),
)
SIGNS = {"right": "✓", "blind": "(✓)", "open": "?", "wrong": "✗", "invalid": "–"}


def scenario(profile: str, modes: Sequence[str], users: int) -> dict[str, Any]:
    """A run of all systems in some modes, so many users on each target."""
    targets = {
        f"{system}.{mode}": {
            "dialect": system,
            **where,
            "query": {"streaming": mode},
            "auth": {"bearer": "alice-token"},
        }
        for system, where in SYSTEMS.items()
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


def judge(mode: str, target: dict[str, Any], *, valid: bool) -> str:
    """Whether the verdict on a target is right, wrong, open or blind; `invalid` of an invalid run."""
    found = target["authenticity"]
    if found["verdict"] == EXPECTED[mode]:
        return "right"
    if not valid:
        return "invalid"
    if found["verdict"] == "unknown":
        return "open"
    if mode.startswith("hold-") and found["verdict"] == "forwarded" and "would not show" in found["evidence"]:
        words = round(found["write_words"])
        return "blind" if words % int(mode.removeprefix("hold-")) == 0 else "wrong"
    return "wrong"


def cells(profile: str, users: int) -> dict[tuple[str, str], tuple[str, dict[str, Any]]]:
    """By system and mode: what came of the cell, and the target's entry of the summary."""
    batches: Sequence[Sequence[str]] = BATCHES if users == 1 else [[mode] for mode in EXPECTED]
    out: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
    for modes in batches:
        summary = run(scenario(profile, modes, 1 if users == 1 else users // len(SYSTEMS)))
        valid = bool(summary["generator"]["valid"])
        if not valid:
            print(f"  invalid: {'; '.join(summary['generator']['reasons'])}", file=sys.stderr)
        for name, target in summary["targets"].items():
            system, mode = name.split(".")
            out[system, mode] = judge(mode, target, valid=valid), target
    return out


def table(profile: str, users: int, found: dict[tuple[str, str], tuple[str, dict[str, Any]]]) -> list[str]:
    """A Markdown table, a row for each way to hand a reply on."""
    lines = [
        f"| `{profile}`, {users} user{'s' if users > 1 else ''} | {' | '.join(SYSTEMS)} | held | hold p50 |",
        f"|---|{'---|' * (len(SYSTEMS) + 2)}",
    ]
    for mode in EXPECTED:
        shown = [found[system, mode] for system in SYSTEMS if (system, mode) in found]
        signs = [
            f"{SIGNS[found[system, mode][0]]} {found[system, mode][1]['authenticity']['verdict']}"
            if (system, mode) in found
            else "–"
            for system in SYSTEMS
        ]
        held = [target["authenticity"]["held"] for _, target in shown]
        hold = [target["authenticity"]["hold_ms"] for _, target in shown]
        lines.append(f"| {mode} | {' | '.join(signs)} | {_middle(held, '.0%')} | {_middle(hold, ',.0f', ' ms')} |")
    return lines


def _middle(values: Sequence[float | None], form: str, unit: str = "") -> str:
    known = sorted(value for value in values if value is not None)
    return f"{known[len(known) // 2]:{form}}{unit}" if known else "–"


def _spin() -> None:
    while True:
        pass


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--profiles", default=",".join(TOKENS), help="comma-separated (default: %(default)s)")
    parser.add_argument("--users", type=int, default=1, choices=(1, 50))
    parser.add_argument("--hog", action="store_true", help="a busy loop on every core beside it")
    given = parser.parse_args()
    hogs = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(os.cpu_count() or 1 if given.hog else 0)]
    for hog in hogs:
        hog.start()
    total: Counter[str] = Counter()
    streams = 0
    begin = time.monotonic()
    try:
        for profile in given.profiles.split(","):
            found = cells(profile, given.users)
            print("\n".join(table(profile, given.users, found)), flush=True)
            for (system, mode), (result, target) in found.items():
                total[result] += 1
                streams += target["streams"]["completed"]
                if result in ("wrong", "open"):
                    print(f"  {result}: {system}.{mode}: {target['authenticity']['evidence']}", file=sys.stderr)
    finally:
        for hog in hogs:
            hog.kill()
    counts = ", ".join(f"{count} {name}" for name, count in total.most_common())
    print(f"\n{total.total()} cells, {streams:,} streams in {time.monotonic() - begin:.0f} s: {counts}")
    return 1 if total["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
