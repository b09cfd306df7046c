"""Hostile files: each command ends with the right code and the place, and quotes nothing that it should not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from desk import Done, Jobs
from files import CAPTURES, DIALECTS, HARS, PROMPTS, RUN, SCENARIOS, TRACES, HostileFile, scenario

MEBIBYTES = 400  # a file may be held as a whole
CPU_S = 20.0


def run(jobs: Jobs, folder: Path, hostile: HostileFile) -> Done:
    path = folder / f"hostile{hostile.suffix}"
    if hostile.content is not None:
        content = hostile.content
        if isinstance(content, str):
            content = content.replace("{file}", str(path)).encode("utf-8", "surrogatepass")
        path.write_bytes(content)
    return jobs.run(*(argument.replace("{file}", str(path)) for argument in hostile.args), cwd=folder)


def judge(done: Done, hostile: HostileFile) -> None:
    said = done.out + done.err
    assert not done.is_bug, said[-2000:]
    assert done.code in hostile.codes, said[-2000:]
    assert hostile.says in said
    assert not hostile.secret or hostile.secret not in said
    assert not {character for character in said if character in "\x1b\x07\u202e"}
    assert done.mebibytes < MEBIBYTES
    assert done.cpu_s < CPU_S


@pytest.mark.parametrize("hostile", SCENARIOS, ids=lambda hostile: hostile.name)
def test_scenario(jobs: Jobs, tmp_path: Path, hostile: HostileFile) -> None:
    judge(run(jobs, tmp_path, hostile), hostile)


@pytest.mark.parametrize(
    ("key", "hostile"),
    [*(("prompts", one) for one in PROMPTS), *(("load", one) for one in TRACES)],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_a_file_that_a_scenario_names(jobs: Jobs, tmp_path: Path, key: str, hostile: HostileFile) -> None:
    name = f"beside{hostile.suffix}"
    assert isinstance(hostile.content, str)
    (tmp_path / name).write_text(hostile.content)
    text = scenario(**{key: json.dumps({"file" if key == "prompts" else "trace": name})})
    judge(run(jobs, tmp_path, replace(hostile, args=RUN, content=text, suffix=".yaml")), hostile)


@pytest.mark.parametrize("hostile", DIALECTS, ids=lambda hostile: hostile.name)
def test_dialect(jobs: Jobs, tmp_path: Path, hostile: HostileFile) -> None:
    judge(run(jobs, tmp_path, hostile), hostile)


@pytest.mark.parametrize("hostile", CAPTURES, ids=lambda hostile: hostile.name)
def test_capture(jobs: Jobs, tmp_path: Path, hostile: HostileFile) -> None:
    judge(run(jobs, tmp_path, hostile), hostile)


@pytest.mark.parametrize("hostile", HARS, ids=lambda hostile: hostile.name)
def test_har(jobs: Jobs, tmp_path: Path, hostile: HostileFile) -> None:
    judge(run(jobs, tmp_path, hostile), hostile)
