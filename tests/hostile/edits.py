"""Random edits of the files that commands read: `python tests/hostile/edits.py --edits 10000`.

Records, scenarios, dialects, captures and HAR files are edited, in their bytes or in their structure, and given to the
command that reads them, in this process. However a file is edited, the command must end with an exit code that says
something of the file: not with an internal error (70), not with a traceback, and not after more than `MAX_S` of CPU.
Of the same seed, edit number n is always the same one, and `--only KIND:N` looks at it again.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import gzip
import io
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from streambench.cli import run_command
from streambench.dialects import bundled_dialects, load_dialect
from streambench.errors import ConfigurationError, ExitCode

ROOT = Path(__file__).parents[2]
MAX_S = 20
MAX_MESSAGE_CHARS = 2000
CODES = {
    *(ExitCode.PASSED, ExitCode.PERFORMANCE, ExitCode.USAGE, ExitCode.CONFORMANCE, ExitCode.INVALID),
    *(ExitCode.UNREACHABLE, ExitCode.INTERRUPTED),
}

# What a value is replaced by, or a piece of bytes.
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 3, 1 << 31, 1 << 63, 1 << 64, 10**25, 10**400, 1.5, -0.0, 1e308, -1e308),
    *("", " ", "x", "\0", "\ud83d", "\x1b]0;x\x07", "\u202e<script>", "=cmd|' /C calc'!A0", "${HOME}", "a" * 5000),
    *(
        "1" * 400,
        "NaN",
        "inf",
        "1e400",
        "-5s",
        "0",
        "10/s",
        "p99 < 1",
        "[[[",
        "../../x",
        "%s%n",
        "{{7*7}}",
        "$ref",
        "#",
    ),
    *([], {}, [[]], [None], [1.5], {"": ""}, {"a": {"b": [1, "c"]}}, [0] * 200),
)
WORDS = (
    *(b"", b"\0", b"\xff\xfe", b"\xed\xa0\xbd", b"\n", b"\r\n", b"\r", b"\n\n", b'"', b"'", b"{", b"}", b"[", b"]"),
    *(
        b":",
        b": ",
        b",",
        b"- ",
        b"&a ",
        b"*a",
        b"!!python/none ",
        b"? ",
        b"| ",
        b"> ",
        b"#",
        b"<<: ",
        b"\t",
        b"9" * 400,
    ),
    *(b"-", b"e999", b"null", b"true", b"NaN", b"\\ud83d", b"\\u0000", b"data: ", b"event: ", b"id: \0", b"retry: 9"),
    *(
        b"[" * 2000,
        b"{" * 200,
        b"(" * 500,
        b"a" * 70000,
        b"\xef\xbb\xbf",
        b"\x1b[2J",
        b"42[",
        b"451-",
        b"\x1e",
        b"${X}",
    ),
)


class TooSlow(BaseException):
    """An edit took longer than it may."""


@dataclass(frozen=True)
class Kind:
    """A kind of file: examples of it as bytes, how one is taken apart and put together, and what reads it.

    `read` gets a folder and the file's bytes, and returns an exit code.
    """

    examples: tuple[bytes, ...]
    parse: Callable[[bytes], Any]
    write: Callable[[Any], bytes]
    read: Callable[[Path, bytes, random.Random], int]


def edit(kind: Kind, chance: random.Random) -> bytes:
    """An example with one to three edits."""
    data = chance.choice(kind.examples)
    if chance.random() < 0.6:
        value = kind.parse(data)
        for _ in range(chance.randint(1, 3)):
            value = edit_value(value, chance)
        with contextlib.suppress(ValueError, RecursionError):
            return kind.write(value)
    for _ in range(chance.randint(1, 3)):
        data = edit_bytes(data, chance)
    return data


def edit_value(value: Any, chance: random.Random) -> Any:
    """A structure with one node replaced, removed, repeated, renamed, or put in the place of another."""
    value = copy.deepcopy(value)
    nodes = list(holders(value))
    if not nodes:
        return chance.choice(VALUES)
    holder, key = chance.choice(nodes)
    match chance.randrange(6):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        case 1:
            holder[chance.choice(["", "x", "\ud83d", "a" * 300, "__proto__", f"{key}x"])] = holder.pop(key)
        case 2:
            other, place = chance.choice(nodes)
            holder[key] = copy.deepcopy(other[place])
        case 3 if isinstance(holder[key], int) and not isinstance(holder[key], bool):
            holder[key] += chance.choice([-1, 1, 10**6, -(10**6), 10**18, -(10**18)])
        case _:
            holder[key] = copy.deepcopy(chance.choice(VALUES))
    return value


def holders(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every node below a value, as what holds it and its key there."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield value, key
        yield from holders(item)


def edit_bytes(data: bytes, chance: random.Random) -> bytes:
    """Bytes with some replaced, removed, repeated, inserted or moved, or cut off."""
    start = chance.randrange(len(data) + 1)
    end = min(len(data), start + chance.choice([0, 1, 1, 2, 4, 16, 200]))
    match chance.randrange(6):
        case 0:
            return data[:start] + data[end:]
        case 1:
            return data[:start] + chance.randbytes(end - start) + data[end:]
        case 2:
            return data[:end] + data[start:]
        case 3:
            return data[:start]
        case 4:
            other = chance.randrange(len(data) + 1)
            return data[:start] + data[other : other + 40] + data[end:]
        case _:
            return data[:start] + chance.choice(WORDS) + data[end:]


def command(*args: str) -> int:
    """The exit code of a command line that is run here; what it prints is looked at for tracebacks."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_command(list(args))
    printed = err.getvalue()
    if "Traceback" in printed or "internal error" in printed:
        raise AssertionError(printed[-3000:])
    return code


