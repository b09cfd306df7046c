"""Ctrl-C at the moments at which no command is there to take it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import streambench.cli
from streambench.cli import main

# Stops the interpreter as soon as it imports the command line.
LATE = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "streambench.cli":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
import runpy
runpy.run_module("streambench", run_name="__main__")
"""


def test_while_it_is_said_how_the_command_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(streambench.cli, "run_command", interrupted)
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 130


def test_while_the_command_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (-2, "")
