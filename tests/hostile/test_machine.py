"""What the machine may refuse: places to write, room on the disk, one folder for two runs."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
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
