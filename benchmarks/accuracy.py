"""How right the reported figures are under load: ours and others', against a server that knows when it wrote.

`ground_truth.c` (compiled here) writes 50 texts (`--texts`) to each of N streams that begin together, the first after
200 ms, then one every 20 ms, and logs the moment of each write. A client's figures are right as far as they are the
server's. The server has one core, the client another. Each line is the median of the rounds; loopback only, a few
seconds a line.

    python benchmarks/accuracy.py                        # every client, 100, 500 and 1,000 streams
    python benchmarks/accuracy.py --clients ours,c --users 1000,2000 --rounds 5
    python benchmarks/accuracy.py --clients ours --users 500 --transports http1,tls,h2,ws,socketio
    python benchmarks/accuracy.py --verdicts --users 2000 --rounds 20          # overload: is each run invalid?
    python benchmarks/accuracy.py --verdicts --hog --users 300 --rounds 20     # the same beside a busy loop
    python benchmarks/accuracy.py --verdicts --users 700,900 --rounds 20       # the edge: does the own share cover it?

Clients: ours (everything recorded and checked), aiohttp (a bare loop that splits lines), httpx-sse, openai (the SDK),
locust (FastHttpUser), c (the reader of ground_truth.c, which stamps after each read: the limit of user level).
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CLIENTS = ("ours", "aiohttp", "httpx-sse", "openai", "locust", "c")
FIRST_MS, GAP_MS, TEXTS = 200, 20, 50
SLACK_MS = 0.1  # between the server's stamp before it writes and the kernel's when it has arrived
TRANSPORTS = {
    "http1": 'dialect: openai-chat, url: "http://127.0.0.1:{port}/v1/chat/completions"',
    "tls": 'dialect: openai-chat, url: "https://127.0.0.1:{port}/v1/chat/completions", tls: {{verify: false}}',
    "h2": 'dialect: openai-chat, url: "http://127.0.0.1:{port}/v1/chat/completions", http: 2',
    "ws": 'dialect: assistant-ws, url: "ws://127.0.0.1:{port}"',
    "socketio": 'dialect: chainlit, url: "ws://127.0.0.1:{port}"',
}
SCENARIO = """\
name: accuracy
target: {{{target}}}
load: {{users: {users}, streams: {users}}}
timeouts: {{connect: 30s, first_chunk: 60s, idle: 60s}}
"""

Rows = list[list[int]]
"""A stream a row, in ns: when it was sent (or received), then each text."""


@dataclass
class Measured:
    """What a client says, and what it cost."""

    rows: Rows
    cpu: float  # of one core, while the streams ran
    note: str = ""
    own: tuple[float, ...] = ()  # the share that the run gives itself in each of `quantiles`


def scenario(port: int, users: int, transport: str = "http1") -> str:
    """So many users who each have one stream of the server's, by a transport."""
    return SCENARIO.format(target=TRANSPORTS[transport].format(port=port), users=users)


def compile_truth(folder: Path) -> Path:
    """The compiled server and reader; what needs OpenSSL is left out where that is not installed."""
    program = folder / "ground_truth"
    command = ["cc", "-O2", "-o", str(program), str(HERE / "ground_truth.c")]
    if subprocess.run([*command, "-DWITH_OPENSSL", "-lssl", "-lcrypto"], check=False, capture_output=True).returncode:
        subprocess.run(command, check=True)
    return program


def certificate(folder: Path) -> list[str]:
    """The files of a certificate and its key, made by openssl; kept in the folder."""
    made = [str(folder / "cert.pem"), str(folder / "key.pem")]
    if not Path(made[0]).exists():
        ask = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        named = ["-keyout", made[1], "-out", made[0], "-days", "2", "-subj", "/CN=localhost"]
        subprocess.run([*ask, *named], check=True, capture_output=True)
    return made


def pinned(core: int, *, first: bool = True) -> Any:
    """For a child process: one core, and (`first`) ahead of whatever else the machine does, where that is allowed.

    By its priority, and not as a real-time process: the system stops those for 50 ms when they have used 95% of a
    second.
    """

    def prepare() -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {core})
        if first:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, 0, -20)

    return prepare


