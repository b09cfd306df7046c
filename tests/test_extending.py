"""What a new executor, format, fault, metric, key, rule or transport touches: each is added to a copy, and used.

CONTRIBUTING.md tells the files; this holds it to that. An example is the whole change: new files, and lines put in
front of an anchor that stands in the file once. The copy is then run as a user runs it.
"""

from __future__ import annotations

import json
import os
import shutil
import socketserver
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOAD = "harness/streambench/load"
REPORT = "harness/streambench/report"
CHECKS = "harness/streambench/dialects/checks"


@dataclass(frozen=True)
class Change:
    """An extension: `new` files with their text; for each file of `lines` pairs of anchor and what comes before it."""

    new: dict[str, str] = field(default_factory=dict)
    lines: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    @property
    def files(self) -> set[str]:
        return {*self.new, *self.lines}


EXECUTOR = Change(
    new={
        f"{LOAD}/executors/volley.py": '''\
"""A volley: so many streams at the same moment."""

from dataclasses import dataclass

from streambench.load.executors.keys import PhaseType
from streambench.load.executors.visits import Visits
from streambench.load.fields import Field, Section
from streambench.load.kinds import Integer

VOLLEY = Field("volley", Integer(1, 1_000), "so many streams at once", 0, required=True)


@dataclass(frozen=True, slots=True)
class VolleyPhase:
    streams: int
    is_open = True
    duration_ns = None

    @property
    def most_at_once(self):
        return self.streams

    def describe(self):
        return f"a volley of {self.streams}"

    def executor(self, stage):
        return VolleyExecutor(self.streams, Visits(stage, self.streams))


class VolleyExecutor:
    def __init__(self, size, visits):
        self.size = size
        self._visits = visits

    async def prepare(self):
        pass

    async def run(self, begin_ns):
        for _ in range(self.size):
            self._visits.arrive(begin_ns, warmup=False)


KIND = PhaseType("volley", "open", Section("a phase", VOLLEY), lambda given: VolleyPhase(given[VOLLEY]))
'''
    },
    lines={
        f"{LOAD}/executors/__init__.py": [
            ("from streambench.load.executors.trace import", "from streambench.load.executors import volley\n"),
            ("SEARCH)\n", "volley.KIND, "),
        ]
    },
)
FORMAT = Change(
    new={
        f"{REPORT}/export/names.py": '''\
"""`names.txt`: the targets of a run."""


def write(summary, folder, *, plots):
    path = folder / "names.txt"
    path.write_text("\\n".join(summary.targets))
    return path
'''
    }
)
FAULT = Change(
    lines={
        "mock_openai/upstream/faults/frames.py": [
            (
                '@_fault("duplicate-chunk"',
                """\
@_fault("shouted-chunk", "the chunk in capitals", stream_only=False)
def _shout(draft: Draft, fault: Fault) -> None:
    for index in hits(draft.frames, fault.where, draft.draw):
        frame = draft.frames[index]
        loud = frame.text.upper()
        frame.data, frame.text = frame.data.replace(frame.text.encode(), loud.encode()), loud
        draft.note(index, fault)


""",
            )
        ]
    }
)
METRIC = Change(
    lines={
        "harness/streambench/analysis/metrics.py": [
            (
                '    Metric("ttfb"',
                '    Metric("events", "count", "events of a stream", lower_is_better=None),\n',
            ),
            ('        put["ttfe"] =', '        put["events"] = float(len(events))\n'),
        ]
    }
)
KEY = Change(
    lines={
        f"{LOAD}/prompts.py": [
            ("ORDERS = (", 'SUFFIX = Field("suffix", Text(), "what is said after each prompt", "")\n'),
            ("TEXT, FILE, TOKENS, PROFILE, FAULTS, rules", "SUFFIX, "),
            (
                "    faults = given.at(",
                "    prompts = tuple(Prompt(one.text + given[SUFFIX], one.tokens) for one in prompts)\n",
            ),
        ]
    }
)
RULE = Change(
    new={
        f"{CHECKS}/quiet.py": '''\
"""Nobody shouts."""

from streambench.findings import Axis
from streambench.rules import Rule, declare

QUIET = declare(Rule("EVENT.quiet", Axis.CONTENT, "No text is all capitals.", "the dialect's `invariants`"))


class Quiet:
    def __init__(self, names):
        self.names = names

    def event(self, observed):
        if observed.content.isupper():
            return QUIET.of(observed.name).found("Not so loud.", event_index=observed.index, offset=observed.offset)

    def end(self, *, complete):
        return None


def quiet(parameters):
    names = parameters.optional_event("event")
    return lambda: Quiet(names)
'''
    },
    lines={
        f"{CHECKS}/__init__.py": [
            ("from streambench.dialects.checks.texts", "from streambench.dialects.checks.quiet import quiet\n"),
            ('    "concat": concat,', '    "quiet": quiet,\n'),
        ]
    },
)
FRAMING = Change(
    new={
        "harness/streambench/wire/json_seq.py": '''\
"""JSON text sequences (RFC 7464): each text between a record separator and a line feed."""

from streambench.wire.message import WireMessage


class JsonSeqDecoder:
    def __init__(self, limits=None):
        self.findings = []
        self._data = b""
        self._offset = 0

    def take_findings(self):
        return []

    def feed(self, data):
        *texts, self._data = (self._data + data).split(b"\\n")
        return [self._message(text) for text in texts]

    def finish(self):
        return []

    def _message(self, text):
        message = WireMessage(text.lstrip(b"\\x1e").decode(), self._offset)
        self._offset += len(text) + 1
        return message
'''
    },
    lines={
        "harness/streambench/wire/framings.py": [
            ("from streambench.wire.limits", "from streambench.wire.json_seq import JsonSeqDecoder\n"),
            (
                '    Framing(\n        "text"',
                '    Framing("json-seq", "JSON texts", HTTP_SCHEMES, JsonSeqDecoder, ("application/json-seq",)),\n',
            ),
        ]
    },
)
SOCKET = Change(
    new={
        "harness/streambench/drivers/lines.py": '''\
"""Lines of text over a bare TCP connection."""

from time import monotonic_ns

from streambench.drivers.link import Unattended
from streambench.endings import Ending
from streambench.record.sockets import MessageReader
from streambench.transport.aio.connect import open_channel
from streambench.transport.arrivals import Data, Ended, Read
from streambench.transport.target import locate


class LineLink:
    def __init__(self, spec, variables, cookies):
        self.reader = MessageReader("lines")
        self.receiver = Unattended(self.reader, spec.endpoint.limits)
        self._spec = spec
        self._data = b""
        self._offset = 0

    @property
    def open(self):
        return self._channel.open

    @property
    def resent(self):
        return 0

    async def start(self):
        self._channel = await open_channel(self._spec.endpoint, locate(self._spec.endpoint.url))
        self._channel.layer = self

    def send(self, request):
        return self._channel.send("".join(f"{text}\\n" for text in request.send).encode())

    async def flushed(self):
        await self._channel.flushed()
        return None

    def settle(self):
        self._channel.settle()

    def abort(self):
        self._channel.close()

    async def close(self):
        self.abort()

    def received(self, data, at_ns, *, kernel, early_ns):
        arrivals = [Read(at_ns, len(data), kernel, early_ns=early_ns)]
        *lines, self._data = (self._data + data).split(b"\\n")
        for line in lines:
            arrivals.append(Data(at_ns, line.decode(), self._offset))
            self._offset += len(line) + 1
        self.receiver.take(arrivals)

    def closed(self, at_ns, *, reset):
        self.receiver.take([Ended(at_ns, Ending.RESET if reset else Ending.FIN)])


open_link = LineLink
'''
    },
    lines={
        "harness/streambench/wire/framings.py": [
            (
                '    Framing("websocket"',
                '    Framing("lines", "lines over TCP", ("tcp",), capture=WebSocketCapture),\n',
            ),
        ]
    },
)
CHANGES = {
    "executor": EXECUTOR,
    "format": FORMAT,
    "fault": FAULT,
    "metric": METRIC,
    "key": KEY,
    "rule": RULE,
    "framing": FRAMING,
    "socket": SOCKET,
}

