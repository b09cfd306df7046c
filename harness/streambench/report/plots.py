"""The charts of a report, as SVG.

Each shows one thing, says in its title what, and has its units on the axes.
"""

from __future__ import annotations

import io
import math
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import numpy as np

from streambench.analysis.milestones import spans
from streambench.analysis.qoe import reading_speed
from streambench.analysis.stream import AnalysedStream
from streambench.analysis.summary import Summary
from streambench.analysis.target import TargetSummary
from streambench.record.model import Outcome
from streambench.report.style import DASHES, GRID, INK, MUTED, SERIES, css_variables, with_css_colours
from streambench.units import NS_PER_MS, NS_PER_S

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from streambench.analysis.columns import Floats, Integers

MAX_STREAMS = 15  # drawn faintly behind the typical one
MAX_POINTS = 1500
MAX_PANELS = 24
MAX_LABEL = 24  # characters of a name inside a picture
FONT = "DejaVu Sans"
FONT_STACK = "Verdana, 'DejaVu Sans', Geneva, sans-serif"  # of the same widths as the one that was measured with
_DIGITS = re.compile(r"(\d\.\d\d)\d+")  # a hundredth of a point is more than any screen shows
_ID = re.compile(r'(id="|href="#|url\(#)')


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture. `svg` uses the page's colour variables; `description` says in words what it shows."""

    name: str
    title: str
    description: str
    svg: str

    def standalone(self) -> str:
        """The picture as a file of its own, with its colours."""
        start = self.svg.index(">", self.svg.index("<svg")) + 1
        return f"{self.svg[:start]}<style>{css_variables()}</style>{self.svg[start:]}"


def draw_plots(summary: Summary) -> list[Plot]:
    """The pictures that the run has data for, the telling one first."""
    import matplotlib as mpl

    makers: tuple[Callable[[Summary], Plot | None], ...] = (
        _knee,
        _both_sides,
        _growth,
        _first_text,
        _cadence,
        _over_time,
    )
    with mpl.rc_context(_RC):  # type: ignore[arg-type]
        return [plot for make in makers if (plot := make(summary)) is not None]


_RC: dict[str, Any] = {
    "font.family": FONT,
    "font.size": 9.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "streambench",
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": "none",
    "legend.frameon": False,
    "text.parse_math": False,
}


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.1))


def _plot(name: str, title: str, description: str, figure: Figure) -> Plot:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = _DIGITS.sub(r"\1", svg)
    # Several pictures stand in one page: their ids must not meet.
    svg = _ID.sub(rf"\g<1>{name}-", svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", rf"font: \1 {FONT_STACK}", svg)
    svg = svg.replace("font-family: 'DejaVu Sans'", f"font-family: {FONT_STACK}")
    svg = svg.replace("<svg ", f'<svg role="img" aria-labelledby="{name}-title" ', 1)
    start = svg.index(">", svg.index("<svg")) + 1
    svg = f'{svg[:start]}<title id="{name}-title">{escape(f"{title}. {description}")}</title>{svg[start:]}'
    return Plot(name, title, description, with_css_colours(svg))


def _legend(axis: Axes) -> None:
    """Beside the axes, where no line can run through it."""
    axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1), markerscale=2, handlelength=2.6)


def _colour(index: int) -> str:
    return SERIES[index % len(SERIES)]


def _only(shown: Sequence[Any]) -> str:
    """Says so where a picture leaves targets out, since more lines than colours could not be told apart."""
    return f" The first {len(SERIES)} of {len(shown)} targets." if len(shown) > len(SERIES) else ""


def _completed(target: TargetSummary, having: Floats) -> Integers:
    """The rows of the completed streams that have a value, in the order in which they were due."""
    rows = target.streams.rows([Outcome.COMPLETED])
    return rows[~np.isnan(having[rows])]


