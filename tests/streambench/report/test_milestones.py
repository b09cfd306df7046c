"""Milestones in every report: how many streams came so far, and when."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click
import pytest

from streambench.analysis.summary import Summary
from streambench.report.export.html import render_html
from streambench.report.export.markdown import render_markdown
from streambench.report.plots import Plot
from streambench.report.terminal import describe_run
from streambench.report.wording import milestone_rows

FIRST = ("first_answer", "5 of 5", "2.0", "2.0", "2.0")


@pytest.fixture
def summary(of_kind: Callable[[str], Summary]) -> Summary:
    return of_kind("milestones")


def test_a_row_for_each_of_each_target(summary: Summary) -> None:
    never = ("first_document", "0 of 5", "–", "–", "–")
    assert milestone_rows(summary) == [(name, *row) for name in ("real", "paced") for row in (FIRST, never)]


def test_the_terminal_has_a_table_and_what_was_never_reached(summary: Summary) -> None:
    lines = click.unstyle(describe_run(summary, {}, brief=False)).splitlines()
    (heading,) = [line for line in lines if line.startswith("  target  milestone")]
    assert lines[lines.index(heading) + 1].split() == ["real", "first_answer", "5", "of", "5", "2.0", "2.0", "2.0"]
    assert "  never reached: first_document of real, first_document of paced" in lines
    narrow = click.unstyle(describe_run(summary, {}, brief=False, width=40)).splitlines()
    assert all(len(line) <= 40 for line in narrow if "answer" in line)


def test_the_page_and_the_step_summary_have_them(summary: Summary) -> None:
    page = render_html(summary, [])
    assert '<h2 id="milestones">Milestones</h2>' in page
    assert "milestone.first_answer (ms)" in page
    assert "from the intended start to the first content" in page
    assert "| paced | first\\_document | 0 of 5 | – | – | – |" in render_markdown(summary)


def test_without_any_nothing_is_said(of_kind: Callable[[str], Summary]) -> None:
    summary = of_kind("one stream")
    told = (describe_run(summary, {}, brief=False), render_html(summary, []), render_markdown(summary))
    assert not any("milestone" in text.lower() for text in told)


def test_they_are_marked_where_a_reply_is_drawn(drawn: Callable[[str], Sequence[Plot]]) -> None:
    (plot,) = [plot for plot in drawn("milestones") if plot.name == "growth"]
    assert plot.svg.count("first_answer") == 2
    assert "first_document" not in plot.svg
    assert plot.description.endswith("Dotted lines mark milestones.")
