"""Ctrl-C at the moments at which no command is there to take it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import streambench.cli
from streambench.cli import main

PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
SCRIPT, _, FUNCTION = PROJECT["scripts"]["streambench"].partition(":")
STARTS = {
    "script": f"from {SCRIPT} import {FUNCTION}; {FUNCTION}()",
    "module": "import runpy; runpy.run_module('streambench', run_name='__main__')",
}

# Meets the interpreter as soon as it imports the command line.
IMPORTING = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "streambench.cli":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
"""

# Meets the interpreter when it has nothing more to do.
LEAVING = """
import atexit, os, signal, sys

atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))
sys.argv[1:] = ["--version"]
"""

# Meets an event loop that is half made, and one that is half closed.
LOOPS = """
import os, signal, sys
from streambench.transport.aio import polls

class Readers(polls.Readers):
    def __init__(self, *parts):
        if sys.argv[1] == "made":
            os.kill(os.getpid(), signal.SIGINT)
        super().__init__(*parts)

    def close(self):
        super().close()
        if sys.argv[1] == "closed":
            os.kill(os.getpid(), signal.SIGINT)

async def work():
    print("began", flush=True)
    await polls.asyncio.sleep(0)
    print("went on", flush=True)

polls.Readers = Readers
try:
    polls.run_polled(work())
except KeyboardInterrupt:
    print("interrupted")
"""

# Meets a weak reference's callback, in which an exception would be printed and lost.
CALLBACK = """
import os, signal, weakref
from streambench.interrupts import end_at_once

class Thing:
    pass

end_at_once()
thing = Thing()
dies = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGINT))
del thing
print("went on")
"""

# Meets a command whose other processes have its output open.
PROCESSES = """
import multiprocessing, os, signal, time
from streambench.interrupts import end_at_once

end_at_once()
multiprocessing.get_context("spawn").Process(target=time.sleep, args=(3600,), daemon=True).start()
os.kill(os.getpid(), signal.SIGINT)
"""

# Meets a run that has written its records, or has not begun.
REPORTS = """
import os, signal, sys
from pathlib import Path
from types import SimpleNamespace
from streambench.cli import run

def reports(folder, *_, **__):
    if sys.argv[1] == "reports":
        (folder / "records.jsonl").touch()
    os.kill(os.getpid(), signal.SIGINT)

run._run_in = reports
run.run_one(SimpleNamespace(name="here"), Path("out"), quiet=True, as_json=False, plots=False)
"""


def run(code: str, *args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, check=False, timeout=60, cwd=cwd
    )


def test_while_it_is_said_how_the_command_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(streambench.cli, "run_command", interrupted)
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 130


@pytest.mark.parametrize("start", STARTS)
def test_while_the_command_is_imported(start: str) -> None:
    done = run(IMPORTING + STARTS[start])
    assert (done.returncode, done.stderr) == (-2, "")


@pytest.mark.parametrize("start", STARTS)
def test_when_the_command_has_ended(start: str) -> None:
    done = run(LEAVING + STARTS[start])
    assert (done.returncode, done.stderr) == (-2, "")
    assert "streambench" in done.stdout


@pytest.mark.parametrize(
    ("moment", "told"), [("made", "began\ninterrupted\n"), ("closed", "began\nwent on\ninterrupted\n")]
)
def test_while_the_event_loop_is(moment: str, told: str) -> None:
    done = run(LOOPS, moment)
    assert (done.stdout, done.stderr) == (told, "")


def test_where_an_exception_would_be_lost() -> None:
    done = run(CALLBACK)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_while_reports_are_written_it_is_said_where_the_records_are(tmp_path: Path) -> None:
    done = run(REPORTS, "reports", cwd=tmp_path)
    (records,) = tmp_path.glob("out/here/*/records.jsonl")
    assert done.returncode == 130
    assert f"the records are in {records.parent.relative_to(tmp_path)};" in done.stderr


def test_before_a_run_begins_nothing_is_left(tmp_path: Path) -> None:
    done = run(REPORTS, "nothing", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (130, "interrupted before the run began\n")
    assert not list(tmp_path.glob("out/*"))


def test_no_process_of_ours_is_left() -> None:
    done = run(PROCESSES)  # returns when nobody has its output open
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