@contextlib.contextmanager
def truth_server(
    program: Path, first_ms: float, gap_ms: float, chunks: int, core: int, transport: str = "http1"
) -> Iterator[int]:
    """The server on a core; yields its port."""
    command = [str(program), "serve", str(first_ms), str(gap_ms), str(chunks), transport]
    if transport == "tls":
        command += certificate(program.parent)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=pinned(core))
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def truth(port: int) -> Rows:
    """What the server wrote since the last call."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/log") as answer:
        return [[int(word) for word in line.split()] for line in answer.read().decode().splitlines()]


@contextlib.contextmanager
def hog(core: int) -> Iterator[None]:
    """A busy loop on a core."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"], preexec_fn=pinned(core, first=False))
    try:
        yield
    finally:
        process.kill()
        process.wait()


def ours(port: int, users: int, core: int, *, first: bool = True, transport: str = "http1") -> Measured:
    """`streambench run`, by its records."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "accuracy.yaml"
        path.write_text(scenario(port, users, transport))
        done = subprocess.run(
            [sys.executable, "-m", "streambench", "run", str(path), "-o", name, "--quiet", "--no-plots"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            preexec_fn=pinned(core, first=first),
        )
        rows: Rows = []
        cpus: list[float] = []
        reads = coalesced = 0
        records = next((Path(name) / "accuracy").glob("*/records.jsonl"), None)
        if records is None:
            raise SystemExit(done.stderr)
        for line in records.read_text().splitlines():
            record = json.loads(line)
            if record["kind"] == "generator":
                cpus.append(record["cpu"])
            if record["kind"] != "stream":
                continue
            if record["outcome"] != "completed":
                raise SystemExit(f"a stream failed: {record['error']}: {record['error_message']}")
            reads += record["reads"]
            coalesced += record["coalesced_reads"]
            events = record["events"]
            texts = [at for at, chars in zip(events["at"], events["chars"], strict=True) if chars]
            rows.append([record["start_ns"] + at for at in (record["sent"], *texts)])
        verdict = {0: "valid", 4: "invalid"}.get(done.returncode, str(done.returncode))
        (target,) = json.loads((records.parent / "summary.json").read_text())["targets"].values()
        metrics = target["metrics"]
        picked = [("ttfc_service", "p50"), ("ttfc_service", "p99"), ("gap", "p50"), ("gap", "p95"), ("gap", "p99")]
        own = tuple(metrics[name]["own_share"][q] for name, q in picked)
        note = f"{verdict}, {coalesced / reads:.1%} of reads coalesced"
        return Measured(rows, max(cpus, default=0.0), note, own)


def other(name: str, port: int, users: int, core: int) -> Measured:
    """A peer, in a process of its own."""
    command = [sys.executable, str(HERE / "peers.py"), name, str(port), str(users)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, preexec_fn=pinned(core))
    answer = json.loads(done.stdout.splitlines()[-1])
    return Measured(answer["rows"], answer["cpu"])


def reader(program: Path, port: int, users: int, core: int) -> Measured:
    """The reader in C."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    done = subprocess.run(
        [str(program), "read", str(port), str(users)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        preexec_fn=pinned(core),
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / (time.monotonic() - start)
    rows = [[int(word) for word in line.split()] for line in done.stdout.splitlines()]
    return Measured(rows, cpu)


def quantiles(rows: Rows) -> list[float]:
    """In ms: the first text's p50 and p99, the gaps' p50, p95 and p99."""
    first = sorted(row[1] - row[0] for row in rows)
    gaps = sorted(b - a for row in rows for a, b in itertools.pairwise(row[1:]))
    picked = [(first, 0.5), (first, 0.99), (gaps, 0.5), (gaps, 0.95), (gaps, 0.99)]
    return [values[min(len(values) - 1, int(q * len(values)))] / 1e6 for values, q in picked]


def measure(
    program: Path, client: str, users: int, rounds: int, cores: list[int], transport: str = "http1", texts: int = TEXTS
) -> None:
    said: list[list[float]] = []
    true: list[list[float]] = []
    cpus: list[float] = []
    note = ""
    for _ in range(rounds):
        with truth_server(program, FIRST_MS, GAP_MS, texts, cores[0], transport) as port:
            if client == "ours":
                measured = ours(port, users, cores[-1], transport=transport)
            elif client == "c":
                measured = reader(program, port, users, cores[-1])
            else:
                measured = other(client, port, users, cores[-1])
            said.append(quantiles(measured.rows))
            true.append(quantiles(truth(port)))
            cpus.append(measured.cpu)
            note = measured.note
    middle = [statistics.median(column) for column in zip(*said, strict=True)]
    wrote = [statistics.median(column) for column in zip(*true, strict=True)]
    errors = [abs(a - b) for a, b in zip(middle, wrote, strict=True)]
    spread = max(row[1] for row in said) - min(row[1] for row in said)
    name = client if transport == "http1" else f"{client}, {transport}"
    print(
        f"| {name} | {users:,} | {middle[0]:.2f} / {middle[1]:.2f} | {wrote[0]:.2f} / {wrote[1]:.2f} "
        f"| {middle[2]:.2f} / {middle[3]:.2f} / {middle[4]:.2f} | {wrote[2]:.2f} / {wrote[3]:.2f} / {wrote[4]:.2f} "
        f"| {errors[1]:.2f} | {errors[4]:.2f} | {spread:.1f} | {statistics.median(cpus):.2f} | {note} |",
        flush=True,
    )


def since_sent(said: Rows, wrote: Rows) -> Rows:
    """What the server wrote, counted from when we had sent: how late it read the request is its own affair.

    Streams are told apart by when their first text was written, and came.
    """
    pairs = zip(sorted(said, key=lambda row: row[1]), sorted(wrote, key=lambda row: row[1]), strict=True)
    return [[ours[0], *theirs[1:]] for ours, theirs in pairs]


def verdicts(program: Path, users: int, rounds: int, cores: list[int], *, hogged: bool) -> None:
    """How many runs call themselves invalid, and in how many the own share covers what they are really off."""
    invalid = covered = 0
    off: list[float] = []
    own: list[float] = []
    for _ in range(rounds):
        with (
            truth_server(program, FIRST_MS, GAP_MS, TEXTS, cores[0]) as port,
            hog(cores[-1]) if hogged else contextlib.nullcontext(),
        ):
            measured = ours(port, users, cores[-1], first=not hogged)
            said, true = quantiles(measured.rows), quantiles(since_sent(measured.rows, truth(port)))
            errors = [abs(a - b) for a, b in zip(said, true, strict=True)]
        invalid += measured.note.startswith("invalid")
        covered += all(error <= share + SLACK_MS for error, share in zip(errors, measured.own, strict=True))
        off.append(max(errors))
        own.append(max(measured.own))
    print(
        f"| {users:,} | {'yes' if hogged else 'no'} | {rounds} | {invalid} | {covered} "
        f"| {statistics.median(off):.2f} / {max(off):.2f} | {statistics.median(own):.2f} / {max(own):.2f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", default=",".join(CLIENTS))
    parser.add_argument("--transports", default="http1", help=f"ours alone has others: {', '.join(TRANSPORTS)}")
    parser.add_argument("--users", default="100,500,1000")
    parser.add_argument("--texts", type=int, default=TEXTS, help="of a stream; without --verdicts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--verdicts", action="store_true", help="ours alone: does a run know how right it is?")
    parser.add_argument("--hog", action="store_true", help="with --verdicts: a busy loop on the client's core")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0, 0]
    print(f"load average before: {os.getloadavg()[0]:.2f}")
    if options.verdicts:
        print("| streams | busy loop | runs | invalid | own share covers | off, ms: median / worst | own share |")
        print("|---|---|---|---|---|---|---|")
        with tempfile.TemporaryDirectory() as folder:
            program = compile_truth(Path(folder))
            for users in map(int, options.users.split(",")):
                verdicts(program, users, options.rounds, cores, hogged=options.hog)
        print(f"load average after: {os.getloadavg()[0]:.2f}")
        return
    print("| client | streams | first text p50 / p99, ms | truth | gap p50 / p95 / p99, ms | truth "
          "| first p99 off | gap p99 off | spread of first p99 | core | |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        program = compile_truth(Path(folder))
        for users in map(int, options.users.split(",")):
            for client in options.clients.split(","):
                for transport in options.transports.split(",") if client == "ours" else ["http1"]:
                    measure(program, client, users, options.rounds, cores, transport, options.texts)
    print(f"load average after: {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
