"""What tests of whole runs share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tools import programs

Summarize = Callable[[Path, Mapping[str, Any]], dict[str, Any]]


@pytest.fixture(scope="session")
def summary_of_run() -> Summarize:
    """Runs a scenario in a folder and returns what `run --json` says of it, whatever that is."""

    def run(folder: Path, scenario: Mapping[str, Any]) -> dict[str, Any]:
        (folder / "scenario.yaml").write_text(json.dumps(scenario))
        done = programs.run("streambench", "run", "scenario.yaml", "--json", "--no-plots", cwd=folder)
        assert done.stdout, done.stderr
        assert "Traceback" not in done.stderr
        summary: dict[str, Any] = json.loads(done.stdout)
        return summary

    return run
