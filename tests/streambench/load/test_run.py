"""A run around its load: what is ordered, what the header says, and what is found out before anything is written."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streambench.analysis.summary import summarize
from streambench.errors import ConfigurationError, TargetUnreachable
from streambench.load.book import environment, header_of
from streambench.load.loading import load_scenario
from streambench.load.run import raise_descriptor_limit
from streambench.load.scenario import Scenario
from streambench.load.testbed import open_testbed, plans_of, preflight
from streambench.record.journal import RecordWriter
from streambench.record.run_file import read_run

Load = Callable[[str], Scenario]
L = "load: {users: 1, streams: 1}\n"


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def make(text: str) -> Scenario:
        (tmp_path / "s.yaml").write_text(text)
        return load_scenario(str(tmp_path / "s.yaml"), environ={"KEY": "s3cr3t-key", "MODE": "real"})

    return make


TWO = """\
serve: {openai: {profile: fixed, tokens: 40}}
targets:
  real: {dialect: chat-stream, url: "http://127.0.0.1:9/?m=${MODE}&key=${KEY}"}
  outside: {dialect: chat-stream, url: http://127.0.0.1:9/, upstream: none}
gates: ["real: authenticity == forwarded", ttfc.p95 < 1s]
"""


def test_a_plan_for_each_length_of_each_two_sided_target(load: Load) -> None:
    plans = plans_of(load(TWO + L), "run")
    assert set(plans) == {"real"}
    (plan,) = plans["real"].values()
    assert (plan.tokens, plan.profile, plan.faults) == (40, "fixed", ())  # those of the server
    scenario = load(
        TWO.replace("m=${MODE}&", "") + L + "prompts: {text: a, tokens: 7, profile: instant, faults: [stall]}\n"
    )
    (plan,) = plans_of(scenario, "run")["real"].values()
    assert (plan.tokens, plan.profile, plan.faults) == (7, "instant", ("stall",))


def test_plans_of_several_lengths_have_names_of_their_own(load: Load, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"text": "a", "tokens": 9}\n{"text": "b"}\n{"text": "c", "tokens": 9}\n')
    plans = plans_of(load(TWO + L + "prompts: {file: p.jsonl}\n"), "run")["real"]
    assert {length: plan.tokens for length, plan in plans.items()} == {None: 40, 9: 9}
    assert len({plan.id for plan in plans.values()}) == 2
    other = plans_of(load(TWO + L), "other")["real"]
    assert not {plan.id for plan in plans.values()} & {plan.id for plan in other.values()}


def test_a_plan_for_each_length_that_a_trace_tells(load: Load, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("at,tokens\n0,5\n1,12\n2,5\n")
    plans = plans_of(load(TWO + "load: {trace: t.csv}\n"), "run")["real"]
    assert {length: plan.tokens for length, plan in plans.items()} == {None: 40, 5: 5, 12: 12}


def test_the_header_is_what_a_summary_needs_and_holds_no_secret(load: Load, tmp_path: Path) -> None:
    """MODE is the name of a target as well, and none of its uses may be torn apart."""
    scenario = load(TWO + L)
    path = tmp_path / "records.jsonl"
    writer = RecordWriter(path, scenario.secrets)
    writer.header(header_of(scenario))
    writer.close()
    assert "s3cr3t-key" not in path.read_text()
    summary = summarize(read_run(path))
    assert set(summary.targets) == {"real", "outside"}
    assert summary.targets["real"].url == "http://127.0.0.1:9/?m=${MODE}&key=${KEY}"
    assert {gate.gate.expr for gate in summary.gates} >= {"real: authenticity == forwarded", "ttfc.p95 < 1s"}
    assert json.dumps(summary.to_json())


def test_the_fingerprint_of_the_machine() -> None:
    found = environment()
    assert {"cpu", "cores", "platform", "python", "streambench"} <= set(found)
    assert found["cores"] >= 1
    assert environment() == found


async def test_every_target_that_cannot_be_reached_is_named(load: Load) -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    there = server.sockets[0].getsockname()[1]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gone = free.getsockname()[1]
    text = "targets:\n" + "".join(
        f"  {name}: {{dialect: chat-stream, url: 'http://127.0.0.1:{port}/'}}\n"
        for name, port in (("here", there), ("one", gone), ("two", gone))
    )
    with pytest.raises(TargetUnreachable) as caught:
        await preflight(load(text + L))
    assert "one: " in str(caught.value)
    assert "two: " in str(caught.value)
    assert "here" not in str(caught.value)
    server.close()


def test_more_sockets_than_the_system_allows(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1024))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits))
    raise_descriptor_limit(load(TWO + "load: {users: 300, streams: 300}\n"))
    assert raised == [(1024, 1024)]
    with pytest.raises(ConfigurationError, match="1,024"):
        raise_descriptor_limit(load(TWO + "load: {users: 600, streams: 600}\n"))


async def test_an_upstream_elsewhere_is_asked_with_its_token(load: Load, start_mock: Callable[..., Any]) -> None:
    url = start_mock("--no-chat", "--admin-token", "s3cr3t-key").openai
    target = f'target: {{dialect: openai-chat, url: "{url}/v1/chat/completions", upstream: "{url}"'
    async with open_testbed(load(f'{target}, upstream_token: "${{KEY}}"}}\n{L}')) as testbed:
        assert set(testbed.feeds) == {"openai-chat"}
    with pytest.raises(ConfigurationError, match="token"):
        async with open_testbed(load(f"{target}}}\n{L}")):
            pass
