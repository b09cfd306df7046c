"""The live display of a run, on standard error: a table on a terminal, one plain line every few seconds elsewhere."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from streambench.clock import Clock, MonotonicClock
from streambench.load.progress import Progress, TargetProgress
from streambench.quantile import quantile
from streambench.units import NS_PER_S

if TYPE_CHECKING:
    from rich.text import Text

REFRESH_S = 0.25
LINE_S = 5.0
NOTHING = "–"
GUTTER = 2
MIN_NAME = 12


@dataclass(frozen=True, slots=True)
class Column:
    """A figure of each target. A narrow terminal drops the columns with the highest `rank` first."""

    heading: str
    rank: int
    show: Callable[[TargetProgress, float], str]
    alarming: bool = False


COLUMNS = (
    Column("active", 3, lambda target, _: f"{target.active:,}"),
    Column("done", 0, lambda target, _: f"{target.completed:,}"),
    Column("failed", 1, lambda target, _: f"{target.failed:,}", alarming=True),
    Column("violations", 2, lambda target, _: f"{target.violations:,}", alarming=True),
    Column("rate/s", 6, lambda target, elapsed_s: f"{target.started / elapsed_s:.1f}" if elapsed_s > 0 else NOTHING),
    Column("ttfc p50 ms", 4, lambda target, _: _quantile(target.ttfc_ms, 0.5)),
    Column("ttfc p95 ms", 5, lambda target, _: _quantile(target.ttfc_ms, 0.95)),
    Column("gap p50 ms", 7, lambda target, _: _quantile(target.gap_ms, 0.5, digits=1)),
)


async def show_progress(progress: Progress, name: str) -> None:
    """Show the run called `name` until cancelled."""
    if sys.stderr.isatty():
        await _show_live(progress, name)
    else:
        await _show_lines(progress, name)


async def _show_live(progress: Progress, name: str) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    table = live_table(progress, name, console.width)
    with Live(table, console=console, auto_refresh=False, transient=True) as live:
        while True:
            await asyncio.sleep(REFRESH_S)
            live.update(live_table(progress, name, console.width), refresh=True)


async def _show_lines(progress: Progress, name: str) -> None:
    while True:
        await asyncio.sleep(LINE_S)
        click.echo(progress_line(progress, name), err=True)


def progress_line(progress: Progress, name: str, clock: Clock | None = None) -> str:
    """The whole run in one line."""
    targets = progress.targets.values()
    done = sum(target.completed + target.failed for target in targets)
    failed = sum(target.failed for target in targets)
    active = sum(target.active for target in targets)
    ttfc = [value for target in targets for value in target.ttfc_ms]
    p50 = f", ttfc p50 {_quantile(ttfc, 0.5)} ms" if ttfc else ""
    now_ns = (clock or MonotonicClock()).now_ns()
    return (
        f"{name}  {_elapsed(progress, now_ns)}  {done} streams done, {active} active, {failed} failed{p50}"
        f"{_left(progress, now_ns)}"
    )


def live_table(progress: Progress, name: str, width: int, clock: Clock | None = None) -> Text:
    """The run as a table of at most `width` characters, one row a target."""
    from rich.text import Text

    now_ns = (clock or MonotonicClock()).now_ns()
    elapsed_s = (now_ns - progress.started_ns) / NS_PER_S if progress.started_ns else 0.0
    targets = progress.targets.values()
    cells = {column: [column.heading, *(column.show(target, elapsed_s) for target in targets)] for column in COLUMNS}
    widths = {column: max(map(len, shown)) for column, shown in cells.items()}
    longest = max(len("target"), *map(len, progress.targets))
    shown = _fitting(widths, width - min(MIN_NAME, longest))
    name_width = min(longest, width - sum(GUTTER + widths[column] for column in shown))
    title = f"{name}  {_elapsed(progress, now_ns)}{_left(progress, now_ns)}  {progress.stage}"
    table = Text(_cut(title, width), style="bold", no_wrap=True, overflow="crop", end="")
    for row, target_name in enumerate(["target", *progress.targets]):
        table.append(f"\n{_cut(target_name, name_width):<{name_width}}", style="bold" if row == 0 else "not bold")
        for column in shown:
            cell = cells[column][row]
            alarming = row > 0 and column.alarming and cell != "0"
            style = "bold" if row == 0 else "not bold red" if alarming else "not bold"
            table.append(f"{'':{GUTTER}}{cell:>{widths[column]}}", style=style)
    return table


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"


def _fitting(widths: dict[Column, int], room: int) -> list[Column]:
    """The columns that fit into `room` characters, the most important ones, in their order."""
    chosen: set[Column] = set()
    for column in sorted(widths, key=lambda column: column.rank):
        room -= GUTTER + widths[column]
        if room < 0:
            break
        chosen.add(column)
    return [column for column in widths if column in chosen]


def _quantile(values: Iterable[float], q: float, digits: int = 0) -> str:
    ascending = sorted(values)
    return f"{quantile(ascending, q):,.{digits}f}" if ascending else NOTHING


def _elapsed(progress: Progress, now_ns: int) -> str:
    if not progress.started_ns:
        return "starting"
    return f"{(now_ns - progress.started_ns) / NS_PER_S:.0f} s"


def _left(progress: Progress, now_ns: int) -> str:
    if progress.ends_ns is None:
        return ""
    left_s = (progress.ends_ns - now_ns) / NS_PER_S
    return f", {left_s:.0f} s left" if left_s > 0 else ", draining"