def _typical(rows: Integers, size: Floats) -> int:
    """The row of the stream whose size is the median of all."""
    return int(rows[np.argsort(size[rows], kind="stable")[(len(rows) - 1) // 2]])


def _sample(items: Sequence[Any] | Integers, most: int) -> list[Any]:
    """Evenly spread items, at most so many."""
    if len(items) <= most:
        return list(items)
    return [items[round(i)] for i in np.linspace(0, len(items) - 1, most)]


# Client arrival against upstream write


def _both_sides(summary: Summary) -> Plot | None:
    shown = [
        (target, written)
        for target in summary.targets.values()
        if len(written := _completed(target, np.array(target.streams.written_span_ns)))
    ][:MAX_PANELS]
    if not shown:
        return None
    columns = min(len(shown), 2 if len(shown) <= 4 else 4)
    rows = math.ceil(len(shown) / columns)
    figure = _figure(9.6, 3.4 * rows if columns <= 2 else 2.5 * rows)
    # One scale for all panels: what takes five times as long has to look so.
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    reach = 1.0
    for index, (target, chosen) in enumerate(shown):
        axis = axes[index // columns][index % columns]
        spans = np.array(target.streams.written_span_ns)
        for row in _sample(chosen, MAX_STREAMS):
            x, y = _time_lines(_stream(summary, target, row))
            axis.plot(x, y, color=_colour(index), linewidth=0.8, alpha=0.25)
        x, y = _time_lines(_stream(summary, target, _typical(chosen, spans)))
        axis.plot(x, y, color=_colour(index), linewidth=1.4, marker="o", markersize=2.6)
        reach = max(reach, x[-1])
        if columns <= 2:
            axis.set_title(f"{target.name}: {target.authenticity.verdict}", fontweight="bold")
        else:
            axis.set_title(f"{target.name}\n{target.authenticity.verdict}", fontweight="bold", fontsize=7)
        axis.tick_params(labelbottom=True, labelleft=True)
        axis.set_xlabel("written by the upstream (ms)")
        axis.set_ylabel("received by the client (ms)")
    for axis in axes.flat[: len(shown)]:
        axis.plot([0, reach], [0, reach], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axes[0][0].set_xlim(left=0)
    axes[0][0].set_ylim(bottom=0)
    for index in range(len(shown), rows * columns):
        axes[index // columns][index % columns].set_visible(False)
    shapes = (
        "; ".join(f"{target.name} shows {_shape(target)}" for target, _ in shown)
        if len(shown) <= 4
        else "a diagonal is forwarded, a staircase batched, a horizontal line buffered, a second slope paced"
    )
    return _plot(
        "both-sides",
        "When each piece of text was written, and when the client received it",
        "Times count from the upstream's first write. The dashed line is text that arrives as it is written; "
        f"{shapes}. Points mark the stream of median length; thin lines are other streams.",
        figure,
    )


def _shape(target: TargetSummary) -> str:
    match str(target.authenticity.verdict):
        case "forwarded":
            return "a diagonal (forwarded)"
        case "buffered":
            return "a horizontal line (buffered)"
        case "batched":
            return "a staircase (batched)"
        case "paced":
            return "a second slope above it (paced)"
    return f"no single shape ({target.authenticity.verdict})"


def _time_lines(stream: AnalysedStream) -> tuple[list[float], list[float]]:
    """Upstream writes and the arrival of their text, in ms from the first write."""
    assert stream.alignment is not None
    origin_ns = stream.alignment.upstream.written_ns[0]
    deliveries = stream.alignment.deliveries()
    return (
        [(written_ns - origin_ns) / NS_PER_MS for written_ns, _ in deliveries],
        [(arrived_ns - origin_ns) / NS_PER_MS for _, arrived_ns in deliveries],
    )


def _stream(summary: Summary, target: TargetSummary, row: int) -> AnalysedStream:
    return summary.stream(target.streams.place[row])


# How a reply grows


def _growth(summary: Summary) -> Plot | None:
    shown: list[tuple[TargetSummary, tuple[list[float], list[int]], dict[str, float]]] = []
    for target in summary.targets.values():
        rows = _with_text(target)
        if len(rows):
            stream = _stream(summary, target, _typical(rows, target.streams.figure("e2e")))
            shown.append((target, _arrivals(stream), _reached(stream, target)))
    if not shown:
        return None
    figure = _figure(9.6, 3.9)
    axis = figure.subplots()
    longest = 0
    for index, (target, (x, y), reached) in enumerate(shown[: len(SERIES)]):
        longest = max(longest, y[-1])
        for name, at_s in reached.items():
            axis.axvline(at_s, color=_colour(index), linewidth=0.9, linestyle=(0, (1, 2)))
            axis.annotate(
                name, (at_s, 1), xycoords=("data", "axes fraction"), xytext=(3, -2), textcoords="offset points",
                rotation=90, va="top", ha="left", fontsize=7.5, color=_colour(index),
            )  # fmt: skip
        axis.step(
            x, y, where="post", color=_colour(index), dashes=DASHES[index] or (), linewidth=1.8, label=target.name
        )
    first_s = min(x[1] for _, (x, _), _ in shown)
    last_s = max(x[-1] for _, (x, _), _ in shown)
    read_s = longest / (reading_speed(summary.settings.reading_wpm) * NS_PER_S)
    axis.plot(
        [first_s, first_s + read_s],
        [0, longest],
        color=MUTED,
        linewidth=1,
        linestyle=(0, (4, 3)),
        label=f"reader, {summary.settings.reading_wpm:g} words/min",
    )
    axis.set_xlim(0, last_s * 1.1)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("time since the prompt (s)")
    axis.set_ylabel("text received (characters)")
    _legend(axis)
    return _plot(
        "growth",
        "How the reply grows for the reader",
        "One line per target: its stream of median duration. Where it runs below the reader's line, the reader waits."
        + (" Dotted lines mark milestones." if any(reached for *_, reached in shown) else "")
        + _only(shown),
        figure,
    )


def _reached(stream: AnalysedStream, target: TargetSummary) -> dict[str, float]:
    """When a stream came to each milestone of its target, in seconds since the question; names as they are shown."""
    intended_ns = stream.record.intended_ns
    found = spans(stream.record, target.milestones)
    shown = ((name if len(name) <= MAX_LABEL else f"{name[: MAX_LABEL - 1]}…", span) for name, span in found.items())
    return {name: (span.at_ns - intended_ns) / NS_PER_S for name, span in shown}


def _with_text(target: TargetSummary) -> Integers:
    return _completed(target, target.streams.figure("ttfc"))


def _arrivals(stream: AnalysedStream) -> tuple[list[float], list[int]]:
    """Seconds since the question, and characters received; begins with nothing at 0."""
    record = stream.record
    x, y = [0.0], [0]
    for row in record.content_rows():
        x.append((record.events.at_ns[row] - record.intended_ns) / NS_PER_S)
        y.append(y[-1] + record.events.chars[row])
    return x, y


# Distributions


def _first_text(summary: Summary) -> Plot | None:
    return _distribution(
        summary,
        "ttfc",
        name="first-text",
        title="Time to first text",
        label="time to first chunk (ms)",
        description="The share of streams whose first text has arrived by then; further left is faster.",
        logarithmic=False,
    )


def _cadence(summary: Summary) -> Plot | None:
    return _distribution(
        summary,
        "burst_gap",
        name="cadence",
        title="Gaps between pieces of text",
        label="gap between reads with text (ms, logarithmic)",
        description="The share of gaps that are no longer than this; a vertical line is an artificial cadence.",
        logarithmic=True,
    )


def _distribution(
    summary: Summary, metric: str, *, name: str, title: str, label: str, description: str, logarithmic: bool
) -> Plot | None:
    shown = [target for target in summary.targets.values() if len(target.distributions[metric]) > 1]
    if not shown:
        return None
    figure = _figure(9.6, 3.6)
    axis = figure.subplots()
    for index, target in enumerate(shown[: len(SERIES)]):
        values = target.distributions[metric].values
        share = np.arange(1, len(values) + 1) / len(values)
        keep = np.unique(np.linspace(0, len(values) - 1, min(len(values), MAX_POINTS)).round().astype(int))
        shown_values = np.maximum(values[keep], 0.01) if logarithmic else values[keep]
        axis.step(
            shown_values,
            share[keep] * 100,
            where="post",
            color=_colour(index),
            dashes=DASHES[index] or (),
            linewidth=1.8,
            label=f"{target.name} (n {len(values):,})",
        )
    if logarithmic:
        axis.set_xscale("log")
        _label_logarithmic(axis)
    else:
        axis.set_xlim(left=0)
    axis.set_ylim(0, 100)
    axis.set_xlabel(label)
    axis.set_ylabel("share (%)")
    _legend(axis)
    return _plot(name, title, description + _only(shown), figure)


def _label_logarithmic(axis: Axes) -> None:
    """Plain numbers along a logarithmic axis: at each power of ten, and between them as far as there is room."""
    low, high = axis.get_xlim()
    decades = math.log10(high / low)
    between = "23456789" if decades < 1 else "25" if decades < 3 else ""
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in between else "")


# A sweep

_LEVELS = {"met": ("o", "met the conditions"), "broken": ("X", "broke them"), "few": ("d", "too few streams")}
_UNJUDGED = ("s", "could not be judged")


def _knee(summary: Summary) -> Plot | None:
    """Goodput over the load, and below it what decided: the first condition on a metric, if there is one."""
    sweep = summary.sweep
    if sweep is None or not sweep.levels:
        return None
    levels = list(sweep.levels)
    decisive = [gate for gate in levels[0].gates if isinstance(gate.gate.limit, float)]
    figure = _figure(9.6, 5.4)
    above, below = figure.subplots(2, 1, sharex=True)
    loads = [level.load for level in levels]
    _draw_levels(above, loads, [level.good_per_s for level in levels], [level.verdict for level in levels])
    if sweep.sweep.unit == "rate":
        above.plot(loads, loads, color=MUTED, linewidth=1, dashes=(3, 3), label="all of them")
    above.set_ylabel("good streams/s")
    above.set_ylim(bottom=0)
    _legend(above)
    if decisive:
        gate = decisive[0].gate
        observed = [level.gates[0].observed for level in levels]
        seen = [value if isinstance(value, float) else math.nan for value in observed]
        _draw_levels(below, loads, seen, [level.verdict for level in levels])
        below.axhline(float(gate.limit or 0), color=INK, linewidth=1, dashes=(6, 3))
        unit = f" ({gate.unit})" if gate.unit == "ms" else ""
        below.set_ylabel(f"{gate.metric}{'' if gate.statistic is None else f'.{gate.statistic}'}{unit}")
        below.set_ylim(bottom=0)
    below.set_xlabel("streams/s that were due" if sweep.sweep.unit == "rate" else "users")
    for axis in (above, below):
        axis.set_xlim(left=0)
        if sweep.knee is not None:
            axis.axvline(sweep.knee.load, color=MUTED, linewidth=1)
    title = "Up to which load the conditions hold"
    limit = f" Below, {decisive[0].gate.expr.strip()}, the limit dashed." if decisive else ""
    return _plot(
        "knee", title, f"{sweep.sentence} One point a load: the streams a second that were good.{limit}", figure
    )


def _draw_levels(axis: Axes, loads: Sequence[float], values: Sequence[float], verdicts: Sequence[str]) -> None:
    axis.plot(loads, values, color=_colour(0), linewidth=1.2)
    for verdict in dict.fromkeys(verdicts):
        marker, label = _LEVELS.get(verdict, _UNJUDGED)
        chosen = [place for place, found in enumerate(verdicts) if found == verdict]
        xs, ys = [loads[place] for place in chosen], [values[place] for place in chosen]
        axis.plot(xs, ys, marker, color=_colour(0), markersize=6, label=label)


# Over the run


def _over_time(summary: Summary) -> Plot | None:
    start_ns = summary.header["start_ns"]
    shown = [(target, rows) for target in summary.targets.values() if len(rows := _with_text(target)) > 1]
    if not shown:
        return None
    figure = _figure(9.6, 3.4)
    axis = figure.subplots()
    markers = "osD^vPX*"
    for index, (target, rows) in enumerate(shown[: len(SERIES)]):
        picked = _sample(rows, MAX_POINTS // len(shown))
        axis.plot(
            [(target.streams.intended_ns[row] - start_ns) / NS_PER_S for row in picked],
            target.streams.figure("ttfc")[picked],
            linestyle="none",
            marker=markers[index],
            markersize=3,
            markeredgewidth=0,
            alpha=0.7,
            color=_colour(index),
            label=target.name,
        )
    failed = [
        (target.streams.intended_ns[row] - start_ns) / NS_PER_S
        for target in summary.targets.values()
        for row in target.streams.rows([Outcome.FAILED])
    ]
    if failed:
        axis.plot(_sample(failed, MAX_POINTS), [0] * min(len(failed), MAX_POINTS), "x", color=INK, label="failed")
    axis.set_xlim(left=0)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("time in the run (s)")
    axis.set_ylabel("time to first chunk (ms)")
    _legend(axis)
    middle = statistics.median(np.concatenate([target.streams.figure("ttfc")[rows] for target, rows in shown]))
    return _plot(
        "over-time",
        "Time to first text over the course of the run",
        f"One point per stream, at the moment it was due; the median of all is {middle:,.0f} ms." + _only(shown),
        figure,
    )
