"""Hostile servers, over every transport that can carry them: each stream ends as it should, soon and in little memory.

Many of a transport are met in one run, so that none can hide behind another one's silence: what one sends must not keep
the streams of the others from ending as they should. `benchmarks/hostile.py` meets each of them alone.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus import CASES
from desk import Jobs, Servers, endings, name_of

pytestmark = pytest.mark.hostile

MEBIBYTES = 250  # of a whole command that meets all at once, the interpreter included
SECONDS = 100.0
# Small, so that a flood is one soon, however slow the machine is that sends it.
LIMITS = {"events_per_s": 200, "lines_per_s": 1000, "frames_per_s": 200, "control_per_s": 20, "polls_per_s": 10}
PATIENT = {"connect": "10s", "first_chunk": "10s", "idle": "10s", "total": "12s"}
TRANSPORTS = sorted({case.transport for case in CASES.values()})
AT_ONCE = 14
GROUPS = {
    f"{transport} {start}": chosen[start : start + AT_ONCE]
    for transport in TRANSPORTS
    if transport != "raw-tls"
    for chosen in [[case for case in CASES.values() if case.transport == transport]]
    for start in range(0, len(chosen), AT_ONCE)
}
# Passed, failed a gate, broke its protocol, is not valid (so many at once are more than a machine may take in time).
ENDED = (0, 1, 3, 4, 5)


@pytest.mark.parametrize("group", GROUPS)
def test_hostile_servers_get_what_they_deserve(jobs: Jobs, servers: Servers, tmp_path: Path, group: str) -> None:
    cases = GROUPS[group]
    scenario = servers.scenario(tmp_path, *cases, limits=LIMITS, timeouts=PATIENT)
    done = jobs.run("run", str(scenario), "-q", "--no-plots", "-o", "out", cwd=tmp_path, seconds=SECONDS)
    assert not done.is_bug, done.err[-3000:]
    assert done.code in ENDED, done.err or done.out
    (records,) = tmp_path.glob("out/hostile/*-*/records.jsonl")
    ended = endings(records)
    wrong = {}
    for case in cases:
        ends = ended.pop(name_of(case), [])
        if len(ends) != 2 or not set(ends) <= set(case.hostile.ends):
            wrong[case.id] = ends
    assert not wrong
    assert not ended
    assert done.mebibytes < MEBIBYTES
    assert not {character for character in done.out + done.err if character in "\x1b\x07\u202e"}


@pytest.mark.parametrize(
    "case", [case for case in CASES.values() if case.transport == "raw-tls"], ids=lambda case: case.id
)
def test_what_is_no_tls_is_unreachable(jobs: Jobs, servers: Servers, tmp_path: Path, case: object) -> None:
    scenario = servers.scenario(tmp_path, case)  # type: ignore[arg-type]
    done = jobs.run("run", str(scenario), "-q", "--no-plots", "-o", "out", cwd=tmp_path)
    assert (done.code, list(tmp_path.glob("out/*/*/records.jsonl"))) == (5, []), done.err
