"""The servers of the corpus and the processes that meet them, for tests and for the benchmark."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

from corpus import UNASKED, Case

HERE = Path(__file__).parent
# How long a stream may take; far below what the suite waits for a command that hangs.
TIMEOUTS = {"connect": "2s", "first_chunk": "2s", "idle": "2s", "total": "3s"}
DIALECTS = {
    "sse": "chat-stream",
    "ndjson": "ollama",
    "ws": str(HERE / "dialects/frames.yaml"),
    "wss": str(HERE / "dialects/frames.yaml"),
    "eio-ws": str(HERE / "dialects/packets.yaml"),
    "eio-polling": str(HERE / "dialects/packets.yaml"),
    "polling": str(HERE / "dialects/packets.yaml"),
    "setup": str(HERE / "dialects/setup.yaml"),
}


class Jobs:
    """A process that runs commands: see `drive.py`. `environ` chooses whose code it imports."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "drive.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environ or {})},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait(10)

    def run(self, *args: str, cwd: Path, **limits: Any) -> Done:
        """Run `streambench ARGS` in `cwd`; `limits` are those of `drive.py`."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps({"args": args, "cwd": str(cwd), **limits}) + "\n")
        stdin.flush()
        return Done(**json.loads(stdout.readline()))


@dataclass(frozen=True)
class Done:
    """What became of a command; `code` is None where it did not end by itself."""

    code: int | None
    mebibytes: float
    cpu_s: float
    wall_s: float
    out: str = field(repr=False)
    err: str

    @property
    def is_bug(self) -> bool:
        return self.code in (70, 99) or "Traceback" in self.err or "exception was never retrieved" in self.err


Certificate = tuple[Path, Path]


def make_certificate(folder: Path) -> Certificate:
    """A certificate for 127.0.0.1, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*make, *files], check=True, capture_output=True)
    return certificate, key


class Servers:
    """The process of `serve.py`."""

    def __init__(self, certificate: Certificate) -> None:
        self.certificate, key = certificate
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "serve.py"), str(self.certificate), str(key)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        stdout: IO[str] | None = self._process.stdout
        assert stdout is not None
        self._ports: dict[str, int] = json.loads(stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.terminate()
        self._process.wait(10)

    def target(self, case: Case) -> dict[str, Any]:
        """The target of a scenario that leads to a case."""
        version, _, wire = case.transport.partition("+")
        secure = version in ("tls", "wss", "raw-tls")
        port = self._ports[case.id if case.transport in UNASKED else "tls" if secure else "plain"]
        scheme = "ws" if version in ("ws", "wss", "eio-ws") else "http"
        target: dict[str, Any] = {
            "dialect": DIALECTS[wire or (version if version in DIALECTS else "sse")],
            "url": f"{scheme}{'s' * secure}://127.0.0.1:{port}/{case.id}",
        }
        if version in ("eio-polling", "polling"):
            target["url"] += "?transport=polling"
        if secure:
            target["tls"] = {"verify": str(self.certificate)}
        if version.startswith("h2"):
            target["http"] = 2
        if case.hostile.asks:
            target["headers"] = dict(case.hostile.asks)
        if version == "setup":
            target["setup"] = [{"path": f"/{case.id}", "capture": {"id": "id"}}]
        return target

    def scenario(
        self, folder: Path, *cases: Case, more_targets: Mapping[str, dict[str, Any]] | None = None, **changes: Any
    ) -> Path:
        """A scenario file with a target for each case, and others; each gets two streams from two users."""
        # On one connection, where it is the second request that meets the hostility.
        users = 1 if any(case.transport.endswith("-again") for case in cases) else 2
        document = {
            "name": "hostile",
            "targets": {name_of(case): self.target(case) for case in cases} | dict(more_targets or {}),
            "load": {"users": users, "streams": 2},
            "timeouts": TIMEOUTS,
            **changes,
        }
        path = folder / "hostile.yaml"
        path.write_text(json.dumps(document))
        return path


def name_of(case: Case) -> str:
    """The name of its target."""
    return case.id.replace("/", ".").replace("+", "-")


def endings(records: Path) -> dict[str, list[str]]:
    """How the streams of each target ended: `completed`, or their error class; a line that cannot be read is `?`."""
    found: dict[str, list[str]] = {}
    for line in records.read_bytes().splitlines():
        try:
            data = json.loads(line)
        except ValueError:
            data = {"kind": "stream", "target": "?", "error": "?"}
        if data.get("kind") == "stream":
            found.setdefault(data["target"], []).append(data["error"] or data["outcome"])
    return found
