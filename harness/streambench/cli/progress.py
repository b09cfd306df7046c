"""The live display of a run: a table on a terminal, one plain line every few seconds elsewhere; on standard error."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from streambench.clock import MonotonicClock
from streambench.load.progress import Progress, TargetProgress
from streambench.quantile import quantile
from streambench.units import NS_PER_S

if TYPE_CHECKING:
    from rich.table import Table

REFRESH_S = 0.25
LINE_S = 5.0

_clock = MonotonicClock()


async def show_progress(progress: Progress, name: str) -> None:
    """Show the run until cancelled."""
    if sys.stderr.isatty():
        await _show_live(progress, name)
    else:
        await _show_lines(progress, name)


async def _show_live(progress: Progress, name: str) -> None:
    from rich.console import Console
    from rich.live import Live

    with Live(live_table(progress, name), console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        while True:
            await asyncio.sleep(REFRESH_S)
            live.update(live_table(progress, name), refresh=True)


async def _show_lines(progress: Progress, name: str) -> None:
    while True:
        await asyncio.sleep(LINE_S)
        click.echo(progress_line(progress, name), err=True)


def progress_line(progress: Progress, name: str) -> str:
    """The whole run in one line."""
    targets = progress.targets.values()
    done = sum(target.completed + target.failed for target in targets)
    failed = sum(target.failed for target in targets)
    active = sum(target.active for target in targets)
    ttfc = [value for target in targets for value in target.ttfc_ms]
    p50 = f", ttfc p50 {quantile(sorted(ttfc), 0.5):,.0f} ms" if ttfc else ""
    return f"{name}  {_elapsed(progress)}  {done} streams done, {active} active, {failed} failed{p50}{_left(progress)}"


def live_table(progress: Progress, name: str) -> Table:
    """The run as a table, one row a target."""
    from rich.table import Table

    table = Table(
        title=f"{name}  {progress.stage}  {_elapsed(progress)}{_left(progress)}",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
    )
    table.add_column("target", no_wrap=True)
    for heading in ("active", "done", "failed", "broken", "rate/s", "ttfc p50 ms", "p95 ms", "gap ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    elapsed_s = (_clock.now_ns() - progress.started_ns) / NS_PER_S if progress.started_ns else 0.0
    for target_name, target in progress.targets.items():
        rate = target.started / elapsed_s if elapsed_s > 0 else 0.0
        failed = str(target.failed) if not target.failed else f"[red]{target.failed}[/red]"
        broken = str(target.violations) if not target.violations else f"[red]{target.violations}[/red]"
        table.add_row(
            target_name,
            str(target.active),
            str(target.completed),
            failed,
            broken,
            f"{rate:.1f}",
            _quantile(target, 0.5),
            _quantile(target, 0.95),
            f"{quantile(sorted(target.gap_ms), 0.5):,.1f}" if target.gap_ms else "–",
        )
    return table


def _quantile(target: TargetProgress, q: float) -> str:
    if not target.ttfc_ms:
        return "–"
    return f"{quantile(sorted(target.ttfc_ms), q):,.0f}"


def _elapsed(progress: Progress) -> str:
    if not progress.started_ns:
        return "starting"
    return f"{(_clock.now_ns() - progress.started_ns) / NS_PER_S:.0f} s"


def _left(progress: Progress) -> str:
    if progress.ends_ns is None:
        return ""
    left_s = (progress.ends_ns - _clock.now_ns()) / NS_PER_S
    return f", {left_s:.0f} s left" if left_s > 0 else ", draining"