def read_records(folder: Path, data: bytes, chance: random.Random) -> int:
    (folder / "records.jsonl").write_bytes(data)
    formats = "html,junit,markdown,csv,sarif"
    return command("report", str(folder), "--format", formats, *(() if chance.random() < 0.02 else ("--no-plots",)))


def read_scenario(folder: Path, data: bytes, chance: random.Random) -> int:
    from streambench.load.book import header_of
    from streambench.load.loading import load_scenario

    path = folder / "scenario.yaml"
    path.write_bytes(data)
    try:
        json.dumps(header_of(load_scenario(str(path), environ={"TOKEN": "s3cr3t"})))
    except ConfigurationError as error:
        if len(str(error)) > MAX_MESSAGE_CHARS:
            raise AssertionError("a message that long quotes the file") from error
        return error.exit_code
    return ExitCode.PASSED


def read_dialect(folder: Path, data: bytes, chance: random.Random) -> int:
    path, capture = folder / "dialect.yaml", folder / "capture.sse"
    path.write_bytes(data)
    code = command("dialects", str(path))
    if code != ExitCode.PASSED:
        return code
    capture.write_bytes(chance.choice(CAPTURES)[1])
    return command("check", str(capture), "--dialect", str(path))


def read_capture(folder: Path, data: bytes, chance: random.Random) -> int:
    path = folder / "capture.sse"
    path.write_bytes(data)
    dialects = [dialect for dialect, capture in CAPTURES if capture[:20] == data[:20]]
    extra = chance.choice([(), ("--events",), ("--json",)])
    dialect = chance.choice(dialects or [dialect for dialect, _ in CAPTURES])
    return command("check", str(path), "--dialect", dialect, *extra)


def read_har(folder: Path, data: bytes, chance: random.Random) -> int:
    path = folder / "browser.har"
    path.write_bytes(data)
    extra = chance.choice([(), ("--events",), ("--json",)])
    dialect = chance.choice(["chat-stream", "openai-chat", "room-chat", "assistant-ws", "ollama"])
    return command("check", str(path), "--har", "--dialect", dialect, *extra)


CAPTURES = tuple(
    (path.parent.name, path.read_bytes())
    for path in sorted((ROOT / "tests" / "captures").glob("*/*"))
    if path.suffix in (".sse", ".ndjson", ".txt", ".websocket", ".socketio", ".jsonl") and path.stat().st_size < 20_000
)


def har_examples() -> tuple[bytes, ...]:
    """HAR files of a response, a WebSocket and a polled connection."""
    valid = dict(CAPTURES)

    def har(**entry: Any) -> bytes:
        return json.dumps({"log": {"version": "1.2", "entries": [entry]}}).encode()

    request = {"url": "http://a/api?transport=polling&sid=1", "method": "GET"}
    timings = {"blocked": -1, "dns": 0.1, "connect": 1, "send": 0, "wait": 12.5, "receive": 100}
    examples = []
    for dialect, mime in (("chat-stream", "text/event-stream"), ("ollama", "application/x-ndjson")):
        content = {"mimeType": mime, "text": valid[dialect].decode("utf-8", "replace")}
        examples.append(har(request=request, response={"content": content}, time=120.5, timings=timings))
    for dialect in ("assistant-ws", "room-chat"):
        lines = valid[dialect].decode("utf-8", "replace").splitlines()
        messages = [
            {"type": "receive", "time": 1.0 + i / 10, "opcode": 1, "data": line} for i, line in enumerate(lines)
        ]
        messages.insert(1, {"type": "send", "time": 1.05, "opcode": 1, "data": "x"})
        examples.append(har(request=request, response={"content": {}}, _webSocketMessages=messages))
        examples.append(
            har(request=request, response={"content": {"mimeType": "text/plain", "text": "\x1e".join(lines)}})
        )
    return tuple(examples)


def record_examples() -> tuple[bytes, ...]:
    """Two runs of a few streams each: their header, some streams with findings or both sides, and the end."""
    examples = []
    for path in sorted((ROOT / "tests/streambench/analysis/runs").glob("*.jsonl.gz")):
        lines = gzip.decompress(path.read_bytes()).splitlines()
        streams = [line for line in lines if b'"kind":"stream"' in line and b'"warmup":false' in line]
        found = [line for line in streams if b'"findings":[]' not in line][:2]
        failed = [line for line in streams if b'"outcome":"completed"' not in line][:2]
        others = [line for line in lines[1:-1] if b'"kind":"stream"' not in line][:2]
        chosen = [*streams[:4], *found, *failed]
        end = json.loads(lines[-1]) | {"streams": len(chosen)}
        begun = b'{"kind":"begun","at_ns":1,"streams":2}'
        examples.append(b"\n".join([lines[0], begun, *chosen, *others, json.dumps(end).encode(), b""]))
    return tuple(examples)


