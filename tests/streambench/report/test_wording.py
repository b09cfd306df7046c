"""How figures and findings are said, and the verdict on a terminal."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from streambench.analysis.summary import Summary
from streambench.dialects.rules import PREMATURE_END
from streambench.findings import Axis, Finding, Severity
from streambench.record.model import Outcome
from streambench.report.cases import CaseOutcome, gate_cases
from streambench.report.terminal import command_lines, describe_run
from streambench.report.wording import bare, figure, findings_in_words, headline, plural


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (812.44, "ms", "812.4 ms"),
        (1234.5, "ms", "1,234.5 ms"),
        (0.0, "ms", "0.0 ms"),
        (0.012, "ms", "0.012 ms"),
        (0.0123, "ratio", "1.23%"),
        (0.5, "ratio", "50%"),
        (37.46, "per s", "37.5 per s"),
        (3.0, "count", "3"),
        (1234.0, "count", "1,234"),
        (2.5, "count", "2.5"),
        (None, "ms", "–"),
        ("paced", "", "paced"),
        (math.inf, "ms", "∞"),
        (-0.25, "ms", "-0.2 ms"),
        (0.125, "factor", "0.12"),
        (-0.001, "factor", "0.00"),
        (-0.0, "factor", "0.00"),
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
    assert "paced: 1 of 26 streams failed (http_500 1): it broke." in found[0]
    assert any("paced: paced" in text for text in found)
    assert any("ttfc.p95 < 100ms failed" in text for text in found)
    assert any("times as long" in text for text in found)


def test_the_most_frequent_error_is_quoted(
    summary_of: Callable[..., Summary], stream_of_target: Callable[..., Any]
) -> None:
    rare = stream_of_target("real", 0, outcome=Outcome.FAILED, error="http_503", error_message="come back later")
    frequent = [
        stream_of_target("real", i, outcome=Outcome.FAILED, error="http_422", error_message="no such model")
        for i in range(1, 6)
    ]
    (sentence, *_) = findings_in_words(summary_of([rare, *frequent]))
    assert ": no such model." in sentence
    assert "come back later" not in sentence


def test_a_target_that_could_not_be_reached(
    summary_of: Callable[..., Summary], stream_of_target: Callable[..., Any]
) -> None:
    fields = {"outcome": Outcome.FAILED, "error": "connect", "error_message": "cannot connect to h:1: refused"}
    records = [stream_of_target("real", i, two_sided=False, **fields) for i in range(3)]
    found = findings_in_words(summary_of(records, two_sided=False))
    assert found[0] == "real could not be reached: cannot connect to h:1: refused."


def test_an_upstream_on_another_host_says_how_far_its_clock_can_be_trusted(
    summary_of: Callable[..., Summary], stream_of_target: Callable[..., Any]
) -> None:
    records = [stream_of_target("real", i) for i in range(2)]
    assert not [text for text in findings_in_words(summary_of(records)) if "clock" in text]
    records[1].upstream[0].clock_error_ns = 420_000
    (text,) = [text for text in findings_in_words(summary_of(records)) if "clock" in text]
    assert text == ("The upstream of real has its own clock: comparisons with its writes may be off by 0.4 ms.")


def test_a_broken_rule_says_where_what_came_and_what_was_expected(
    summary_of: Callable[..., Summary], stream_of_target: Callable[..., Any]
) -> None:
    record = stream_of_target("real", 0)
    broken = Finding(Axis.GRAMMAR, "grammar.order", "Wrong.", event_index=4, offset=77, got="done", expected=("a", "b"))
    record.findings = [broken, broken]
    (text,) = [text for text in findings_in_words(summary_of([record])) if "grammar.order" in text]
    for part in ("1 stream", "2 times", "real/0", "event 5", "byte 77", "Wrong.", "done", "a | b"):
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
    assert "observed 430.0 ms" in line
    assert "n 25" in line


def test_a_terminal_says_each_reason_once(any_summary: Summary) -> None:
    """The verdict's, and those of the gates: the table of gates has their figures."""
    text = click.unstyle(describe_run(any_summary, {}, brief=False)).lower()
    completed = [target for target in any_summary.targets.values() if target.counts["completed"]]
    told = [target.authenticity.evidence for target in completed]
    told += [gate.reason for gate in any_summary.gates if gate.reason is not None]
    for reason in told:
        assert text.count(reason.lower()) <= told.count(reason), reason


