"""Runs the command line many times, each in a process of its own whose memory and time are measured.

Reads jobs as JSON lines: `args`, `cwd`, and where wanted `seconds`, `mebibytes` (address space), `descriptors`, `pipe`.
Answers each with a line: `code` (None where it had to be killed), `mebibytes` (peak resident size), `cpu_s`, `wall_s`,
`out` and `err`. The packages are imported once, so that a job costs what the command costs.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

IMPORTED = (
    *("cli", "cli.run", "cli.check", "cli.report", "cli.probe", "cli.reporting", "cli.har", "load.loading"),
    *("load.run", "report.folder", "report.export.html", "report.export.junit", "report.export.markdown"),
    *("report.terminal", "report.plots", "transport.http1", "transport.http2", "transport.aio.polling"),
    *("drivers.users", "drivers.http_user", "drivers.socket_user", "drivers.socketio", "drivers.websocket"),
)
SECONDS = 60.0
MEBIBYTES = 3072


def work(job: dict[str, Any], out: int, err: int) -> None:
    """What the child does; it never returns."""
    code = 99
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.chdir(job["cwd"])
        os.environ.update(job.get("environ", {}))
        limit = job.get("mebibytes", MEBIBYTES) << 20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for name, wanted in (("NOFILE", job.get("descriptors")), ("FSIZE", job.get("file_bytes"))):
            if wanted is not None:
                resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (wanted, wanted))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        from streambench.cli import run_command

        code = run_command(job["args"])
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        with contextlib.suppress(BaseException):
            traceback.print_exc()
            sys.stderr.flush()
    finally:
        os._exit(code)


def run(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    out, err = (folder / name for name in ("out", "err"))
    with out.open("wb") as out_file, err.open("wb") as err_file:
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            work(job, out_file.fileno(), err_file.fileno())
    killed = False
    while True:
        waited, status, usage = os.wait4(pid, os.WNOHANG)
        if waited:
            break
        elapsed = time.monotonic() - started
        if elapsed > job.get("seconds", SECONDS) and not killed:
            os.kill(pid, signal.SIGKILL)
            killed = True
        time.sleep(0.005)
    return {
        "code": os.waitstatus_to_exitcode(status) if not killed else None,
        "mebibytes": round(usage.ru_maxrss / 1024, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "wall_s": round(time.monotonic() - started, 2),
        "out": out.read_bytes()[:200_000].decode("utf-8", "replace"),
        "err": err.read_bytes()[:20_000].decode("utf-8", "replace"),
    }


def main() -> None:
    for name in IMPORTED:
        importlib.import_module(f"streambench.{name}")
    for name in ("httpx", "jsonschema_rs", "ruamel.yaml"):
        importlib.import_module(name)
    for line in sys.stdin:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(run(json.loads(line), Path(folder))), flush=True)


if __name__ == "__main__":
    main()
