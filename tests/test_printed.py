"""Pages print commands that exist, scenarios that load, and gates that hold against the fake upstream they name."""

from __future__ import annotations

import random
import shlex
from pathlib import Path

import click
import pytest

from mock_openai.upstream.profiles import profile_from
from streambench.cli import cli
from streambench.load.loading import load_scenario
from streambench.quantile import quantile
from tools.printed import PAGES, printed

ENVIRON = {"CHAT_URL": "http://127.0.0.1:9/", "CHAT_TOKEN": "token-1"}
COMMANDS = sorted({item.text for page in PAGES for item in printed(page) if item.text.startswith("streambench ")})
FILES = [(page, item.name, item.text) for page in PAGES for item in printed(page) if item.name]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_printed_command_has_only_options_that_exist(command: str) -> None:
    words = shlex.split(command.split("|")[0].split(">")[0].rstrip(" &"))[1:]
    found = cli.get_command(click.Context(cli), words[0])
    assert found is not None, words[0]
    if words[0] != "mock":  # its options are those of another program
        options = [word for word in words[1:] if word.startswith("-") and word != "-"]
        known = {name for parameter in found.params for name in parameter.opts}
        assert {option.partition("=")[0] for option in options} <= known


@pytest.mark.parametrize(("page", "name", "text"), FILES)
def test_a_printed_scenario_loads(page: str, name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert load_scenario(str(tmp_path / name), environ=ENVIRON).gates


@pytest.mark.parametrize(
    ("page", "name", "text"), [file for file in FILES if "127.0.0.1:4010/v1" in file[2]], ids=lambda value: value[:30]
)
def test_a_gate_on_the_first_text_holds_with_every_seed(page: str, name: str, text: str, tmp_path: Path) -> None:
    """The wait that the fake upstream's own latencies make, 200 runs of it, with a fifth to spare."""
    (tmp_path / name).write_text(text)
    scenario = load_scenario(str(tmp_path / name), environ=ENVIRON)
    (gate,) = [gate for gate in scenario.gates if gate.metric == "ttfc"]
    assert gate.quantile is not None
    assert isinstance(gate.limit, float)
    profile = profile_from("openai-fast")
    for seed in range(200):
        draw = random.Random(seed)
        waits = sorted(profile.schedule_ns(1, draw)[0] / 1e6 for _ in range(40))
        assert quantile(waits, gate.quantile) < 0.8 * gate.limit