SCENARIO = """\
name: extended
serve: {openai: {profile: instant}}
target: {dialect: quiet.yaml, url: "${serve.openai}/v1/chat/completions"}
prompts:
  text: Hello
  suffix: " and goodbye"
  tokens: 6
  faults: [{fault: shouted-chunk, at: {chunk: 3}}]
load: {volley: 4}
gates: ["events.max == 10"]
"""


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a product with every extension, in which one run has been made."""
    root = tmp_path_factory.mktemp("product")
    ignored = shutil.ignore_patterns("__pycache__")
    for package in ("harness", "mock_openai", "scenarios"):
        shutil.copytree(ROOT / package, root / package, ignore=ignored)
    for change in CHANGES.values():
        for name, text in change.new.items():
            assert not (root / name).exists()
            (root / name).write_text(text)
        for name, lines in change.lines.items():
            path = root / name
            for anchor, added in lines:
                text = path.read_text()
                assert text.count(anchor) == 1, f"{name} has {anchor!r} {text.count(anchor)} times"
                path.write_text(text.replace(anchor, added + anchor))
    bundled = (root / "harness/streambench/dialects/bundled/openai-chat.yaml").read_text()
    (root / "quiet.yaml").write_text(f"{bundled}  - {{check: quiet}}\n")
    (root / "extended.yaml").write_text(SCENARIO)
    run(root, "run", "extended.yaml", "-o", "runs", "--no-plots", "--quiet", code=3)
    return root


def python(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The interpreter with the extended product."""
    environment = {**os.environ, "PYTHONPATH": f"{root / 'harness'}{os.pathsep}{root}"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=root, env=environment, capture_output=True, text=True, timeout=60
    )


