"""The results of the conformance suites that gate a run: a file beside its records, written by `run`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streambench.errors import ConfigurationError, ExitCode

SCHEMA = "streambench.conformance/1"
FILE = "conformance.json"
FOLDER = "conformance"  # of a run folder: the matrix, the wire logs, the badge
BAD = ("failed", "flaky", "harness error", "warning")


@dataclass(frozen=True, slots=True)
class SuiteOutcome:
    """What came of one target's suite. `verdicts` counts them; `cases` are as `conform --json` has them."""

    target: str
    exit_code: ExitCode
    verdicts: dict[str, int]
    cases: list[dict[str, Any]]

    @property
    def bad(self) -> list[dict[str, Any]]:
        """The cases that did not hold, or could not be decided by a mistake of the harness; the worst first."""
        found = [case for case in self.cases if case["verdict"] in BAD and not case.get("expected_failure")]
        return sorted(found, key=lambda case: BAD.index(case["verdict"]))

    def to_json(self) -> dict[str, Any]:
        """The entry of `summary.json`."""
        keys = ("case", "verdict", "keyword", "message", "expected", "got", "remedy")
        return {
            "target": self.target,
            "exit_code": int(self.exit_code),
            "verdicts": self.verdicts,
            "not_kept": [{key: case[key] for key in keys if key in case} for case in self.bad],
        }


def write_suites(folder: Path, suites: list[dict[str, Any]]) -> None:
    """Write suites, each as `conform --json` has it, into a run folder. Raises OSError."""
    document = {"schema": SCHEMA, "suites": suites}
    (folder / FILE).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")


def read_suites(folder: Path) -> list[SuiteOutcome]:
    """The suites of a run folder; none where it has no such file. Raises ConfigurationError where it is another."""
    path = folder / FILE
    if not path.is_file():
        return []
    try:
        document = json.loads(path.read_text("utf-8"))
        if document["schema"] != SCHEMA:
            raise ValueError(document["schema"])
        return [
            SuiteOutcome(suite["target"], ExitCode(suite["exit_code"]), dict(suite["verdicts"]), list(suite["cases"]))
            for suite in document["suites"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"not a {SCHEMA} file: {error!r}", path=str(path)) from error
