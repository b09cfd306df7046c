"""The audit of dependencies: a vulnerability of ours fails it, and a service that does not answer never does."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from tools import audit

BAD = {"id": "PYSEC-1", "fix_versions": ["2.0"], "aliases": [], "description": ""}


@pytest.mark.parametrize(
    ("packages", "failed", "says"),
    [
        (None, False, "SKIPPED"),
        ([{"name": "h2", "skip_reason": "not found"}], False, "SKIPPED: the vulnerability service knows none of the 1"),
        ([{"name": "h2", "version": "1", "vulns": []}], False, "1 packages, 0 known"),
        ([{"name": "H2", "version": "1", "vulns": [BAD]}], True, "H2 1: PYSEC-1, fixed in 2.0"),
        ([{"name": "pytest", "version": "1", "vulns": [BAD]}], False, "pytest 1 (a development tool): PYSEC-1"),
    ],
)
def test_what_fails_the_audit(packages: list[dict[str, Any]] | None, failed: bool, says: str) -> None:
    lines, bad = audit.verdict(packages, {"h2"})
    assert bad is failed
    assert says in "\n".join(lines)


@pytest.mark.parametrize("answer", ["", "null", "[]", '{"other": 1}', "Traceback"])
def test_an_answer_that_is_none_is_no_failure(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    done = subprocess.CompletedProcess([], 1, answer, "ConnectionError")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    assert audit.ask() is None


def test_what_streambench_needs_is_known_and_development_tools_are_not() -> None:
    ours = audit.needed()
    assert {"h2", "websockets", "numpy", "click", "locust", "gevent"} <= ours
    assert not {"mypy", "ruff", "hypothesis"} & ours
