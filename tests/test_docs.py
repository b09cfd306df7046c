"""The docs say what the product does: every command, exit code, metric, bundled dialect and scenario is documented."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from streambench.analysis.metrics import METRICS
from streambench.cli import COMMANDS, cli
from streambench.dialects import bundled_dialects
from streambench.errors import ExitCode

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")


def section(page: str, heading: str) -> str:
    """The text under a heading of a page, up to the next heading of the same level or above."""
    level = heading.split(" ", 1)[0]
    _, found, rest = f"\n{page}".partition(f"\n{heading}\n")
    assert found, f"no section {heading!r}"
    return re.split(rf"\n#{{1,{len(level)}}} ", rest, maxsplit=1)[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_every_option_is_documented(name: str) -> None:
    page = (DOCS / "reference/commands.md").read_text()
    text = section(page, f"## streambench {name}")
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert f"`{parameter.opts[0]}" in text, f"{name} {parameter.opts[0]} is not documented"


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "mock"])
def test_every_help_has_an_example(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert "Example" in (command.help or "")


def test_every_metric_is_documented_with_its_unit() -> None:
    page = (DOCS / "reference/metrics.md").read_text()
    for name in METRICS:
        assert f"`{name}`" in page, f"metric {name} is not documented"


def test_every_exit_code_is_documented() -> None:
    page = (DOCS / "reference/exit-codes.md").read_text()
    for code in ExitCode:
        assert f"| {code.value} | {code.name.lower()} |" in page


@pytest.mark.parametrize("name", bundled_dialects())
def test_every_bundled_dialect_has_a_page(name: str) -> None:
    assert (DOCS / "reference/dialects" / f"{name}.md").is_file()


def test_every_bundled_scenario_is_listed() -> None:
    page = (DOCS / "reference/scenarios.md").read_text()
    for scenario in (ROOT / "scenarios").glob("*.yaml"):
        assert f"`{scenario.stem}`" in page, f"scenario {scenario.stem} is not listed"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    broken = [
        target
        for target, _ in LINK.findall(page.read_text())
        if "://" not in target and not target.startswith("mailto:") and not (page.parent / target).exists()
    ]
    assert broken == []