def test_a_verdict_that_misses_its_gate_says_so(
    summary_of: Callable[..., Summary], stream_of_target: Callable[..., Any]
) -> None:
    summary = summary_of([stream_of_target("real", i) for i in range(3)], gates=["authenticity == paced"])
    (told,) = [text for text in findings_in_words(summary) if "authenticity" in text]
    assert told.startswith("real: forwarded, so gate authenticity == paced failed. Text arrives")


def test_what_a_message_says_is_not_said_again() -> None:
    after = Finding(
        Axis.GRAMMAR, "grammar.after-terminal", "`x` came; nothing may follow.", got="x", expected=("end of stream",)
    )
    assert after.untold == (None, ())
    early = Finding(Axis.GRAMMAR, "grammar.premature-end", "`y` is missing.", got="end", expected=("x", "y"))
    assert early.untold == ("end", ("x", "y"))


def missing_end(summary_of: Callable[..., Summary], stream_of_target: Callable[..., Any]) -> Summary:
    """Five streams, each without its terminal event."""
    records = [stream_of_target("real", i) for i in range(5)]
    for record in records:
        record.outcome, record.error, record.error_message = Outcome.FAILED, "disconnect", "no terminal event"
        record.findings = [PREMATURE_END.found("The end is missing.", event_index=23, offset=6057)]
    return summary_of(records, gates=["error_rate == 0", "violations == 0", "ttfc.p50 < 2s"])


def test_a_missing_end_is_told_once_with_its_place(
    summary_of: Callable[..., Summary], stream_of_target: Callable[..., Any]
) -> None:
    summary = missing_end(summary_of, stream_of_target)
    (told,) = [text for text in findings_in_words(summary) if "real" in text and "could not be told" not in text]
    for part in (
        "grammar.premature-end",
        "5 of 5 streams",
        "disconnect 5",
        "event 24, byte 6057",
        "The end is missing",
    ):
        assert part in told
    assert not [text for text in findings_in_words(summary) if text.startswith("Gate ")]
    cases = [case for case in gate_cases(summary) if case.outcome is not CaseOutcome.PASSED]
    assert [case.details for case in cases] == [(told,)] * 3
    assert all(case.seconds == summary.duration_s for case in cases)


def test_an_error_event_is_told_beside_the_missing_end(
    summary_of: Callable[..., Summary], stream_of_target: Callable[..., Any]
) -> None:
    """The streams failed because of the event; that their end is missing too is another fact."""
    records = [stream_of_target("real", i) for i in range(5)]
    for record in records:
        record.outcome, record.error, record.error_message = Outcome.FAILED, "error_event", "Out of capacity"
        record.findings = [PREMATURE_END.found("The end is missing.", event_index=23, offset=6057)]
    told = findings_in_words(summary_of(records))
    assert "real: 5 of 5 streams failed (error_event 5): Out of capacity." in told
    (broken,) = [text for text in told if "grammar.premature-end" in text]
    assert "which failed" not in broken


@pytest.mark.parametrize(("error", "asked"), [("error_event", True), ("http_500", True), ("http_401", False)])
def test_streams_that_failed_without_a_request_to_the_upstream_raise_the_question(
    summary_of: Callable[..., Summary], stream_of_target: Callable[..., Any], error: str, asked: bool
) -> None:
    records = [stream_of_target("real", i) for i in range(3)]
    for record in records:
        record.outcome, record.error, record.error_message = Outcome.FAILED, error, "Connection error."
        record.mark, record.upstream = "abc", []
    told = [text for text in findings_in_words(summary_of(records)) if "reached the fake upstream" in text]
    assert bool(told) is asked


