"""A target that freezes while visitors keep coming: each of them waits, and the figures show it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools import programs

SCENARIO = """\
name: frozen
target: {{dialect: openai-chat, url: "{url}/v1/chat/completions", upstream: none}}
load: {{rate: 25/s, duration: 6s}}
"""
FREEZE_NS = 2_000_000_000


def test_everybody_who_came_during_a_freeze_has_waited_for_its_end(
    tmp_path: Path, start_mock: Callable[..., Any]
) -> None:
    """Nobody's start is moved: `ttfc` counts from the moment that was planned, however late the answer."""
    server = start_mock("--no-chat", "--profile", '{"name": "fixed", "ttft_ms": 5, "gap_ms": 1}', "--tokens", "3")
    (tmp_path / "frozen.yaml").write_text(SCENARIO.format(url=server.openai))
    command = ("streambench", "run", "frozen.yaml", "--no-plots", "--json")
    run = programs.start(*command, cwd=tmp_path, stdout=subprocess.PIPE)
    records = tmp_path / "reports/frozen/latest/records.jsonl"
    while not records.exists() or records.read_text().count('"kind":"stream"') < 20:
        time.sleep(0.05)
    os.kill(server.pid, signal.SIGSTOP)
    frozen_ns = time.monotonic_ns()
    try:
        time.sleep(FREEZE_NS / 1e9)
    finally:
        thawed_ns = time.monotonic_ns()
        os.kill(server.pid, signal.SIGCONT)
    output, _ = run.communicate(timeout=60)
    streams = [line for line in map(json.loads, records.read_text().splitlines()) if line["kind"] == "stream"]
    due = [stream for stream in streams if frozen_ns <= stream["intended_ns"] < thawed_ns]
    assert len(streams) == 150
    assert len(due) in (49, 50, 51)  # the schedule went on
    for stream in due:
        events = stream["events"]
        (first, *_) = [at for at, chars in zip(events["at"], events["chars"], strict=True) if chars]
        assert stream["start_ns"] + first >= thawed_ns
    (target,) = json.loads(output)["targets"].values()
    ttfc = target["metrics"]["ttfc"]
    assert ttfc["n"] == 150
    assert ttfc["p99"] * 1e6 >= FREEZE_NS * 0.9  # a schedule that had waited would show a few streams
    assert ttfc["max"] * 1e6 >= (thawed_ns - min(stream["intended_ns"] for stream in due))
