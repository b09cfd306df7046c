"""500 streams at once over each transport of the reference server: errors, lost text, and what is left behind.

For each chat system 500 users connect and ask at the same moment. Afterwards the servers must hold as many descriptors
as before, and no stream may be open. Prints a line a system; exits 1 where anything failed. Loopback only, bounded in
count, about two minutes. Run it with `python benchmarks/simultaneous.py [STREAMS]`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

STREAMS = 500
SETTLE_S = 15.0
ENDPOINTS = {
    "chat-stream": "/api/chat/stream",
    "thread-events": "",
    "conversation-stream": "/api/conversation-stream/alice",
    "assistant-ws": "",
    "room-chat": "",
}
SCENARIO = """\
name: simultaneous
target: {{dialect: {dialect}, url: "{chat}{path}", auth: {{bearer: alice-token}}, upstream: "{openai}"}}
prompts: {{tokens: 30, profile: {{name: fixed, ttft_ms: 2000, gap_ms: 200}}}}
load: {{users: {streams}, streams: {streams}}}
timeouts: {{connect: 30s, first_chunk: 60s, idle: 60s}}
"""


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def health(chat: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{chat}/health") as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def run(dialect: str, servers: dict[str, Any], streams: int, folder: Path) -> dict[str, Any]:
    path = folder / f"{dialect}.yaml"
    path.write_text(SCENARIO.format(dialect=dialect, path=ENDPOINTS[dialect], streams=streams, **servers))
    done = subprocess.run(
        [sys.executable, "-m", "streambench", "run", str(path), "-o", str(folder), "--json", "--no-plots"],
        capture_output=True,
        text=True,
        check=False,
    )
    if not done.stdout:
        raise SystemExit(done.stderr)
    summary: dict[str, Any] = json.loads(done.stdout)
    summary["most_open"] = most_open(next((folder / "simultaneous").glob("*/records.jsonl")))
    return summary


def most_open(records: Path) -> int:
    """How many streams were open at once, by the records."""
    moments: list[tuple[int, int]] = []
    for line in records.read_text().splitlines():
        record = json.loads(line)
        if record["kind"] == "stream" and record["end"] is not None:
            moments += [(record["start_ns"], 1), (record["start_ns"] + record["end"], -1)]
    open_now = most = 0
    for _, change in sorted(moments):
        open_now += change
        most = max(most, open_now)
    return most


def settled(pids: list[int], before: list[int], chat: str) -> list[int]:
    """The descriptors when they are back to what they were, or when waiting has not helped.

    The chat server's HTTP pool keeps idle connections to the upstream for some seconds, and looks at their age when it
    is used next: so it is used.
    """
    deadline = time.monotonic() + SETTLE_S
    while True:
        now = [descriptors(pid) for pid in pids]
        if sum(now) <= sum(before) or time.monotonic() > deadline:
            return now
        time.sleep(1)
        ask(chat)


def ask(chat: str) -> None:
    """One reply of chat-stream, read to its end."""
    request = urllib.request.Request(
        f"{chat}/api/chat/stream",
        data=b'{"message": "Hello"}',
        headers={"authorization": "Bearer alice-token", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        answer.read()


def main() -> int:
    streams = int(sys.argv[1]) if len(sys.argv) > 1 else STREAMS
    process = subprocess.Popen(
        [sys.executable, "-m", "mock_openai", "--json", "--port", "0", "--chat-port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    failed = False
    try:
        assert process.stdout is not None
        servers = json.loads(process.stdout.readline())
        pids = [process.pid, *children(process.pid)]
        print(f"{'system':<22}{'open at once':>13}{'completed':>11}{'failed':>8}{'violations':>12}"
              f"{'streams left':>14}{'descriptors before':>20}{'after':>8}")  # fmt: skip
        for dialect in ENDPOINTS:
            with tempfile.TemporaryDirectory() as name:
                ask(servers["chat"])  # so that both counts have its one idle connection in them
                before = [descriptors(pid) for pid in pids]
                summary = run(dialect, servers, streams, Path(name))
                after = settled(pids, before, servers["chat"])
                (target,) = summary["targets"].values()
                left = health(servers["chat"])["streams"]
                counts, broken = target["streams"], target["violations"]["count"]
                print(f"{dialect:<22}{summary['most_open']:>13}{counts['completed']:>11}{counts['failed']:>8}"
                      f"{broken:>12}{left:>14}{sum(before):>20}{sum(after):>8}")  # fmt: skip
                for error, count in target["errors"].items():
                    print(f"  {error}: {count}")
                for rule in target["violations"]["rules"]:
                    print(f"  {rule['rule']}: {rule['count']}, {rule['message']}")
                complete = counts["completed"] == streams and not broken and not left
                failed |= not complete or sum(after) > sum(before)
    finally:
        process.terminate()
        process.wait(10)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
