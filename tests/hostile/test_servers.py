"""Hostile servers, over every transport that can carry them: each stream ends as it should, soon and in little memory.

Many of a transport are met in one run, so that none can hide behind another one's silence: what one sends must not keep
the streams of the others from ending as they should. `benchmarks/hostile.py` meets each of them alone. Then each is
met by `probe`, whose capture `check` reads, and by the user that waits, as Locust's do.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic_ns

import pytest
from corpus import CASES, FLOOD, Case
from desk import TIMEOUTS, Done, Jobs, Servers, endings, name_of

from streambench.dialects import load_dialect
from streambench.drivers.blocking_user import BlockingHttpUser
from streambench.drivers.failures import SetupError
from streambench.drivers.target import TargetSpec
from streambench.load.loading import load_scenario
from streambench.record.model import StreamRecord
from streambench.record.recorder import Recorder
from streambench.transport.target import Endpoint, Timeouts
from streambench.units import NS_PER_S
from streambench.wire.limits import WireLimits

pytestmark = pytest.mark.hostile

MEBIBYTES = 250  # of a whole command that meets all at once, the interpreter included
SECONDS = 100.0
# Small, so that a flood is one soon, however slow the machine is that sends it.
LIMITS = {"events_per_s": 200, "lines_per_s": 1000, "frames_per_s": 200, "control_per_s": 20, "polls_per_s": 10}
PATIENT = {"connect": "10s", "first_chunk": "10s", "idle": "10s", "total": "12s"}
TRANSPORTS = sorted({case.transport for case in CASES.values()})
AT_ONCE = 14
HEALTHY = 10  # targets of two streams each
GROUPS = {
    f"{transport} {start}": chosen[start : start + AT_ONCE]
    for transport in TRANSPORTS
    if transport != "raw-tls"
    for chosen in [[case for case in CASES.values() if case.transport == transport]]
    for start in range(0, len(chosen), AT_ONCE)
}
# Passed, failed a gate, broke its protocol, is not valid (so many at once are more than a machine may take in time).
ENDED = (0, 1, 3, 4, 5)
PROBED = (0, 1, 3, 5)
CHECKED = (0, 2, 3)  # also that there is nothing to read


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
    assert_clean(done)


@pytest.mark.parametrize("name", ["tls+sse/empty-data", "h1+sse/bomb-of-events", "ws/tiny-messages", "h2/pings"])
def test_healthy_streams_beside_a_flood_are_whole(jobs: Jobs, servers: Servers, tmp_path: Path, name: str) -> None:
    healthy = {"dialect": "openai-chat", "url": "${serve.openai}/v1/chat/completions"}
    scenario = servers.scenario(
        tmp_path,
        CASES[name],
        serve={"openai": {"profile": {"name": "fixed", "ttft_ms": 20, "gap_ms": 10}}},
        prompts={"tokens": 50},
        more_targets={f"healthy{number}": healthy for number in range(HEALTHY)},
        timeouts={"connect": "60s", "first_chunk": "60s", "idle": "60s", "total": "60s"},
    )
    done = jobs.run("run", str(scenario), "-q", "--no-plots", "-o", "out", cwd=tmp_path, seconds=SECONDS)
    assert not done.is_bug, done.err[-3000:]
    (records,) = tmp_path.glob("out/hostile/*-*/records.jsonl")
    ended = endings(records)
    assert set(ended.pop(name_of(CASES[name]))) <= set(FLOOD)
    assert ended == {f"healthy{number}": ["completed"] * 2 for number in range(HEALTHY)}


def test_the_summary_and_its_gates_count_every_violation(jobs: Jobs, servers: Servers, tmp_path: Path) -> None:
    case = CASES["h1+sse/thousands-of-broken-events"]
    gates = ["violations <= 9999", "violations > 9999"]
    scenario = servers.scenario(
        tmp_path,
        case,
        timeouts=PATIENT,
        gates=gates,
        load={"users": 1, "streams": 2},
    )
    done = jobs.run("run", str(scenario), "-q", "--no-plots", "-o", "out", cwd=tmp_path, seconds=SECONDS)
    assert not done.is_bug, done.err[-3000:]
    (written,) = tmp_path.glob("out/hostile/*-*/summary.json")
    summary = json.loads(written.read_text())
    assert summary["targets"][name_of(case)]["violations"]["count"] >= 10_000  # an order that cannot be is one more
    judged = {gate["expr"]: gate["result"] for gate in summary["gates"] if gate["expr"] in gates}
    assert judged == dict(zip(gates, ["failed", "passed"], strict=True))


def assert_clean(done: Done) -> None:
    assert not {character for character in done.out + done.err if character in "\x1b\x07\u202e"}


@pytest.mark.parametrize(
    "case", [case for case in CASES.values() if case.transport == "raw-tls"], ids=lambda case: case.id
)
def test_what_is_no_tls_is_unreachable(jobs: Jobs, servers: Servers, tmp_path: Path, case: object) -> None:
    scenario = servers.scenario(tmp_path, case)  # type: ignore[arg-type]
    done = jobs.run("run", str(scenario), "-q", "--no-plots", "-o", "out", cwd=tmp_path)
    assert (done.code, list(tmp_path.glob("out/*/*/records.jsonl"))) == (5, []), done.err


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_probe_and_check_end_soon_and_say_it_cleanly(
    jobs: Jobs, servers: Servers, tmp_path: Path, transport: str
) -> None:
    for case in (case for case in CASES.values() if case.transport == transport):
        target = servers.target(case)
        settings = {f"timeouts.{name}": value for name, value in TIMEOUTS.items()}
        settings |= {f"limits.{name}": str(value) for name, value in LIMITS.items()}
        settings |= {f"target.{key}": json.dumps(target[key]) for key in ("tls", "http", "setup") if key in target}
        options = [item for setting in settings.items() for item in ("--set", "=".join(setting))]
        options += [item for name, value in case.hostile.asks for item in ("-H", f"{name}: {value}")]
        kept = tmp_path / name_of(case)
        done = jobs.run(
            *("probe", target["url"], "-d", target["dialect"], "--save", str(kept), *options),
            cwd=tmp_path,
            seconds=60.0,
        )
        assert (done.is_bug, done.code in PROBED) == (False, True), (case.id, done.code, done.err[-3000:])
        assert done.mebibytes < MEBIBYTES, case.id
        assert_clean(done)
        if kept.exists():
            checked = jobs.run("check", str(kept), "-d", target["dialect"], cwd=tmp_path, seconds=60.0)
            assert (checked.is_bug, checked.code in CHECKED) == (False, True), (case.id, checked.code, checked.err)
            assert_clean(checked)


@pytest.mark.parametrize("transport", [name for name in TRANSPORTS if name in ("h1", "h1-again") or "+" in name])
def test_users_that_wait_see_the_same(servers: Servers, transport: str) -> None:
    if transport.startswith("h2"):
        pytest.skip("users that wait speak HTTP/1.1")

    def meet(case: Case) -> list[str]:
        target = servers.target(case)
        endpoint = Endpoint(
            target["url"],
            headers=case.hostile.asks,
            tls_verify=target.get("tls", {}).get("verify", True),
            timeouts=Timeouts(*(seconds * NS_PER_S for seconds in (10, 10, 10, 12))),
            limits=WireLimits(**{f"max_{name}": value for name, value in LIMITS.items()}),
        )
        dialect = load_dialect(target["dialect"])
        user = BlockingHttpUser(TargetSpec("t", dialect, endpoint, setup=()), {})
        ends = []
        for number in range(2):
            record = StreamRecord(f"s{number}", "t", dialect.name, monotonic_ns(), monotonic_ns())
            user.stream("hi", Recorder(record, dialect, keep_text=False))
            ends.append(record.error or str(record.outcome))
        user.close()
        return ends

    cases = [case for case in CASES.values() if case.transport == transport]
    with ThreadPoolExecutor(8) as threads:
        found = dict(zip(cases, threads.map(meet, cases), strict=True))
    wrong = {case.id: ends for case, ends in found.items() if not set(ends) <= set(case.hostile.ends)}
    assert not wrong


def test_the_setup_of_users_that_wait_ends_in_time_too(servers: Servers, tmp_path: Path) -> None:
    cases = {name_of(case): case for case in CASES.values() if case.transport == "setup"}
    timeouts = {"connect": "10s", "first_chunk": "10s", "idle": "10s", "total": "2s"}
    scenario = load_scenario(str(servers.scenario(tmp_path, *cases.values(), timeouts=timeouts)), environ={})

    def prepare(spec: TargetSpec) -> str:
        try:
            BlockingHttpUser(spec, {}).prepare()
        except SetupError as error:
            return error.error
        return "disconnect"  # it is with the next request that the server leaves

    with ThreadPoolExecutor(16) as threads:
        found = dict(zip(cases, threads.map(prepare, (target.spec for target in scenario.targets)), strict=True))
    assert {name: end for name, end in found.items() if end not in cases[name].hostile.ends} == {}
