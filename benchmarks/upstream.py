"""How fast the fake upstream writes, and how late.

Three servers are measured in the same way, one after the other: the fake upstream; the usual way to write such a
server, a task for each stream that sleeps between its chunks (aiohttp, `json.dumps` for each chunk); and the limit, a
loop that does nothing but write finished bytes. The server has a core of its own and so has the client, which reads
and throws away.

    python benchmarks/upstream.py            the whole table, about a minute
    python benchmarks/upstream.py --quick    a smaller one, for a look
    python benchmarks/upstream.py --at-once --streams 1000
    python benchmarks/upstream.py --workers 2 --streams 2000

`--at-once` measures only streams that begin together, in three rounds, beside the server of `ground_truth.c` (compiled
here): what a program in C is late that does nothing else. `--workers` measures several processes: `--streams` of them
begin at once, read by the reader of `ground_truth.c`. Nothing is pinned then: workers, their parent and the reader
share the cores of the machine.

Speed: streams that are due at once, one write per chunk; chunks per second of wall time. Lateness: streams of
50 chunks a second, 300 new ones a second and then all at once; actual minus scheduled moment of every write from the
first to the last, as the server itself stamped it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import selectors
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SERVERS = ("mock_openai", "task per stream", "limit")
GAP_MS = 20.0
STARTS_PER_S = 300
SELF = Path(__file__).resolve()
FRAME = (
    b'data: {"id":"chatcmpl-mock00000001","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o",'
    b'"service_tier":"default","system_fingerprint":"fp_mock","choices":[{"index":0,"delta":{"content":" word"},'
    b'"logprobs":null,"finish_reason":null}]}\n\n'
)
END = b"0\r\n\r\n"


# The servers to compare with


class Stamps:
    """Lateness of every write of a server in this file, in nanoseconds."""

    def __init__(self) -> None:
        self.late_ns: list[int] = []


async def task_per_stream(stamps: Stamps) -> tuple[Any, int]:
    """The usual way: each request's task writes a chunk and sleeps."""
    from aiohttp import web

    async def serve(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        start_ns = time.monotonic_ns()
        for index in range(body["tokens"]):
            due_ns = start_ns + round(index * body["gap_ms"] * 1e6)
            wait_ns = due_ns - time.monotonic_ns()
            if wait_ns > 0:
                await asyncio.sleep(wait_ns / 1e9)
            chunk = {
                "id": "chatcmpl-mock00000001",
                "object": "chat.completion.chunk",
                "created": 1700000000,
                "model": "gpt-4o",
                "service_tier": "default",
                "system_fingerprint": "fp_mock",
                "choices": [{"index": 0, "delta": {"content": " word"}, "logprobs": None, "finish_reason": None}],
            }
            stamps.late_ns.append(time.monotonic_ns() - due_ns)
            await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        await response.write_eof()
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
    await site.start()
    return runner, runner.addresses[0][1]


async def limit(stamps: Stamps) -> tuple[Any, int]:
    """Nothing but writes of the same finished bytes, stream by stream in turns."""
    loop = asyncio.get_running_loop()
    data = b"%x\r\n%b\r\n" % (len(FRAME), FRAME)
    streams: list[list[Any]] = []
    running = False

    def turn() -> None:
        nonlocal streams, running
        for stream in streams:
            stream[0].write(data)
            stream[1] -= 1
            if stream[1] == 0:
                stream[0].write(END)
        streams = [stream for stream in streams if stream[1]]
        running = bool(streams)
        if running:
            loop.call_soon(turn)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal running
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        body = json.loads(await reader.readexactly(length))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        streams.append([writer.transport, body["tokens"]])
        if not running:
            running = True
            loop.call_soon(turn)
        await reader.read()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=4096)
    return server, server.sockets[0].getsockname()[1]


async def serve_child(name: str) -> None:
    """A server of this file in a process of its own: prints its port, then its lateness when stdin says so."""
    stamps = Stamps()
    kept, port = await (task_per_stream if name == SERVERS[1] else limit)(stamps)
    print(json.dumps({"port": port}), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(stamps.late_ns), flush=True)
        stamps.late_ns.clear()
    del kept


# The client


