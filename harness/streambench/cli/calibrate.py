"""`streambench calibrate`: how accurately this machine measures, at rising loads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from streambench.cli.output import json_text

if TYPE_CHECKING:
    from streambench.load.calibration.measuring import Level

LOADS = (10, 50, 100, 200, 500, 1000, 2000)


@click.command("calibrate")
@click.option(
    "--streams",
    "loads",
    type=click.IntRange(1, 10_000),
    multiple=True,
    metavar="N",
    help="Concurrent streams to try (repeatable).  [default: from 10 to 2,000]",
)
@click.option("--json", "as_json", is_flag=True, help="Print only the result on standard output, as JSON.")
@click.option("--no-save", is_flag=True, help="Do not save the result for later reports to quote.")
def command(loads: tuple[int, ...], as_json: bool, no_save: bool) -> None:
    """Measure this machine's accuracy under rising load.

    Each load runs for about two seconds against a small built-in server that logs when it wrote. Calibration stops at
    the first load whose figures are wrong.

    \b
    Example:
      streambench calibrate
      streambench calibrate --streams 300 --json
    """
    from streambench.load.calibration.measuring import calibrate
    from streambench.load.calibration.saved import place, save
    from streambench.transport.aio.polls import run_polled

    if not as_json:
        click.echo(_row("streams", "chunks/s", "first text off", "gap off", "own share", "core", ""))
    result: dict[str, Any] = run_polled(calibrate(sorted(loads) or LOADS, lambda level: _tell(level, quiet=as_json)))
    if as_json:
        click.echo(json_text(result, indent=2))
    else:
        click.echo(f"\ntimes in ms; {result['sentence']}")
    if not no_save:
        save(result, place())


def _tell(level: Level, *, quiet: bool) -> None:
    if quiet:
        return
    click.echo(
        _row(
            f"{level.streams:,}",
            f"{level.chunks_per_s:,}",
            f"{level.first_error_ms:.2f}",
            f"{level.gap_error_ms:.2f}",
            f"{level.own_share_ms:.2f}",
            "–" if level.cpu is None else f"{level.cpu:.0%}",
            "" if level.valid else "not valid",
        )
    )


def _row(*cells: str) -> str:
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, (7, 8, 14, 7, 9, 5, 9), strict=True)).rstrip()
