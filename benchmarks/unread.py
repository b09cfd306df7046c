"""The servers before clients that ask for long replies and never read: their memory, their health, their end.

    python benchmarks/unread.py --clients 500
    python benchmarks/unread.py --chat
    python benchmarks/unread.py --against ../older-checkout

`health` is the longest that the server's health took while the clients were there, asked twice a second; `reply` how
long another client waited for a short reply; `SIGTERM` how long the server took to end. With `--chat` it is the chat
server, and half of the clients are in rooms of Socket.IO.
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
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TOKENS = 30_000
SECONDS = 45.0
CHAT_SECONDS = 20.0  # less than it takes until those who do not read are disconnected
WAIT_S = 30.0
AT_ONCE = 64
PROMPT = "Go on. [[sb:long]]"
TOKEN = "Bearer alice-token"
UPGRADE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def asked(prompt: str, *, stream: bool) -> bytes:
    message = [{"role": "user", "content": prompt}]
    return json.dumps({"model": "gpt-4o", "stream": stream, "messages": message}).encode()


def posted(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {TOKEN}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def unread(host: str, port: int, data: bytes) -> socket.socket:
    """A connection that has sent this; it is not read."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.settimeout(WAIT_S)
    raw.connect((host, port))
    raw.sendall(data)
    return raw


def completion(host: str, port: int) -> socket.socket:
    """A client of the upstream."""
    return unread(host, port, posted("/v1/chat/completions", asked(PROMPT, stream=True)))


def chat_stream(host: str, port: int) -> socket.socket:
    """A client of the chat server's plainest system."""
    return unread(host, port, posted("/api/chat/stream", json.dumps({"message": PROMPT}).encode()))


def room(host: str, port: int) -> socket.socket:
    """A client of a room, where each event holds the whole text so far; it reads until it is greeted."""
    raw = unread(host, port, UPGRADE + frame('40{"token":"alice-token"}'))
    heard = b""
    while b'"connected"' not in heard:
        heard += raw.recv(4096)
    raw.sendall(frame("42" + json.dumps(["stream-chat", {"messages": [{"role": "user", "content": PROMPT}]}])))
    return raw


def frame(text: str) -> bytes:
    """A short WebSocket message from a client, masked with zeros."""
    assert len(text) < 126
    return bytes([0x81, 0x80 | len(text)]) + bytes(4) + text.encode()


def took(url: str, body: bytes | None = None) -> float:
    """Seconds for a request; `WAIT_S` where no good answer came by then."""
    began = time.monotonic()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", "Authorization": TOKEN})
    try:
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            answer.read()
    except OSError:
        return WAIT_S
    return time.monotonic() - began


def peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def chat_of(pid: int) -> int:
    """The chat server, which is the only child of the upstream."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def measure(tree: Path, clients: int, *, chat: bool) -> dict[str, Any]:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tree / "harness"), str(tree)])}
    command = [sys.executable, "-m", "mock_openai", "--json", "--port", "0", "--profile", "instant"]
    command += ["--chat-port", "0"] if chat else ["--no-chat"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as server:
        assert server.stdout is not None
        urls = json.loads(server.stdout.readline())
        upstream = urls["openai"].removesuffix("/v1")
        took(f"{upstream}/_mock/plans", json.dumps({"id": "long", "tokens": TOKENS}).encode())
        url = urls["chat"] if chat else upstream
        host, _, port = url.removeprefix("http://").rpartition(":")
        kinds = [chat_stream, room] if chat else [completion]
        with ExitStack() as stack, ThreadPoolExecutor(AT_ONCE) as threads:
            began = time.monotonic()
            opened = [threads.submit(kinds[number % len(kinds)], host, int(port)) for number in range(clients)]
            health = []
            while time.monotonic() - began < (CHAT_SECONDS if chat else SECONDS):
                health.append(took(f"{url}/health" if chat else f"{url}/_mock/health"))
                time.sleep(0.5)
            for one in opened:
                stack.enter_context(one.result())
            if chat:
                reply = took(f"{url}/api/chat/stream", b'{"message": "hi"}')
            else:
                reply = took(f"{url}/v1/chat/completions", asked("hi", stream=False))
            peak = peak_mib(chat_of(server.pid) if chat else server.pid)
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
    parser.add_argument("--chat", action="store_true", help="the chat server instead of the fake upstream")
    arguments = parser.parse_args()
    trees = {"now": ROOT} | ({} if arguments.against is None else {"before": arguments.against.resolve()})
    for name, tree in trees.items():
        found = measure(tree, arguments.clients, chat=arguments.chat)
        print(f"{name:<7} " + "  ".join(f"{what} {value:.2f}" for what, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