@dataclass
class Server:
    """A server under measurement, in a process of its own on a core of its own."""

    name: str
    process: subprocess.Popen[str]
    port: int
    workers: tuple[int, ...] = ()

    @classmethod
    def start(cls, name: str, core: int | None, workers: int = 1) -> Server:
        if name == SERVERS[0]:
            options = ["-m", "mock_openai", "--json", "--no-chat", "--port", "0"]
            options += [] if workers == 1 else ["--workers", str(workers)]
        else:
            options = [str(SELF), "--serve", name]
        process = subprocess.Popen(
            [sys.executable, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=None if core is None else lambda: pin(core),
        )
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        port = ready.get("port") or int(ready["openai"].rpartition(":")[2])
        return cls(name, process, port, tuple(ready.get("workers", ())))

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        url, headers = f"http://127.0.0.1:{self.port}/_mock/{path}", {"content-type": "application/json"}
        request = urllib.request.Request(url, data=data, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def order(self, tokens: int, gap_ms: float) -> Any:
        """What to send so that the server writes so many chunks, so far apart."""
        if self.name == SERVERS[0]:
            profile = {"name": "fixed", "ttft_ms": 0, "gap_ms": gap_ms}
            self.admin("POST", "plans", {"id": "bench", "tokens": tokens, "profile": profile})
            self.admin("DELETE", "journal")
            return {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "[[sb:bench]]"}]}
        return {"tokens": tokens, "gap_ms": gap_ms}

    def entries(self) -> Iterator[dict[str, Any]]:
        """The journal of the fake upstream."""
        since = 0
        while True:
            page = self.admin("GET", f"journal?since={since}&limit=200")
            if not page["entries"]:
                return
            since = page["next"]
            yield from page["entries"]

    def late_ns(self) -> list[int]:
        """The lateness of every write since the last call."""
        if self.name == SERVERS[0]:
            return [late for entry in self.entries() for late in lateness_ns(entry)]
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        late: list[int] = json.loads(self.process.stdout.readline())
        return late

    def cpu_s(self) -> float:
        return sum(map(cpu_s, (self.process.pid, *self.workers)))

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def lateness_ns(entry: dict[str, Any]) -> list[int]:
    """How late each write of a journal's entry was."""
    chunks = entry["chunks"]
    pairs = zip(chunks["scheduled_ns"], chunks["written_ns"], strict=True)
    return [written - scheduled for scheduled, written in pairs]