def test_the_logs_of_servers_are_named_where_streams_failed(
    summary_of: Callable[..., Summary], stream_of_target: Callable[..., Any], tmp_path: Path
) -> None:
    records = [stream_of_target("real", 0)]
    (tmp_path / "serve-app.log").write_text("Traceback\n")
    (tmp_path / "serve-quiet.log").touch()
    for failed in (False, True):
        if failed:
            records[0].outcome, records[0].error = Outcome.FAILED, "http_500"
        summary = summary_of(records)
        summary.run.folder = tmp_path
        text = describe_run(summary, {}, brief=True)
        assert ("serve-app.log" in text) is failed
        assert "serve-quiet.log" not in text


def test_every_gate_that_is_counted_is_shown(of_kind: Callable[[str], Summary]) -> None:
    summary = of_kind("one stream")
    text = click.unstyle(describe_run(summary, {}, brief=False))
    assert "all 3 gates passed" in text
    assert text.count("(always)") == 3


@pytest.mark.parametrize("width", [40, 60, 80, 140])
def test_lines_fit_into_the_terminal(any_summary: Summary, width: int) -> None:
    for line in click.unstyle(describe_run(any_summary, {}, brief=False, width=width)).splitlines():
        # What is longer is one word, which stays whole.
        assert len(line) <= width or len(line.split()) == 1, line


@pytest.mark.parametrize("width", [40, 60, 80, None])
def test_a_command_can_be_copied_however_it_is_broken(width: int | None) -> None:
    parts = ["streambench check", "reports/chat/2026-11-21T20-20-30Z/streams/chat-0.jsonl", "--dialect own.yaml"]
    lines = command_lines("1 stream kept, for example:", parts, width)
    text = "\n".join(lines).removeprefix("  1 stream kept, for example:")
    assert shlex.split(text.replace("\\\n", " ")) == " ".join(parts).split()
    assert width is None or all(len(line) <= width or len(line.split()) <= 2 for line in lines)


def test_words_stay_whole_and_none_is_lost(comparison: Summary) -> None:
    wide = click.unstyle(describe_run(comparison, {}, brief=True)).split()
    assert click.unstyle(describe_run(comparison, {}, brief=True, width=60)).split() == wide


def test_the_least_telling_columns_go_first(comparison: Summary) -> None:
    def headings(width: int | None) -> str:
        lines = click.unstyle(describe_run(comparison, {}, brief=False, width=width)).splitlines()
        return next(line for line in lines if line.startswith("  target "))

    assert "e2e p50" in headings(None)
    assert "e2e p50" not in headings(60)
    assert "e2e p50" in click.unstyle(describe_run(comparison, {}, brief=False, width=60))  # named as left out
    narrow = headings(40)
    assert narrow.split()[:2] == ["target", "verdict"]
    assert "failed" in narrow


def test_what_breaks_no_rule_is_a_note(
    summary_of: Callable[..., Summary], stream_of_target: Callable[..., Any]
) -> None:
    record = stream_of_target("real", 0)
    seen = [Finding(Axis.CONTENT, f"content.seen-{i}", f"Seen {i}.", severity=Severity.INFO) for i in range(4)]
    record.findings = [*seen, Finding(Axis.GRAMMAR, "grammar.seen", "Not of the text.", severity=Severity.INFO)]
    summary = summary_of([record])
    notes = [text for text in findings_in_words(summary) if text.startswith("Note")]
    assert notes == [
        "Note: 1 stream of real, content.seen-0: Seen 0.",
        "Note: 1 stream of real, content.seen-1: Seen 1. The report has 2 more notes.",
    ]
    told = summary.targets["real"].to_json()["violations"]
    assert told["count"] == 0
    assert [note["rule"] for note in told["notes"]] == [finding.rule for finding in record.findings]
