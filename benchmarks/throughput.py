"""How many events a second one core reads: ours, with everything recorded and checked, and others.

`ground_truth.c` writes 64 streams of `openai-chat` as fast as they are read, on a core of its own; the client has
another. A second is one of the wall clock, from the first request until the last event was read (ours: until the last
record was checked and written). Medians of the rounds, and ratios to a bare aiohttp loop of the same run.

    python benchmarks/throughput.py [--clients ours,aiohttp,limit,c] [--streams 64] [--events 5000] [--rounds 3]
    python benchmarks/throughput.py --clients ours,ours-tls,ours-h2,ours-ws,ours-socketio,c

`limit` is no client: it reads, has llhttp take the chunks off, and decodes the JSON by the standard library, which is
the least that a client in Python does that looks at every event.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from accuracy import CLIENTS, Rows, compile_truth, other, pinned, reader, scenario, truth_server


def seconds_of(rows: Rows) -> float:
    """From the first request to the last event."""
    return (max(row[-1] for row in rows) - min(row[0] for row in rows)) / 1e9


def ours(port: int, streams: int, core: int, transport: str = "http1") -> float:
    """Seconds of `streambench run`, from the first stream's start to the end of the last record."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "accuracy.yaml"
        path.write_text(scenario(port, streams, transport))
        subprocess.run(
            [sys.executable, "-m", "streambench", "run", str(path), "-o", name, "--quiet", "--no-plots"],
            stdout=subprocess.DEVNULL,
            check=False,  # a core that is full makes the run invalid, which is what is measured
            preexec_fn=pinned(core),
        )
        lines = [json.loads(line) for line in next((Path(name) / "accuracy").glob("*/records.jsonl")).open()]
    records = [line for line in lines if line["kind"] == "stream"]
    assert len(records) == streams
    assert all(record["outcome"] == "completed" for record in records), {
        (r["error"], r["error_message"]) for r in records
    }
    (end,) = (line for line in lines if line["kind"] == "end")
    return (end["at_ns"] - min(record["start_ns"] for record in records)) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", default=",".join((*CLIENTS, "limit")))
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--events", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0, 0]
    clients = options.clients.split(",")
    rates: dict[str, list[float]] = {client: [] for client in clients}
    print(f"load average before: {os.getloadavg()[0]:.2f}")
    with tempfile.TemporaryDirectory() as folder:
        program = compile_truth(Path(folder))
        for _ in range(options.rounds):
            for client in clients:
                transport = client.removeprefix("ours-") if client.startswith("ours-") else "http1"
                with truth_server(program, 50, 0, options.events, cores[0], transport) as port:
                    if client.startswith("ours"):
                        seconds = ours(port, options.streams, cores[-1], transport)
                    elif client == "c":
                        seconds = seconds_of(reader(program, port, options.streams, cores[-1]).rows)
                    else:
                        seconds = seconds_of(other(client, port, options.streams, cores[-1]).rows)
                rates[client].append(options.streams * options.events / seconds)
    base = statistics.median(rates.get("aiohttp", rates[clients[0]]))
    print("| client | events/s | spread | x aiohttp |")
    print("|---|---|---|---|")
    for client, values in rates.items():
        middle = statistics.median(values)
        print(f"| {client} | {middle:,.0f} | {min(values):,.0f}-{max(values):,.0f} | {middle / base:.2f} |")
    print(f"load average after: {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
