"""`report.html`: one file that needs no network, no script, and no second look to find the verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from streambench.analysis.metrics import metrics_with
from streambench.analysis.suites import FOLDER as CONFORMANCE
from streambench.analysis.summary import Summary
from streambench.analysis.tally import RuleCount
from streambench.analysis.target import TargetSummary
from streambench.report.plots import Plot, draw_plots
from streambench.report.style import css_variables
from streambench.report.wording import (
    CLAIM_HEADING,
    MILESTONE_HEADING,
    SWEEP_HEADING,
    bare,
    check_command,
    claim_row,
    figure,
    findings_in_words,
    gate_title,
    headline,
    interval,
    metric_heading,
    milestone_rows,
    plural,
    suite_counts,
    sweep_rows,
    transcript_of,
    verdict_matrix,
)

USUAL = ("started", "completed", "failed")
RARE = ("dropped", "censored", "left")


def write(summary: Summary, folder: Path, *, plots: bool) -> Path:
    """Write `report.html`, and with `plots` each picture as a file of its own in `plots/`."""
    pictures = draw_plots(summary) if plots else []
    if pictures:
        (folder / "plots").mkdir(exist_ok=True)
    for picture in pictures:
        (folder / "plots" / f"{picture.name}.svg").write_text(picture.standalone(), "utf-8")
    path = folder / "report.html"
    path.write_text(render_html(summary, pictures), "utf-8")
    return path


def render_html(summary: Summary, plots: Sequence[Plot]) -> str:
    """The page. Everything that came from a server or a scenario is escaped by the template."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup, escape

    def marked(text: str) -> Markup:
        """Text whose parts in backticks are code."""
        parts = text.split("`")
        if len(parts) % 2 == 0:
            return escape(text)
        return Markup().join(
            Markup("<code>{}</code>").format(part) if place % 2 else escape(part) for place, part in enumerate(parts)
        )

    environment = Environment(
        loader=PackageLoader("streambench.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report.html.j2")
    several = len(summary.targets) > 1
    return template.render(
        summary=summary,
        header=summary.header,
        verdict=summary.verdict,
        headline=headline(summary),
        findings=findings_in_words(summary),
        plots=[(plot, Markup(plot.svg)) for plot in plots],  # noqa: S704 - drawn by us, its texts escaped by matplotlib
        colours=Markup(css_variables()),  # noqa: S704 - constants
        gates=[(gate, gate_title(gate, several=several)) for gate in summary.gates],
        marked=marked,
        outcomes=_outcomes(summary),
        figure=figure,
        interval=interval,
        plural=plural,
        metrics=_metric_rows(summary),
        milestones=milestone_rows(summary),
        milestone_heading=MILESTONE_HEADING,
        violations=_rules(summary, lambda target: target.broken),
        accepted=_rules(summary, lambda target: target.accepted),
        ignored=_rules(summary, lambda target: target.ignored),
        notes=_rules(summary, lambda target: target.notes),
        errors=[
            (target.name, error, count, target.error_examples.get(error, ""))
            for target in summary.targets.values()
            for error, count in target.errors.items()
        ],
        claims=[claim_row(claim) for claim in summary.claims],
        claim_heading=CLAIM_HEADING,
        look_at=lambda rule: (
            check_command(summary, path) if (path := transcript_of(summary, rule.example_stream)) is not None else None
        ),
        suites=[(suite, suite_counts(suite)) for suite in summary.suites],
        sweep=summary.sweep,
        sweep_heading=SWEEP_HEADING,
        sweep_rows=[] if summary.sweep is None else sweep_rows(summary.sweep),
        suite_page=f"{CONFORMANCE}/report.html",
        several=several,
        matrix=verdict_matrix(summary),
    )


def _outcomes(summary: Summary) -> list[str]:
    """The columns that count streams: the usual outcomes, and the others where a stream had them."""
    targets = summary.targets.values()
    return [*USUAL, *(name for name in RARE if any(target.counts[name] for target in targets))]


def _rules(summary: Summary, choose: Callable[[TargetSummary], Sequence[RuleCount]]) -> list[tuple[str, RuleCount]]:
    """Some of the rules of every target, with its name."""
    return [(target.name, rule) for target in summary.targets.values() for rule in choose(target)]


def _metric_rows(summary: Summary) -> list[tuple[str, str, list[tuple[str, ...]]]]:
    """Per metric: its heading, its description, and a row of cells for each target that has values."""
    out: list[tuple[str, str, list[tuple[str, ...]]]] = []
    metrics = {
        name: metric for target in summary.targets.values() for name, metric in metrics_with(target.milestones).items()
    }
    for name, metric in metrics.items():
        rows: list[tuple[str, ...]] = []
        for target in summary.targets.values():
            values = target.distributions.get(name)
            if values is None or not len(values):
                continue
            cells: list[Any] = [target.name, f"{len(values):,}"]
            cells += [bare(values.quantile(q), metric.unit) for q in (0.5, 0.9, 0.95, 0.99)]
            cells.append(bare(float(values.values[-1]), metric.unit))
            ci = values.interval(0.95)
            cells.append("–" if ci is None else f"{bare(ci[0], metric.unit)} to {bare(ci[1], metric.unit)}")
            cells.append(bare(values.own_share(0.95), metric.unit))
            cells.append(bare(values.adjusted(0.95), metric.unit))
            rows.append(tuple(cells))
        if rows:
            out.append((metric_heading(name, metric.unit), metric.description, rows))
    return out
