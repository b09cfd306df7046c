"""How figures and findings are said, and the verdict on a terminal."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from streambench.analysis.summary import Summary
from streambench.findings import Axis, Finding
from streambench.record.model import Outcome
from streambench.report.terminal import describe_run
from streambench.report.wording import bare, figure, findings_in_words, headline, plural


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (812.44, "ms", "812.4 ms"),
        (1234.5, "ms", "1,234.5 ms"),
        (0.0, "ms", "0.0 ms"),
        (0.012, "ms", "0.012 ms"),
        (0.0123, "ratio", "1.23%"),
        (0.5, "ratio", "50.0%"),
        (37.46, "per s", "37.5 per s"),
        (3.0, "count", "3"),
        (1234.0, "count", "1,234"),
        (2.5, "count", "2.5"),
        (None, "ms", "–"),
        ("paced", "", "paced"),
        (math.inf, "ms", "∞"),
        (-0.25, "ms", "-0.2 ms"),
    ],
)
def test_figures(value: float | str | None, unit: str, text: str) -> None:
    assert figure(value, unit) == text


def test_a_table_names_the_unit_once() -> None:
    assert bare(812.44, "ms") == "812.4"
    assert bare(37.46, "per s") == "37.5"
    assert bare(0.5, "ratio") == "50.0%"
    assert bare(None, "ms") == "–"


def test_plurals() -> None:
    assert [plural(n, "stream") for n in (0, 1, 2, 1500)] == ["0 streams", "1 stream", "2 streams", "1,500 streams"]


def test_the_headline(of_kind: Callable[[str], Summary]) -> None:
    text = headline(of_kind("comparison"))
    assert "51 streams on 2 targets in 10 s" in text
    assert "failed" in text
    assert "1 stream on 1 target" in headline(of_kind("one stream"))
    assert "interrupted" in headline(of_kind("killed"))


def test_the_worst_comes_first(of_kind: Callable[[str], Summary]) -> None:
    found = findings_in_words(of_kind("hostile"))
    assert found[0].startswith("The measurement is not valid")
    found = findings_in_words(of_kind("comparison"))
    assert "1 of 26 streams of paced failed (http_500 1): it broke." in found[0]
    assert any("paced is paced" in text for text in found)
    assert any("ttfc.p95 < 100ms failed" in text for text in found)
    assert any("times as long" in text for text in found)


def test_a_target_that_could_not_be_reached(
    summary_of: Callable[..., Summary], stream_of_target: Callable[..., Any]
) -> None:
    fields = {"outcome": Outcome.FAILED, "error": "connect", "error_message": "cannot connect to h:1: refused"}
    records = [stream_of_target("real", i, two_sided=False, **fields) for i in range(3)]
    found = findings_in_words(summary_of(records, two_sided=False))
    assert found[0] == "real could not be reached: cannot connect to h:1: refused."


def test_a_broken_rule_says_where_what_came_and_what_was_expected(
    summary_of: Callable[..., Summary], stream_of_target: Callable[..., Any]
) -> None:
    record = stream_of_target("real", 0)
    broken = Finding(Axis.GRAMMAR, "grammar.order", "Wrong.", event_index=4, offset=77, got="done", expected=("a", "b"))
    record.findings = [broken, broken]
    (text,) = [text for text in findings_in_words(summary_of([record])) if "grammar.order" in text]
    for part in ("1 stream", "2 times", "real/0", "event 4", "byte 77", "Wrong.", "done", "a | b"):
        assert part in text


def test_the_verdict_on_a_terminal(any_summary: Summary) -> None:
    for brief in (True, False):
        text = click.unstyle(describe_run(any_summary, {"html": Path("out/report.html")}, brief=brief))
        assert text.startswith(any_summary.verdict.upper())
        assert text.endswith("out/report.html\n")
    for name in any_summary.targets:
        assert name in text
    assert "Traceback" not in text


def test_a_hostile_text_cannot_rule_the_terminal(hostile: Summary) -> None:
    """An escape sequence of a server's must not colour, move or clear anything."""
    text = describe_run(hostile, {}, brief=False)
    assert "\ufffd[31m" in text
    assert not [character for character in click.unstyle(text) if character < " " and character != "\n"]


def test_a_verdict_has_all_gates_with_their_figures(comparison: Summary) -> None:
    text = click.unstyle(describe_run(comparison, {}, brief=False))
    (line,) = [line for line in text.splitlines() if line.strip().startswith("failed") and "ttfc.p95" in line]
    assert "limit 100.0 ms" in line
    assert "n 25" in line
