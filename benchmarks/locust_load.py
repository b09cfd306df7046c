"""Locust's workers and Locust's users against the native engine: the same load, the same upstream, the same figures.

    python benchmarks/locust_load.py            # all three comparisons
    python benchmarks/locust_load.py --users 50 --seconds 10

1. `streambench run` against `streambench locust --headless`: the first content, on the same load.
2. One worker against two with twice the users: streams, and how far arrivals are from the upstream's writes.
3. `StreamChatUser` under stock `locust` against the native engine: the first content, on the same load, users coming at
   the same rate; and how far its stamp is from the upstream's write; and the own shares of both.

The upstream replies after 200 ms with 40 chunks, 20 ms apart; all processes are on this machine and share its cores.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from streambench.quantile import quantile_index

SCENARIO = """\
name: bench
serve: {{openai: {{}}}}
target: {{dialect: openai-chat, url: "${{serve.openai}}/v1/chat/completions"}}
prompts: {{text: Hello, tokens: 40, profile: {{name: fixed, ttft_ms: 200, gap_ms: 20}}}}
load: {{users: {users}, duration: {seconds}s, think: 0.1s}}
"""
LOCUSTFILE = """\
import json, os
from locust import constant, task
from streambench.locust import StreamChatUser

OUT = open(os.environ["BENCH_OUT"], "a", buffering=1)

class Chat(StreamChatUser):
    dialect = "openai-chat"
    path = "/v1/chat/completions"
    wait_time = constant(0.1)

    @task
    def ask(self):
        mark = "bench.%s" % os.urandom(6).hex()
        reply = self.stream("Hello [[sb:%s]]" % mark)
        events = reply.record.events
        first_ns = next((at for at, chars in zip(events.at_ns, events.chars) if chars), None)
        OUT.write(json.dumps([reply.ttfc_ms, mark, first_ns, reply.ok, reply.ttfc_own_ms]) + "\\n")
"""
PERCENTS = (50, 95, 99)


def native(folder: Path, *arguments: str) -> dict[str, Any]:
    """A run by the command line; returns its target's metrics, and the generator's figures as `generator`."""
    done = subprocess.run(
        [sys.executable, "-m", "streambench", *arguments, "--json", "--no-plots"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    summary = json.loads(done.stdout)
    (target,) = summary["targets"].values()
    return {**target["metrics"], "streams": target["streams"], "generator": summary["generator"]}


def stock_locust(folder: Path, users: int, rate: int, seconds: int) -> tuple[list[float], list[float], list[float]]:
    """Of every reply that `StreamChatUser` got under stock Locust: the first content, its arrival less its write, and
    the generator's own share in it.

    All ascending, in ms.
    """
    (folder / "locustfile.py").write_text(LOCUSTFILE)
    out = folder / "replies.jsonl"
    out.write_text("")
    with contextlib.ExitStack() as stack:
        command = [sys.executable, "-m", "mock_openai", "--json", "--port", "0", "--no-chat"]
        upstream = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        stack.callback(upstream.terminate)
        assert upstream.stdout is not None
        url = json.loads(upstream.stdout.readline())["openai"]
        plan = [{"id": "bench", "seed": 0, "tokens": 40, "profile": {"name": "fixed", "ttft_ms": 200, "gap_ms": 20}}]
        import httpx

        httpx.post(f"{url}/_mock/plans", json=plan, trust_env=False).raise_for_status()
        subprocess.run(
            ["locust", "-f", "locustfile.py", "--headless", "-u", str(users), "-r", str(rate), "-t", f"{seconds}s",
             "--host", url, "--only-summary"],
            cwd=folder, env={**os.environ, "BENCH_OUT": str(out)}, capture_output=True, check=False,
        )  # fmt: skip
        answer = httpx.get(
            f"{url}/_mock/journal", params={"plan": "bench", "limit": 100_000}, trust_env=False, timeout=60
        )
        # What was stopped before the first chunk was written has none.
        begun = [entry for entry in answer.json()["entries"] if (entry["chunks"] or {}).get("written_ns")]
        written = {entry["mark"]: entry["chunks"]["written_ns"][0] for entry in begun}
    replies = [json.loads(line) for line in out.read_text().splitlines()]
    lags = [(first_ns - written[mark]) / 1e6 for _, mark, first_ns, ok, _ in replies if ok and mark in written]
    return sorted(one[0] for one in replies if one[3]), sorted(lags), sorted(one[4] for one in replies if one[3])


def shown(values: dict[str, float]) -> str:
    return "  ".join(f"p{percent} {values[f'p{percent}']:8.2f}" for percent in PERCENTS)


def quantiles(ascending: list[float]) -> dict[str, float]:
    """The percentiles of values in ascending order."""
    return {f"p{percent}": ascending[quantile_index(len(ascending), percent / 100)] for percent in PERCENTS}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--users", type=int, default=50)
    options.add_argument("--seconds", type=int, default=8)
    given = options.parse_args()
    users, seconds = given.users, given.seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "bench.yaml").write_text(SCENARIO.format(users=users, seconds=seconds))
        headless = ("locust", "bench.yaml", "--headless", "-t", f"{seconds}s")
        run = native(folder, "run", "bench.yaml")
        one = native(folder, *headless, "-u", str(users), "-r", str(users), "--workers", "1")
        two = native(folder, *headless, "-u", str(2 * users), "-r", str(2 * users), "--workers", "2")
        rate = max(1, users // 5)
        ramp = native(folder, *headless, "-u", str(users), "-r", str(rate), "--workers", "1")
        replies, lags, own = stock_locust(folder, users, rate, seconds)
    print(f"first content in ms, {users} users at once")
    print(f"  streambench run            n {run['ttfc']['n']:6} {shown(run['ttfc'])}")
    print(f"  streambench locust         n {one['ttfc']['n']:6} {shown(one['ttfc'])}")
    print(f"first content in ms, {users} users, {rate} coming each second")
    print(f"  streambench locust         n {ramp['ttfc']['n']:6} {shown(ramp['ttfc'])}")
    stock = quantiles(replies)
    print(f"  StreamChatUser, stock      n {len(replies):6} {shown(stock)}")
    print(f"  apart                               {shown({key: stock[key] - ramp['ttfc'][key] for key in stock})}")
    print(f"  StreamChatUser's stamp less write   {shown(quantiles(lags))}")
    print(f"  StreamChatUser's own share          {shown(quantiles(own))}")
    shares = ramp["ttfc"]["own_share"]
    print(f"  streambench locust's own share      {shown(shares)}")
    print(f"arrival less write in ms; one worker with {users} users, two with {2 * users}")
    for label, figures in (("one worker", one), ("two workers", two)):
        cpu = [part["cpu"] for part in figures["generator"].get("workers", [])]
        print(f"  {label:26} n {figures['forward_lag']['n']:6} {shown(figures['forward_lag'])}  cpu a worker {cpu}")
    streams = [figures["streams"]["completed"] for figures in (one, two)]
    print(f"  streams {streams[0]} and {streams[1]}: {streams[1] / streams[0]:.2f} times as many")


if __name__ == "__main__":
    main()
