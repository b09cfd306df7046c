"""How quickly streambench is there, and how much memory the quickstart takes.

Prints each figure with its limit and the ratio of the two; exits 1 where a limit is missed. Loopback only, under a
minute. Run it with `python benchmarks/startup.py`.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

REPEATS = 7
LIMITS = {"--help (ms)": 150, "first request (ms)": 1000, "quickstart, all processes (MB)": 150}
STREAMBENCH = [sys.executable, "-m", "streambench"]


def help_ms() -> float:
    """From the start of the process to its end."""
    begin_ns = time.monotonic_ns()
    subprocess.run([*STREAMBENCH, "--help"], stdout=subprocess.DEVNULL, check=True)
    return (time.monotonic_ns() - begin_ns) / 1e6


def first_request_ms(upstream: str, folder: Path) -> float:
    """From the start of the process to the moment at which the upstream had the first request."""
    scenario = folder / "one.yaml"
    scenario.write_text(
        f'name: one\ntarget: {{dialect: openai-chat, url: "{upstream}/v1/chat/completions"}}\n'
        "load: {users: 1, streams: 1}\n"
    )
    begin_ns = time.monotonic_ns()
    subprocess.run(
        [*STREAMBENCH, "run", str(scenario), "-o", str(folder), "--quiet", "--no-plots"],
        stdout=subprocess.DEVNULL,
        check=True,
    )
    with urllib.request.urlopen(f"{upstream}/_mock/journal?limit=100000") as answer:
        arrived_ns = json.load(answer)["entries"][-1]["arrived_ns"]
    return (arrived_ns - begin_ns) / 1e6


def quickstart_mb(folder: Path) -> float:
    """The most memory of the process and its servers together at any moment; shared pages are counted once (PSS)."""
    process = subprocess.Popen(
        [*STREAMBENCH, "run", "quickstart", "-o", str(folder), "--quiet"], stdout=subprocess.DEVNULL
    )
    most_kb = 0
    while process.poll() is None:
        most_kb = max(most_kb, sum(pss_kb(pid) for pid in (process.pid, *children(process.pid))))
        time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"quickstart ended with {process.returncode}")
    return most_kb / 1024


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def pss_kb(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        pass  # it has just ended
    return 0


def main() -> int:
    """Measure, print, and say whether the limits hold."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        servers = subprocess.Popen(
            [sys.executable, "-m", "mock_openai", "--json", "--no-chat", "--port", "0", "--profile", "instant"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert servers.stdout is not None
            upstream = json.loads(servers.stdout.readline())["openai"]
            figures = {
                "--help (ms)": statistics.median(help_ms() for _ in range(REPEATS)),
                "first request (ms)": statistics.median(first_request_ms(upstream, folder) for _ in range(REPEATS)),
            }
        finally:
            servers.terminate()
            servers.wait(10)
        figures["quickstart, all processes (MB)"] = quickstart_mb(folder)
    print(f"{'figure':<34}{'measured':>10}{'limit':>8}{'ratio':>8}")
    for figure, value in figures.items():
        print(f"{figure:<34}{value:>10.1f}{LIMITS[figure]:>8}{value / LIMITS[figure]:>8.2f}")
    return int(any(value > LIMITS[figure] for figure, value in figures.items()))


if __name__ == "__main__":
    sys.exit(main())
