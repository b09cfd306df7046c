"""`streambench check` on a capture that `curl -N` made of the reference server, and on what a bad server would send."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import programs


def check(capture: bytes, *options: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    (cwd / "capture.sse").write_bytes(capture)
    return programs.run("streambench", "check", "capture.sse", *options, cwd=cwd)


@pytest.fixture
def capture(component: Callable[[str], str], shared_mock: Callable[..., object], tmp_path: Path) -> bytes:
    servers = shared_mock("--profile", "instant", "--tokens", "12")
    done = subprocess.run(
        [
            component("curl"),
            "-sN",
            "-H",
            "authorization: Bearer alice-token",
            "-H",
            "content-type: application/json",
            "-d",
            '{"message": "Hello"}',
            f"{servers.chat}/api/chat/stream",  # type: ignore[attr-defined]
        ],
        capture_output=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def blocks(capture: bytes) -> list[bytes]:
    return [block + b"\n\n" for block in capture.split(b"\n\n") if block]


def test_the_reference_servers_stream_passes(capture: bytes, tmp_path: Path) -> None:
    done = check(capture, "--dialect", "chat-stream", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("PASSED")


def test_every_break_is_named_with_event_offset_and_expectation(capture: bytes, tmp_path: Path) -> None:
    whole = blocks(capture)
    last = len(whole) - 1
    start = [sum(map(len, whole[:i])) for i in range(len(whole) + 1)]
    broken = {
        "done removed": (whole[:-1], None),
        "done doubled": ([*whole, whole[-1]], (last + 1, start[last + 1])),
        "reordered": ([*whole[:-2], whole[-1], whole[-2]], (last, start[last - 1] + len(whole[-1]))),
        "stray byte": ([whole[0], b"data: {\x7f" + whole[1][7:], *whole[2:]], (1, start[1])),
        "cut": ([*whole[:-1], whole[-1][:-3]], None),
    }
    for what, (changed, place) in broken.items():
        done = check(b"".join(changed), "--dialect", "chat-stream", cwd=tmp_path)
        assert done.returncode == 3, f"{what}: {done.stdout}{done.stderr}"
        assert "expected" in done.stdout or "nothing may follow" in done.stdout, what
        if place is not None:
            assert f"event {place[0] + 1}, byte {place[1]}" in done.stdout, f"{what}: {done.stdout}"


def test_the_decoded_events_are_json_lines(tmp_path: Path) -> None:
    done = check(
        b"id: 7\nevent: a\ndata: x\n\nretry: 10\ndata: y\n\ndata: cut", "--wire", "sse", "--events", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"type": "a", "data": "x", "last_event_id": "7", "offset": 0, "dispatched": True},
        {"type": "message", "data": "y", "last_event_id": "7", "offset": 24, "dispatched": True, "retry": 10},
        {"type": "message", "data": "cut", "last_event_id": "7", "offset": 43, "dispatched": False},
    ]


def test_standard_input_and_a_missing_file(tmp_path: Path) -> None:
    reply = 'data: {"content":"Hi"}\n\ndata: {"done":true}\n\n'
    piped = programs.run("streambench", "check", "-", "--dialect", "chat-stream", text=reply)
    assert piped.returncode == 0, piped.stdout + piped.stderr
    missing = programs.run("streambench", "check", "nowhere.sse", "--dialect", "chat-stream", cwd=tmp_path)
    assert missing.returncode == 2
    assert "nowhere.sse" in missing.stderr
