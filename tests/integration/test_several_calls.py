"""A service that asks its model several times for one reply is judged by the text that the user gets.

The service is that of `benchmarks/several_calls.py`, which measures a thousand streams of each way.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

STREAMS = 20


@pytest.fixture(scope="module")
def several_calls() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "several_calls.py"
    spec = importlib.util.spec_from_file_location("several_calls", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # A pause that a busy machine does not fill.
    module.TOKENS, module.PROFILE = 10, {"name": "fixed", "ttft_ms": 50, "gap_ms": 80}  # type: ignore[attr-defined]
    return module


@pytest.fixture(scope="module")
def found(several_calls: ModuleType) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is said of every way, all at the same time; and of the generator."""
    targets, generator = several_calls.run(list(several_calls.WAYS), STREAMS, 5)
    return targets, generator


@pytest.mark.parametrize(
    "way", ["title-before", "title-beside", "title-after", "title-late", "agent", "preface-and-sources"]
)
def test_a_reply_is_judged_by_the_text_that_came(
    several_calls: ModuleType, found: tuple[dict[str, Any], dict[str, Any]], way: str
) -> None:
    target = found[0][way]
    assert target.counts["completed"] == STREAMS, target.errors
    assert {rule.rule: rule.streams for rule in target.rules} == dict.fromkeys(several_calls.WAYS[way], STREAMS)
    assert target.authenticity.verdict == "forwarded" or not found[1]["valid"], target.authenticity.evidence
