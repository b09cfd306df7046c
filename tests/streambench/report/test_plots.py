"""Pictures of what there is, and none of what there is not."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from streambench.analysis.summary import Summary
from streambench.record.model import EventColumns
from streambench.report.plots import Plot, draw_plots
from streambench.report.style import PALETTE, SERIES

Drawn = Callable[[str], list[Plot]]


def test_pictures_are_well_formed_and_load_nothing(kind: str, drawn: Drawn) -> None:
    for plot in drawn(kind):
        for svg in (plot.svg, plot.standalone()):
            root = ET.fromstring(svg)
            assert root.tag == "{http://www.w3.org/2000/svg}svg"
            for element in root.iter():
                assert not element.tag.endswith(("}script", "}image", "}foreignObject"))
                for name, value in element.attrib.items():
                    if name.endswith("href"):
                        assert value.startswith("#")
            assert not re.search(r"url\((?!#)|@import|@font-face", svg)
        title = ET.fromstring(plot.svg).find("{http://www.w3.org/2000/svg}title")
        assert title is not None
        assert plot.title in (title.text or "")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("comparison", ["both-sides", "growth", "first-text", "cadence", "over-time"]),
        ("nothing", []),
        ("failed only", []),
        ("one stream", ["both-sides", "growth", "cadence"]),
        ("one-sided", ["growth", "first-text", "cadence", "over-time"]),
        ("killed", ["both-sides", "growth", "first-text", "cadence", "over-time"]),
    ],
)
def test_what_there_is_to_see(drawn: Drawn, kind: str, expected: list[str]) -> None:
    assert [plot.name for plot in drawn(kind)] == expected


def test_every_target_is_in_the_legend_with_its_own_colour(comparison: Summary, drawn: Drawn) -> None:
    growth = next(plot for plot in drawn("comparison") if plot.name == "growth")
    for name in comparison.targets:
        assert f">{name}<" in growth.svg
    for placeholder in SERIES[:2]:
        assert f"var(--{PALETTE[placeholder][0]})" in growth.svg
        assert placeholder not in growth.svg


def test_colours_follow_the_readers_light_or_dark(drawn: Drawn) -> None:
    for plot in drawn("comparison"):
        alone = plot.standalone()
        used = set(re.findall(r"var\(--([a-z0-9-]+)\)", alone))
        assert used <= {name for name, _, _ in PALETTE.values()}
        for name in used:
            assert alone.count(f"--{name}:") == 2, "light and dark"


def test_ids_of_several_pictures_do_not_meet(drawn: Drawn) -> None:
    ids = [i for plot in drawn("comparison") for i in re.findall(r'\bid="([^"]+)"', plot.svg)]
    assert len(ids) == len(set(ids))


def test_the_same_run_gives_the_same_picture(comparison: Summary, drawn: Drawn) -> None:
    assert [plot.svg for plot in draw_plots(comparison)] == [plot.svg for plot in drawn("comparison")]


def test_many_targets(summary_of: Callable[..., Summary], stream_of_target: Callable[..., object]) -> None:
    targets = [f"t{i}" for i in range(11)]
    records = [stream_of_target(name, i) for name in targets for i in range(2)]
    assert len(draw_plots(summary_of(records, targets=targets))) == 5


def test_a_name_with_markup_in_it(summary_of: Callable[..., Summary], stream_of_target: Callable[..., object]) -> None:
    """No scenario can have it, but a records file from elsewhere could."""
    name = "<b>&\"'$x^2$"
    for plot in draw_plots(summary_of([stream_of_target(name, i) for i in range(3)], targets=(name,))):
        ET.fromstring(plot.svg)
        assert "<b>" not in plot.svg


def test_axes_are_labelled_in_plain_numbers(drawn: Drawn) -> None:
    for plot in drawn("comparison"):
        assert "mathdefault" not in plot.svg
        assert "$" not in plot.svg


@pytest.mark.parametrize(("low_ms", "high_ms"), [(2, 9), (2, 60), (1, 4000)])
def test_a_logarithmic_axis_has_labels_whatever_it_spans(
    summary_of: Callable[..., Summary], stream_of_target: Callable[..., Any], low_ms: int, high_ms: int
) -> None:
    record = stream_of_target("real", 0, two_sided=False)
    gaps = [low_ms, high_ms] * (len(record.events.at_ns) // 2)
    at_ns = [record.start_ns + 1_000_000 * sum(gaps[:i]) for i in range(len(gaps))]
    record.events = EventColumns(at_ns, record.events.name, record.events.chars, record.events.read)
    record.end_ns = at_ns[-1]
    (cadence,) = [plot for plot in draw_plots(summary_of([record], two_sided=False)) if plot.name == "cadence"]
    labels = [float(text) for text in re.findall(r">([\d.]+)</text>", cadence.svg)]
    assert len({label for label in labels if low_ms / 2 <= label <= high_ms * 2}) >= 2
    assert "mathdefault" not in cadence.svg


def test_panels_of_one_picture_have_one_scale(drawn: Drawn) -> None:
    both = next(plot for plot in drawn("comparison") if plot.name == "both-sides")
    labels = re.findall(r">([\d.]+)</text>", both.svg)
    assert max(map(float, labels)) >= 1000, "the slow one fits as well"
    assert all(labels.count(label) % 2 == 0 for label in labels), "each panel has the same labels"
