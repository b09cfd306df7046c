"""The live display: which columns fit, what the plain line says, and the table on a real terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from streambench.cli.progress import COLUMNS, live_table, progress_line
from streambench.clock import FakeClock
from streambench.load.progress import Progress, TargetProgress

from .conftest import Terminal

S = 1_000_000_000


def progress() -> Progress:
    real = TargetProgress(active=20, started=1_260, completed=1_234, failed=6, violations=3)
    real.ttfc_ms.extend(range(1, 101))
    real.gap_ms.extend([10.0, 20.0, 31.25])
    return Progress(
        {"real": real, "a-target-with-a-long-name": TargetProgress()},
        stage="20 users, 60 s",
        started_ns=10 * S,
        ends_ns=70 * S,
    )


def drawn(columns: int) -> list[str]:
    console = Console(file=io.StringIO(), width=columns, color_system=None)
    console.print(live_table(progress(), "chat", columns, FakeClock(30 * S)))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue().rstrip("\n").split("\n")


def test_the_whole_table() -> None:
    assert drawn(140) == [
        "chat  20 s, 40 s left  20 users, 60 s",
        "target                     active   done  failed  violations  rate/s  ttfc p50 ms  ttfc p95 ms  gap p50 ms",
        "real                           20  1,234       6           3    63.0           50           95        20.0",
        "a-target-with-a-long-name       0      0       0           0     0.0            –            –           –",
    ]


@pytest.mark.parametrize("columns", range(40, 160, 4))
def test_no_width_breaks_a_word(columns: int) -> None:
    lines = drawn(columns)
    headings = next(line for line in lines if line.startswith("target"))
    table = lines[lines.index(headings) :]
    assert len(table) == 3  # nothing is wrapped
    assert all(len(line) <= columns for line in lines)
    rest = headings.removeprefix("target")
    for column in COLUMNS:
        rest = rest.replace(column.heading, "", 1)
    assert rest.strip() == ""  # no heading is cut
    assert "…" not in headings


def test_what_matters_most_stays() -> None:
    assert drawn(50)[-3].split() == ["target", "active", "done", "failed", "violations"]
    assert "ttfc p50 ms" in drawn(60)[-3]
    assert drawn(60)[-1].startswith("a-target-wi…")


def test_the_plain_line() -> None:
    assert progress_line(progress(), "chat", FakeClock(30 * S)) == (
        "chat  20 s  1240 streams done, 20 active, 6 failed, ttfc p50 50 ms, 40 s left"
    )
    assert progress_line(progress(), "chat", FakeClock(71 * S)).endswith(", draining")
    begun = Progress({"t": TargetProgress()})
    assert progress_line(begun, "chat", FakeClock()) == "chat  starting  0 streams done, 0 active, 0 failed"


def test_the_table_lives_on_a_terminal_and_leaves_no_trace(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "name: live\nserve: {openai: {profile: {name: fixed, ttft_ms: 150, gap_ms: 5}, tokens: 10}}\n"
        'target: {dialect: openai-chat, url: "${serve.openai}/v1/chat/completions"}\n'
        "load: {users: 2, duration: 1500ms}\n"
    )
    shown = terminal("run", "s.yaml", "--no-plots", columns=80, stream="stderr")
    assert shown.exit_code == 0, shown.other
    tables = [line for line in shown.lines if line.lstrip().startswith("target ")]
    assert tables
    assert all("violations" in table for table in tables)
    assert any("2 users, 1.5 s" in line for line in shown.lines)
    assert any(line.startswith("openai-chat") for line in shown.lines)
    assert shown.raw.rstrip().endswith(("\x1b[2K", "\x1b[?25h"))  # cleared: the verdict is all that stays
    assert "live" in shown.other.splitlines()[0]
