"""How late the open model starts its streams: intended against actual start, at a rate.

The target is `ground_truth.c` (compiled here), on a core of its own; each reply is one text after 50 ms. Client and
server share nothing but the loopback.

    python benchmarks/start_delay.py                    # 1,000 starts a second for 10 s, constant and Poisson
    python benchmarks/start_delay.py --rate 200 --seconds 5

Loopback only, bounded in count and time. Exits 1 where the 99th percentile misses the aim of 1 ms.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from accuracy import compile_truth, pinned, truth_server

AIM_MS = 1.0
SCENARIO = """\
name: start-delay
target: {{dialect: openai-chat, url: "http://127.0.0.1:{port}/v1/chat/completions"}}
load: {{rate: {rate}/s, arrivals: {arrivals}, duration: {seconds}s, warmup: 1s}}
"""


def measure(port: int, rate: int, seconds: int, arrivals: str, folder: Path) -> dict[str, Any]:
    """The summary of one run."""
    path = folder / "start.yaml"
    path.write_text(SCENARIO.format(port=port, rate=rate, seconds=seconds, arrivals=arrivals))
    done = subprocess.run(
        [sys.executable, "-m", "streambench", "run", str(path), "--json", "--no-plots", "-o", str(folder)],
        stdout=subprocess.PIPE,
        check=False,
        preexec_fn=pinned(0),
    )
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=10)
    given = parser.parse_args()
    missed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with truth_server(compile_truth(folder), 50, 10, 1, 1) as port:
            for arrivals in ("constant", "poisson"):
                summary = measure(port, given.rate, given.seconds, arrivals, folder)
                (target,) = summary["targets"].values()
                delay, generator = target["metrics"]["start_delay"], summary["generator"]
                missed |= delay["p99"] > AIM_MS
                print(
                    f"{arrivals:8} {given.rate:,}/s: {target['streams']['completed']:,} streams, start delay "
                    f"p50 {delay['p50']:.3f} ms, p99 {delay['p99']:.3f} ms, max {delay['max']:.3f} ms; "
                    f"cpu {generator['cpu']}, valid {generator['valid']}"
                )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
