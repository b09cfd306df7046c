"""The fake upstream before clients that ask for long replies and never read: its memory, its health, its end.

    python benchmarks/unread.py --clients 500
    python benchmarks/unread.py --against ../older-checkout

`health` is the longest that `/_mock/health` took while the clients were there, asked twice a second; `reply` how long
another client waited for a short reply; `SIGTERM` how long the server took to end.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TOKENS = 30_000
SECONDS = 45.0
WAIT_S = 30.0


def asked(prompt: str, *, stream: bool) -> bytes:
    message = [{"role": "user", "content": prompt}]
    return json.dumps({"model": "gpt-4o", "stream": stream, "messages": message}).encode()


def unread(host: str, port: int) -> socket.socket:
    """A connection that has asked for a long reply; it is not read."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.settimeout(WAIT_S)
    raw.connect((host, port))
    body = asked("Go on. [[sb:long]]", stream=True)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    raw.sendall(head.encode() + body)
    return raw


def took(url: str, body: bytes | None = None) -> float:
    """Seconds for a request; `WAIT_S` where no good answer came by then."""
    began = time.monotonic()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            answer.read()
    except OSError:
        return WAIT_S
    return time.monotonic() - began


def peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measure(tree: Path, clients: int) -> dict[str, Any]:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tree / "harness"), str(tree)])}
    command = [sys.executable, "-m", "mock_openai", "--json", "--port", "0", "--no-chat", "--profile", "instant"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as server:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["openai"].removesuffix("/v1")
        host, _, port = url.removeprefix("http://").rpartition(":")
        took(f"{url}/_mock/plans", json.dumps({"id": "long", "tokens": TOKENS}).encode())
        with ExitStack() as stack:
            began = time.monotonic()
            for _ in range(clients):
                stack.enter_context(unread(host, int(port)))
            health = []
            while time.monotonic() - began < SECONDS:
                health.append(took(f"{url}/_mock/health"))
                time.sleep(0.5)
            reply = took(f"{url}/v1/chat/completions", asked("hi", stream=False))
            peak = peak_mib(server.pid)
            ended = time.monotonic()
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                server.kill()
            ended = time.monotonic() - ended
    return {"peak MiB": peak, "health s": max(health), "reply s": reply, "SIGTERM s": ended}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--against", type=Path, help="another checkout")
    arguments = parser.parse_args()
    trees = {"now": ROOT} | ({} if arguments.against is None else {"before": arguments.against.resolve()})
    for name, tree in trees.items():
        found = measure(tree, arguments.clients)
        print(f"{name:<7} " + "  ".join(f"{what} {value:.2f}" for what, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
