"""Several processes on one port: to whoever asks they are one server, and it lives on when one of them dies."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

WORKERS = 3


@pytest.fixture(scope="module")
def crew(start_upstream: Callable[..., Any]) -> Any:
    """An upstream of three processes, with limits that nobody but the tests of limits runs into."""
    return start_upstream("--profile", "instant", "--tokens", "12", "--workers", str(WORKERS))


def ask(upstream: Any, prompt: str, *, key: str = "sk-test", stream: bool = True, tokens: int = 50) -> httpx.Response:
    """One request on a connection of its own: so it comes to the worker whose turn it is."""
    body = {"model": "gpt-4o", "stream": stream, "messages": [{"role": "user", "content": prompt}]}
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{upstream.base_url}/chat/completions", json={**body, "max_tokens": tokens}, headers=headers)


def member(prompt: str, name: object) -> str:
    return prompt.replace("]]", f".{name}]]")


def plan_of(prompt: str) -> str:
    return prompt.partition("[[sb:")[2].removesuffix("]]")


def journal(upstream: Any, **query: Any) -> Any:
    return httpx.get(f"{upstream.url}/_mock/journal", params=query).json()


def test_a_plan_is_known_to_all_before_it_is_confirmed(crew: Any) -> None:
    for number in range(2 * WORKERS):
        prompt = crew.plan(text=f"text number {number}")
        for _ in range(WORKERS):
            answer = ask(crew, prompt, stream=False).json()
            assert answer["choices"][0]["message"]["content"] == f"text number {number}"
    plan = plan_of(prompt)
    for _ in range(WORKERS):
        assert plan in httpx.get(f"{crew.url}/_mock/plans").json()["plans"]
    assert httpx.delete(f"{crew.url}/_mock/plans", params={"id": plan}).json() == {"deleted": 1}
    for _ in range(WORKERS):
        assert plan not in httpx.get(f"{crew.url}/_mock/plans").json()["plans"]
        assert ask(crew, prompt).status_code == 200
    served = [entry["plan"] for entry in journal(crew, id=plan)["entries"]]
    assert served[-WORKERS:] == [None] * WORKERS, "by the default"


def test_attempts_are_counted_over_all_workers(crew: Any) -> None:
    prompt = crew.plan(text="at last", attempts=[{"faults": [{"fault": "status", "status": 500}]}, {"text": "second"}])
    answers = [ask(crew, prompt, stream=False) for _ in range(4)]
    assert answers[0].status_code == 500
    texts = [answer.json()["choices"][0]["message"]["content"] for answer in answers[1:]]
    assert texts == ["second", "at last", "at last"]
    entries = journal(crew, id=plan_of(prompt))["entries"]
    assert [entry["attempt"] for entry in entries] == [1, 2, 3, 4]


async def test_replies_are_those_of_one_process(crew: Any, start_upstream: Callable[..., Any]) -> None:
    one = start_upstream("--profile", "instant", "--tokens", "12")
    plan = {"id": "same", "seed": 7, "tokens": 30, "faults": [{"fault": "lost-chunk", "at": {"probability": 0.2}}]}
    texts = []
    for upstream in (one, crew):
        prompt = upstream.plan(**plan)
        async with httpx.AsyncClient() as client:

            async def fetch(name: int, upstream: Any = upstream, prompt: str = prompt, client: Any = client) -> None:
                body = {"model": "gpt-4o", "messages": [{"role": "user", "content": member(prompt, name)}]}
                answer = await client.post(f"{upstream.base_url}/chat/completions", json={**body, "stream": True})
                assert answer.status_code == 200

            await asyncio.gather(*(fetch(number) for number in range(20)))
        entries = journal(upstream, plan="same")["entries"]
        texts.append({entry["mark"]: (entry["text"], entry["wrote"]) for entry in entries})
    assert texts[0] == texts[1]
    assert len({text for text, _ in texts[0].values()}) == 20


def test_the_journal_is_one_and_in_order(crew: Any) -> None:
    prompt = crew.plan(tokens=3)
    for number in range(10):
        ask(crew, member(prompt, number))
    found = journal(crew, plan=plan_of(prompt))
    entries = found["entries"]
    assert [entry["mark"].rpartition(".")[2] for entry in entries] == [str(number) for number in range(10)]
    assert [entry["ended"] for entry in entries] == ["complete"] * 10
    assert all(len(entry["chunks"]["written_ns"]) == 1 for entry in entries)
    assert found["next"] == entries[-1]["seq"] == max(entry["seq"] for entry in entries)
    page = journal(crew, plan=plan_of(prompt), since=entries[3]["seq"], limit=2)
    assert page["entries"] == entries[4:6]
    assert httpx.delete(f"{crew.url}/_mock/journal", params={"plan": plan_of(prompt)}).json() == {"deleted": True}
    for _ in range(WORKERS):
        assert journal(crew, plan=plan_of(prompt))["entries"] == []
    ask(crew, member(prompt, 0))
    assert [entry["attempt"] for entry in journal(crew, plan=plan_of(prompt))["entries"]] == [1]


def test_an_open_reply_is_shown_as_far_as_it_is(crew: Any) -> None:
    prompt = crew.plan(tokens=500, profile={"name": "fixed", "ttft_ms": 0, "gap_ms": 20})
    body = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": prompt}]}
    with httpx.stream("POST", f"{crew.base_url}/chat/completions", json=body) as stream:
        lines = (line for line in stream.iter_lines() if '"content":" ' in line)
        for count in (5, 10):
            for _ in range(5):
                next(lines)
            (entry,) = crew.entries(prompt)
            assert entry["ended"] == "open"
            assert len(entry["chunks"]["written_ns"]) >= count
            assert len(entry["text"].split()) == 500
    closed = crew.closed(prompt)
    assert closed["ended"] == "cancelled"
    assert closed["cancelled_ns"] is not None
    assert closed["text"] == entry["text"]


def test_the_live_journal_is_that_of_all(crew: Any) -> None:
    prompt = crew.plan(tokens=2)
    ask(crew, member(prompt, "before"))
    told = []
    with httpx.stream("GET", f"{crew.url}/_mock/journal/stream", params={"plan": plan_of(prompt)}) as changes:
        for line in changes.iter_lines():
            change = json.loads(line)
            if change["event"] == "ping":
                continue
            told.append((change["event"], change["entry"]["mark"].rpartition(".")[2]))
            if told == [("closed", "before")]:
                for number in range(WORKERS):
                    ask(crew, member(prompt, number))
            if len(told) == 1 + 2 * WORKERS:
                break
    assert told[1:] == [(event, str(number)) for number in range(WORKERS) for event in ("opened", "closed")]


def test_limits_hold_over_all_workers(start_upstream: Callable[..., Any]) -> None:
    limits = ("--limit-requests", "5", "--limit-window", "3600")
    upstream = start_upstream("--profile", "instant", "--workers", "2", *limits)
    statuses = [ask(upstream, "hi", key="one").status_code for _ in range(8)]
    assert statuses == [200] * 5 + [429] * 3
    assert ask(upstream, "hi", key="other").status_code == 200
    prompt = upstream.plan(faults=[{"fault": "quota", "requests": 2, "window_ms": 3_600_000}])
    assert [ask(upstream, prompt, key=f"k{number}").status_code for number in range(4)] == [200, 200, 429, 429]


async def test_slots_are_those_of_all_workers(crew: Any) -> None:
    prompt = crew.plan(tokens=4, profile={"name": "slots", "slots": 2, "pool": "crew", "ttft_ms": 5, "gap_ms": 1})
    async with httpx.AsyncClient(timeout=20) as client:

        async def fetch(number: int) -> None:
            body = {"model": "gpt-4o", "messages": [{"role": "user", "content": member(prompt, number)}]}
            (await client.post(f"{crew.base_url}/chat/completions", json={**body, "stream": True})).raise_for_status()

        await asyncio.gather(*(fetch(number) for number in range(8)))
    entries = journal(crew, plan=plan_of(prompt))["entries"]
    firsts = sorted(entry["chunks"]["written_ns"][0] for entry in entries)
    ends = sorted(entry["ended_ns"] for entry in entries)
    assert all(first > end for first, end in zip(firsts[2:], ends, strict=False)), "never more than two at a time"


def test_metrics_add_up(crew: Any) -> None:
    def ended() -> float:
        text = httpx.get(f"{crew.url}/_mock/metrics").text
        wanted = 'mock_openai_requests_total{route="/v1/chat/completions",status="200",ended="complete"}'
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(wanted))

    before = ended()
    for _ in range(2 * WORKERS):
        ask(crew, "count me")
    assert ended() == before + 2 * WORKERS


def test_each_worker_has_an_even_share(crew: Any) -> None:
    health = httpx.get(f"{crew.url}/_mock/health").json()
    assert [worker["status"] for worker in health["workers"]] == ["ok"] * WORKERS
    prompt = crew.plan(tokens=500, profile={"name": "fixed", "ttft_ms": 0, "gap_ms": 20})
    body = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": prompt}]}
    streams = [httpx.Client() for _ in range(3 * WORKERS)]
    try:
        for client in streams:
            client.send(client.build_request("POST", f"{crew.base_url}/chat/completions", json=body), stream=True)
        health = httpx.get(f"{crew.url}/_mock/health").json()
        assert [worker["open_requests"] for worker in health["workers"]] == [3] * WORKERS
    finally:
        for client in streams:
            client.close()


def test_connections_are_refused_by_all(crew: Any) -> None:
    prompt = crew.plan(faults=[{"fault": "refuse", "ms": 2000}])
    with pytest.raises(httpx.TransportError):
        ask(crew, prompt)
    deadline = time.monotonic() + 20
    refused = 0
    while True:
        try:
            assert httpx.get(f"{crew.url}/_mock/health").status_code == 200
            break
        except httpx.ConnectError:
            refused += 1
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert refused


@pytest.fixture
def program() -> Iterator[Callable[..., tuple[subprocess.Popen[str], dict[str, Any]]]]:
    """Starts the program with two workers."""
    running: list[subprocess.Popen[str]] = []

    def start(*options: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        process = subprocess.Popen(
            [sys.executable, "-m", "mock_openai", "--json", "--port", "0", "--no-chat", "--workers", "2", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        assert process.stdout is not None
        return process, json.loads(process.stdout.readline())

    yield start
    for process in running:
        process.kill()
        process.communicate(timeout=10)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def gone(*pids: int) -> None:
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline, "a process outlived the server"
        time.sleep(0.01)


LONG = {"id": "long", "tokens": 5000, "profile": {"name": "fixed", "ttft_ms": 0, "gap_ms": 10}}


def read_some(client: httpx.Client, url: str, mark: str) -> Iterator[str]:
    """Ask for the long reply, and read its first chunks."""
    body = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": f"[[sb:{mark}]]"}]}
    request = client.build_request("POST", f"{url}/v1/chat/completions", json=body)
    lines = client.send(request, stream=True).iter_lines()
    for _ in range(20):
        next(lines)
    return lines


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_workers_and_the_journal_says_so(program: Any, signum: int) -> None:
    process, ready = program()
    url = ready["openai"]
    httpx.post(f"{url}/_mock/plans", json=LONG)
    with httpx.Client() as one, httpx.Client() as other, httpx.stream("GET", f"{url}/_mock/journal/stream") as journal:
        streams = [read_some(client, url, f"long.{number}") for number, client in enumerate((one, other))]
        changes = journal.iter_lines()
        process.send_signal(signum)
        assert process.wait(10) == 0
        for lines in streams:
            with pytest.raises(httpx.TransportError):
                list(lines)
        told = [json.loads(line) for line in changes]
    ended = [change["entry"]["ended"] for change in told if change["event"] == "closed"]
    assert ended == ["shutdown", "shutdown"]
    gone(*ready["workers"])
    assert process.communicate()[1] == ""


def test_when_a_worker_is_killed_the_others_go_on_and_it_is_said(program: Any) -> None:
    process, ready = program()
    url = ready["openai"]
    httpx.post(f"{url}/_mock/plans", json=LONG)
    httpx.post(f"{url}/_mock/plans", json={"id": "short", "tokens": 3, "profile": "instant"})
    with httpx.Client() as one, httpx.Client() as other:
        streams = [read_some(client, url, f"long.{number}") for number, client in enumerate((one, other))]
        page = httpx.get(f"{url}/_mock/journal").json()["entries"]
        killed = ready["workers"][0]
        os.kill(killed, signal.SIGKILL)
        cut, whole = [], []
        for number, lines in enumerate(streams):
            try:
                for _ in range(40):
                    next(lines)
                whole.append(f"long.{number}")
            except httpx.TransportError:
                cut.append(f"long.{number}")
        assert len(cut) == len(whole) == 1, "each worker had one of them"
        entries = {entry["mark"]: entry for entry in httpx.get(f"{url}/_mock/journal").json()["entries"]}
        assert entries[whole[0]]["ended"] == "open"
        assert entries[cut[0]]["ended"] == "killed"
        known = next(entry for entry in page if entry["mark"] == cut[0])["chunks"]["written_ns"]
        assert known
        assert entries[cut[0]]["chunks"]["written_ns"][: len(known)] == known
        health = httpx.get(f"{url}/_mock/health").json()
        assert health["status"] == "degraded"
        assert {worker["pid"]: worker["status"] for worker in health["workers"]} == {
            killed: "ended",
            ready["workers"][1]: "ok",
        }
        answers = [httpx.post(f"{url}/v1/chat/completions", json=short(number)) for number in range(4)]
        assert Counter(answer.status_code for answer in answers) == {200: 4}
    process.terminate()
    _, said = process.communicate(timeout=10)
    assert process.returncode == 0
    assert f"worker {killed} was ended by SIGKILL: 1 open replies are cut" in said
    assert "1 of 2 workers go on" in said


def short(number: int) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": f"[[sb:short.{number}]]"}]}


def test_without_any_worker_the_server_ends(program: Any) -> None:
    process, ready = program()
    for pid in ready["workers"]:
        os.kill(pid, signal.SIGKILL)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 1
    assert "0 of 2 workers go on" in said


def test_workers_end_with_their_parent(program: Any) -> None:
    process, ready = program()
    process.kill()
    process.wait(10)
    gone(*ready["workers"])


def test_recording_is_for_one_process() -> None:
    command = [sys.executable, "-m", "mock_openai", "--record", "http://127.0.0.1:1", "--traces", "t", "--workers", "2"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 2
    assert "leave out --workers" in ended.stderr