def pin(core: int) -> None:
    """Keep this process on one core; where it is allowed, whatever else the machine does comes after it.

    By its priority, and not as a real-time process: those are stopped for 50 ms when they have used all of a second.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -20)


def read_streams(server: Server, body: Any, streams: int, spread_s: float) -> tuple[float, float, int]:
    """Open `streams` streams, evenly over `spread_s`, and read them to their end.

    Returns the seconds from the first request to the last byte, the server's CPU seconds, and the bytes.
    """
    payload = json.dumps(body).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    request += b"Content-Length: %d\r\n\r\n%b" % (len(payload), payload)
    poll = selectors.DefaultSelector()
    connections = []
    for _ in range(streams):
        connection = socket.create_connection(("127.0.0.1", server.port))
        connection.setblocking(False)
        connections.append(connection)
        poll.register(connection, selectors.EVENT_READ)
    cpu_s = server.cpu_s()
    start = time.monotonic()
    sent, left, size = 0, streams, 0
    buffer = bytearray(1 << 18)
    while left:
        now = time.monotonic() - start
        while sent < streams and now >= sent * spread_s / streams:
            connections[sent].send(request)
            sent += 1
        for key, _ in poll.select(0.001 if sent < streams else 1.0):
            count = key.fileobj.recv_into(buffer)  # type: ignore[union-attr]
            size += count
            if count == 0:
                raise ConnectionError(f"{server.name} closed a connection in the middle")
            if buffer[count - len(END) : count] == END:
                poll.unregister(key.fileobj)
                left -= 1
    elapsed = time.monotonic() - start
    for connection in connections:
        connection.close()
    return elapsed, server.cpu_s() - cpu_s, size


def quantile_ms(values: list[int], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] / 1e6


def machine() -> str:
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), model)
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"


def _starts(*, quick: bool) -> list[tuple[int, float]]:
    """How many streams, and over how many seconds they begin: one after the other, or all at once."""
    counts = (100, 500) if quick else (100, 500, 1000)
    return [(count, spread_s) for count in counts for spread_s in (count / STARTS_PER_S, 0.0)]


def measure(*, quick: bool) -> None:
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0, 0]
    pin(cores[-1])
    print(f"{machine()}; load average before: {os.getloadavg()[0]:.2f}\n")
    streams, tokens, rounds = (50, 500, 2) if quick else (100, 1000, 5)
    print(f"| speed, {streams} streams of {tokens} chunks due at once | chunks/s | per CPU second | of the limit |")
    print("|---|---|---|---|")
    best: dict[str, tuple[float, float]] = {}
    running = {name: Server.start(name, cores[0]) for name in SERVERS}
    try:
        for _ in range(rounds):
            for name, server in running.items():
                # Chunks a tenth of a microsecond apart are due at once, and are not one burst.
                elapsed, cpu_s, _ = read_streams(server, server.order(tokens, 0.0001), streams, 0.0)
                server.late_ns()
                rate = streams * tokens / elapsed
                if rate > best.get(name, (0.0, 0.0))[0]:
                    best[name] = rate, streams * tokens / max(cpu_s, 0.01)
        for name, (rate, per_cpu) in best.items():
            print(f"| {name} | {rate:,.0f} | {per_cpu:,.0f} | {rate / best[SERVERS[2]][0]:.2f} |")
        seconds = 2 if quick else 6
        print(f"\n| lateness, {seconds} s of 50 chunks/s each | streams | p50 ms | p99 ms | max ms | CPU of the core |")
        print("|---|---|---|---|---|---|")
        ratios = []
        for count, spread_s in _starts(quick=quick):
            p99 = {}
            for name in SERVERS[:2]:
                server = running[name]
                body = server.order(round(seconds * 1000 / GAP_MS), GAP_MS)
                read_streams(server, body | {"max_tokens": 5, "tokens": 5}, 20, 0.0)  # whatever is only slow once
                server.late_ns()
                elapsed, cpu_s, _ = read_streams(server, body, count, spread_s)
                late = server.late_ns()
                p99[name] = quantile_ms(late, 0.99)
                begin = str(count) if spread_s else f"{count}, all at once"
                print(
                    f"| {name} | {begin} | {quantile_ms(late, 0.5):.2f} | {p99[name]:.2f} | {max(late) / 1e6:.2f} "
                    f"| {cpu_s / elapsed:.0%} |"
                )
            ratios.append(f"{count} streams{'' if spread_s else ' at once'} {p99[SERVERS[1]] / p99[SERVERS[0]]:.1f}")
        print(f"\np99 lateness of a task per stream divided by ours: {', '.join(ratios)}")
        print(f"load average after: {os.getloadavg()[0]:.2f}")
    finally:
        for server in running.values():
            server.stop()


def compiled(folder: str) -> str:
    """The program of `ground_truth.c`."""
    program = str(Path(folder) / "ground_truth")
    subprocess.run(["cc", "-O2", "-o", program, str(SELF.with_name("ground_truth.c"))], check=True)
    return program


def measure_at_once(streams: int, seconds: float) -> None:
    """Lateness of streams of 50 chunks a second that all begin at once, beside that of a server in C."""
    cores = sorted(os.sched_getaffinity(0))
    pin(cores[-1])
    print(f"{machine()}; load average before: {os.getloadavg()[0]:.2f}\n")
    print("| server | streams | p50 ms | p99 ms | max ms | taken up within | CPU of the core |")
    print("|---|---|---|---|---|---|---|")
    chunks, p99 = round(seconds * 1000 / GAP_MS), list[float]()
    with tempfile.TemporaryDirectory() as folder:
        program = compiled(folder)
        for _ in range(3):
            for name in (SERVERS[0], "in C"):
                server = started_in_c(program, chunks, cores[0]) if name == "in C" else Server.start(name, cores[0])
                try:
                    body = server.order(chunks, GAP_MS)
                    elapsed, cpu_s, _ = read_streams(server, body, streams, 0.0)
                    arrived, late = times_in_c(server) if name == "in C" else times(server)
                finally:
                    server.stop()
                p99 += [quantile_ms(late, 0.99)] if name == SERVERS[0] else []
                print(
                    f"| {name} | {len(arrived)} | {quantile_ms(late, 0.5):.2f} | {quantile_ms(late, 0.99):.2f} "
                    f"| {max(late) / 1e6:.2f} | {(max(arrived) - min(arrived)) / 1e9:.2f} s | {cpu_s / elapsed:.0%} |",
                    flush=True,
                )
    print(f"\nmedian p99 of {SERVERS[0]}: {sorted(p99)[1]:.2f} ms; load average after: {os.getloadavg()[0]:.2f}")


def started_in_c(program: str, chunks: int, core: int) -> Server:
    """The server of `ground_truth.c`, which writes each stream's first chunk at once."""
    command = [program, "serve", "0", f"{GAP_MS:g}", str(chunks)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: pin(core))
    assert process.stdout is not None
    return Server("in C", process, int(process.stdout.readline()))


