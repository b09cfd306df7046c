"""What the machine may refuse or end: places to write, room, descriptors, one folder for two runs, signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from desk import Jobs

from streambench.load.book import new_folder

SCENARIO = """\
name: here
serve: {openai: {profile: {name: fixed, ttft_ms: 1, gap_ms: 1}}}
target: {dialect: openai-chat, url: "${serve.openai}/v1/chat/completions"}
prompts: {tokens: 5}
load: {users: 2, streams: 40}
"""
SLOW = SCENARIO.replace("tokens: 5", "tokens: 100").replace("gap_ms: 1", "gap_ms: 10")
RUN = (sys.executable, "-m", "streambench", "run", "here.yaml", "--no-plots", "-o", "out")
MOMENTS = 24
ENDED = (0, 1, 3, 4, 130)
SECONDS = 120


def test_two_runs_never_have_one_folder(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as threads:
        folders = list(threads.map(lambda _: new_folder(tmp_path / "name"), range(64)))
    assert len(set(folders)) == 64
    assert all(folder.is_dir() for folder in folders)


@pytest.mark.parametrize("output", ["/dev/null", "/dev/null/x", "/proc/nowhere", "file"])
def test_a_place_that_cannot_be_written_is_the_users_mistake(jobs: Jobs, tmp_path: Path, output: str) -> None:
    (tmp_path / "here.yaml").write_text(SCENARIO)
    (tmp_path / "file").write_text("")
    done = jobs.run("run", "here.yaml", "-q", "-o", output, cwd=tmp_path)
    assert (done.code, done.is_bug) == (2, False), done.err
    assert output.partition("/x")[0] in done.err


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_full_disk_is_no_bug_and_what_was_written_stays(jobs: Jobs, tmp_path: Path, workers: str) -> None:
    (tmp_path / "here.yaml").write_text(SCENARIO)
    options = ("-q", "--no-plots", "--workers", workers, "-o", "out")
    done = jobs.run("run", "here.yaml", *options, cwd=tmp_path, file_bytes=20_000)
    assert (done.code, done.is_bug) == (2, False), done.err
    (records,) = tmp_path.glob("out/here/*-*/records.jsonl")
    assert str(records.parent.relative_to(tmp_path)) in done.err
    assert json.loads(records.read_bytes().splitlines()[0])["kind"] == "header"


@contextmanager
def disk(folder: Path, options: str) -> Iterator[None]:
    """A file system of its own at a folder; only root may have one."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_disk_that_fills_up_is_no_bug_and_what_was_written_stays(jobs: Jobs, tmp_path: Path) -> None:
    (tmp_path / "here.yaml").write_text(SCENARIO)
    with disk(tmp_path / "out", "size=32k"):
        done = jobs.run("run", "here.yaml", "-q", "--no-plots", "-o", "out", cwd=tmp_path)
        assert (done.code, done.is_bug) == (2, False), done.err
        (records,) = tmp_path.glob("out/here/*-*/records.jsonl")
        assert str(records.parent.relative_to(tmp_path)) in done.err
        assert json.loads(records.read_bytes().splitlines()[0])["kind"] == "header"


def test_a_disk_that_cannot_be_written_is_the_users_mistake(jobs: Jobs, tmp_path: Path) -> None:
    (tmp_path / "here.yaml").write_text(SCENARIO)
    with disk(tmp_path / "out", "ro"):
        done = jobs.run("run", "here.yaml", "-q", "-o", "out", cwd=tmp_path)
    assert (done.code, done.is_bug) == (2, False), done.err
    assert "out" in done.err


def test_too_few_descriptors_are_told_before_the_first_stream(jobs: Jobs, tmp_path: Path) -> None:
    (tmp_path / "here.yaml").write_text(SCENARIO.replace("users: 2, streams: 40", "users: 200, streams: 400"))
    done = jobs.run("run", "here.yaml", "-q", "-o", "out", cwd=tmp_path, descriptors=64)
    assert (done.code, done.is_bug) == (2, False), done.err
    assert "ulimit -Hn" in done.err
    assert not list(tmp_path.glob("out/here/*-*/records.jsonl"))


def members(group: int) -> list[str]:
    """The processes of a process group that have not ended."""
    shown = subprocess.run(["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    return [line for line in shown.splitlines() if line.split()[0] == str(group) and line.split()[1][0] != "Z"]


def gone(group: int) -> bool:
    """Whether all of a process group's processes end, given time."""
    until = time.monotonic() + SECONDS
    while members(group) and time.monotonic() < until:
        time.sleep(0.1)
    return not members(group)


def test_ctrl_c_is_right_at_any_moment(tmp_path: Path) -> None:
    begun = time.monotonic()
    interrupted(tmp_path, SECONDS)
    whole_s = time.monotonic() - begun
    with ThreadPoolExecutor(4) as threads:
        moments = [2 * whole_s * number / MOMENTS for number in range(MOMENTS)]
        codes = list(threads.map(lambda after_s: interrupted(tmp_path, after_s), moments))
    assert 130 in codes


def interrupted(folder: Path, after_s: float) -> int:
    """A run that Ctrl-C meets after so many seconds: its exit code, once all that it left is good."""
    here = folder / f"{after_s:.3f}"
    here.mkdir()
    (here / "here.yaml").write_text(SCENARIO)
    process = subprocess.Popen(
        RUN, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=SECONDS)
    code = 130 if process.returncode == -signal.SIGINT else process.returncode
    assert code in ENDED, (after_s, code, err)
    # Python answers itself until it comes to our first line, which imports `signal`.
    ours = [line for line in err.splitlines() if "/streambench/" in line and "__main__" not in line]
    assert not ours, (after_s, err)
    records = list(here.glob("out/here/*-*/records.jsonl"))
    if records:
        lines = [json.loads(line) for line in records[0].read_bytes().splitlines()]
        assert not lines or lines[0]["kind"] == "header"
        streams = sum(line["kind"] == "stream" for line in lines)
        assert code != 130 or not streams or str(records[0].parent.relative_to(here)) in out + err, (after_s, out, err)
    assert gone(process.pid), (after_s, members(process.pid))
    return code


def told(records: Path) -> tuple[int, int]:
    """Of a run that goes on, how many streams its file says have begun, and how many it holds."""
    lines = [json.loads(line) for line in records.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    begun = [line["streams"] for line in lines if line["kind"] == "begun"]
    return (begun[-1] if begun else 0), sum(line["kind"] == "stream" for line in lines)


def test_of_a_killed_run_the_finished_streams_stay(jobs: Jobs, tmp_path: Path) -> None:
    (tmp_path / "here.yaml").write_text(SLOW)
    process = subprocess.Popen(
        RUN, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        time.sleep(0.05)
        # Held still while its file is read: it must be killed with two streams open, and must have said so.
        os.kill(process.pid, signal.SIGSTOP)
        found = list(tmp_path.glob("out/here/*-*/records.jsonl"))
        begun, finished = told(found[0]) if found else (0, 0)
        if finished >= 2 and begun - finished == 2:
            break
        os.kill(process.pid, signal.SIGCONT)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(SECONDS)
    assert gone(process.pid), members(process.pid)
    (records,) = tmp_path.glob("out/here/*-*/records.jsonl")
    done = jobs.run("report", str(records.parent), cwd=tmp_path)
    assert (done.code, done.is_bug) == (130, False), done.err
    assert f"{finished} streams on 1 target" in done.out
    assert "while 2 streams were open" in done.out