def _as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _lines(data: bytes) -> Any:
    return [json.loads(line) for line in data.splitlines()]


def _as_lines(values: Any) -> bytes:
    lines = values if isinstance(values, list) else [values]
    return b"".join(json.dumps(value, separators=(",", ":")).encode() + b"\n" for value in lines)


def _yaml(data: bytes) -> Any:
    return YAML(typ="safe").load(data)


def _plain_lines(data: bytes) -> Any:
    return [line.decode("utf-8", "surrogateescape") for line in data.split(b"\n")]


def _as_plain_lines(lines: Any) -> bytes:
    lines = lines if isinstance(lines, list) else [lines]
    return b"\n".join(str(line).encode("utf-8", "surrogatepass") for line in lines)


SCENARIO = b"""\
name: everything
target:
  dialect: chat-stream
  url: http://127.0.0.1:9/api/chat
  headers: {x-a: b, authorization: "Bearer ${TOKEN}"}
  query: {a: "1"}
  auth: {bearer: "${TOKEN}"}
  setup: [{method: POST, path: /threads, body: {a: 1}, capture: {thread: id}}]
  tls: {verify: false}
prompts: {text: Explain, tokens: 80}
load:
  warmup: 1s
  phases:
    - {users: 2, duration: 2s, think: 0.5s}
    - {rate: 10/s, arrivals: poisson, duration: 2s}
    - {rate: {from: 5/s, to: 50/s}, duration: 6s}
    - {steps: {users: [2, 4], hold: 1s}}
timeouts: {connect: 5s, first_chunk: 30s, idle: 15s, total: 120s}
gates: ["ttfc.p95 < 800ms", "error_rate < 1%", "violations == 0"]
"""


def kinds() -> dict[str, Kind]:
    """All kinds of files, by name."""
    scenarios = tuple(path.read_bytes() for path in sorted((ROOT / "scenarios").glob("*.yaml")))
    dialects = tuple(Path(load_dialect(name).source_path).read_bytes() for name in bundled_dialects())
    captures = tuple(data for _, data in CAPTURES)
    return {
        "records": Kind(record_examples(), _lines, _as_lines, read_records),
        "scenarios": Kind((SCENARIO, SCENARIO, *scenarios), _yaml, _as_json, read_scenario),
        "dialects": Kind(dialects, _yaml, _as_json, read_dialect),
        "captures": Kind(captures, _plain_lines, _as_plain_lines, read_capture),
        "har": Kind(har_examples(), json.loads, _as_json, read_har),
    }


def attempt(name: str, kind: Kind, number: int, folder: Path, seed: int = 0) -> tuple[int, bytes, str]:
    """Edit number n of a kind: the exit code, the edited bytes, and what is wrong, empty where nothing is."""
    chance = random.Random(f"{seed}/{name}/{number}")
    data = edit(kind, chance)

    def late(*_: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, MAX_S)
    code = -1
    try:
        code = kind.read(folder, data, chance)
    except TooSlow:
        return code, data, f"not done after {MAX_S} s of CPU\n{traceback.format_exc()}"
    except Exception:
        return code, data, traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    return code, data, "" if code in CODES else f"exit code {code}"


def broken_edits(name: str, edits: int, folder: Path, seed: int = 0) -> tuple[list[str], Counter[int]]:
    """What is wrong with the first edits of a kind, and how often commands ended with which exit code."""
    kind, codes, wrong = kinds()[name], Counter[int](), []
    for number in range(edits):
        code, _, found = attempt(name, kind, number, folder, seed)
        codes[code] += 1
        if found:
            wrong.append(f"--only {name}:{number} --seed {seed}\n{found[-1500:]}")
    return wrong, codes


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--edits", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", help="only files of this kind")
    parser.add_argument("--only", metavar="KIND:N", help="one edit again, with what it wrote")
    given = parser.parse_args()
    os.environ["STREAMBENCH_TRACEBACK"] = "1"
    found = kinds()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        if given.only:
            name, _, number = given.only.partition(":")
            code, data, wrong = attempt(name, found[name], int(number), Path(folder), given.seed)
            sys.stdout.buffer.write(data)
            print(f"\nexit code {code}\n{wrong}")
            sys.exit(bool(wrong))
        broken = 0
        for name in given.kind or found:
            edits = given.edits // len(given.kind or found)
            start = time.process_time()
            problems, codes = broken_edits(name, edits, Path(folder), given.seed)
            broken += len(problems)
            print("\n".join(problems))
            ends = ", ".join(f"{code}: {count:,}" for code, count in sorted(codes.items()))
            spent = time.process_time() - start
            print(f"{name:<10} {edits:6,} edits  {spent:6.1f} s of CPU  exit codes {ends}", flush=True)
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