def times(server: Server) -> tuple[list[int], list[int]]:
    """When each request arrived at the fake upstream, and how late each write was."""
    entries = list(server.entries())
    return [entry["arrived_ns"] for entry in entries], [value for entry in entries for value in lateness_ns(entry)]


def times_in_c(server: Server) -> tuple[list[int], list[int]]:
    """The same of the server in C: in its log, a line has the request's moment and that of each write."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/log", timeout=60) as answer:
        lines = [[int(value) for value in line.split()] for line in answer]
    gap_ns = round(GAP_MS * 1e6)
    late = [at_ns - line[0] - index * gap_ns for line in lines for index, at_ns in enumerate(line[1:])]
    return [line[0] for line in lines], late


def measure_workers(workers: int, streams: int, seconds: float) -> None:
    """Streams of 50 chunks a second that all begin at once, over several processes."""
    print(f"{machine()}; load average before: {os.getloadavg()[0]:.2f}\n")
    print("| workers | streams | p50 ms | p99 ms | max ms | taken up within | CPUs: workers | parent | reader |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        reader = compiled(folder)
        server = Server.start(SERVERS[0], None, workers)
        try:
            for _ in range(3):
                body = json.dumps(server.order(round(seconds * 1000 / GAP_MS), GAP_MS))
                before, start = server.cpu_s(), time.monotonic()
                of_parent, of_reader = cpu_s(server.process.pid), os.times().children_user + os.times().children_system
                command = [reader, "read", str(server.port), str(streams), body]
                subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
                elapsed = time.monotonic() - start
                of_parent = cpu_s(server.process.pid) - of_parent
                of_workers = server.cpu_s() - before - of_parent
                of_reader = os.times().children_user + os.times().children_system - of_reader
                arrived, late = times(server)
                taken_up_s = (max(arrived) - min(arrived)) / 1e9
                shares = " | ".join(f"{used / elapsed:.2f}" for used in (of_workers, of_parent, of_reader))
                print(
                    f"| {workers} | {len(arrived)} | {quantile_ms(late, 0.5):.2f} | {quantile_ms(late, 0.99):.2f} "
                    f"| {max(late) / 1e6:.2f} | {taken_up_s:.2f} s | {shares} |",
                    flush=True,
                )
        finally:
            server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter measurements")
    parser.add_argument("--workers", type=int, help="measure so many processes instead")
    parser.add_argument("--at-once", action="store_true", help="measure only streams that begin together, thrice")
    parser.add_argument("--streams", type=int, help="that begin at once, with --workers (2000) or --at-once (1000)")
    parser.add_argument("--seconds", type=float, default=6.0, help="that each lasts, with --workers or --at-once")
    parser.add_argument("--serve", choices=SERVERS[1:], help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # nothing of the source tree is imported by accident
        if options.serve:
            asyncio.run(serve_child(options.serve))
        elif options.workers:
            measure_workers(options.workers, options.streams or 2000, options.seconds)
        elif options.at_once:
            measure_at_once(options.streams or 1000, options.seconds)
        else:
            measure(quick=options.quick)


if __name__ == "__main__":
    main()