def run(root: Path, *arguments: str, code: int = 0) -> str:
    """What the extended product prints."""
    done = python(root, "-m", "streambench", *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def summary(product: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((product / "runs/extended/latest/summary.json").read_text())
    return found


@pytest.fixture(scope="module")
def target(summary: dict[str, Any]) -> dict[str, Any]:
    (found,) = summary["targets"].values()
    return dict(found)


@pytest.mark.parametrize(("kind", "most"), [(kind, 2) for kind in CHANGES])
def test_an_extension_touches_two_files_at_most(kind: str, most: int) -> None:
    assert len(CHANGES[kind].files) <= most


def test_an_executor(target: dict[str, Any]) -> None:
    assert target["streams"]["completed"] == 4


def test_a_format(product: Path) -> None:
    run(product, "report", "runs/extended/latest", "--format", "names", code=3)
    assert (product / "runs/extended/latest/names.txt").read_text() == "openai-chat"


def test_a_metric_and_a_gate_on_it(summary: dict[str, Any], target: dict[str, Any]) -> None:
    assert target["metrics"]["events"]["unit"] == "count"
    gate = summary["gates"][0]
    assert (gate["expr"], gate["result"]) == ("events.max == 10", "passed")


def test_a_fault_and_the_rule_that_finds_it(target: dict[str, Any]) -> None:
    assert "DELTA.quiet" in json.dumps(target["violations"])


def test_a_key_of_the_scenario_file(product: Path) -> None:
    schema = json.loads(run(product, "schema"))
    assert "what is said after each prompt" in json.dumps(schema["properties"]["prompts"])
    loaded = "from streambench.load.loading import load_scenario; "
    loaded += "print(load_scenario('extended.yaml', environ={}).prompts.prompts[0].text)"
    assert python(product, "-c", loaded).stdout == "Hello and goodbye\n"


DIALECT = """
dialect: tiny
version: 1
name: type
events: {text: {content: text}, end: {}}
grammar: text* end
"""
EVENTS = ('{"type": "text", "text": "Hello"}', '{"type": "end"}')


def test_a_framing(product: Path) -> None:
    (product / "seq.yaml").write_text(f"transport: json-seq\n{DIALECT}")
    (product / "reply.seq").write_text("".join(f"\x1e{event}\n" for event in EVENTS))
    assert "2 events, 5 characters" in run(product, "check", "reply.seq", "-d", "seq.yaml")


class Lines(socketserver.StreamRequestHandler):
    """Answers each line with a reply."""

    def handle(self) -> None:
        for _ in self.rfile:
            self.wfile.write("".join(f"{event}\n" for event in EVENTS).encode())


def test_a_socket(product: Path) -> None:
    (product / "lines.yaml").write_text(f'transport: lines\nrequest: {{send: "{{prompt}}"}}\n{DIALECT}')
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Lines) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"tcp://127.0.0.1:{server.server_address[1]}"
        records = run(product, "probe", url, "-d", "lines.yaml", "-n", "2", "--json").splitlines()
        server.shutdown()
    assert [json.loads(record)["text"] for record in records] == ["Hello", "Hello"]
