"""The reference page says what the fake upstream does: every option, fault, profile, route and metric is in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from aiohttp import web

from mock_openai.cli import parser
from mock_openai.upstream.app import UpstreamSettings, app_of_one
from mock_openai.upstream.faults.reference import table
from mock_openai.upstream.metrics import Metrics
from mock_openai.upstream.profiles import PROFILE_NAMES

PAGE = (Path(__file__).resolve().parents[3] / "docs/reference/mock.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ")]


@pytest.mark.parametrize("option", [text for action in parser()._actions for text in action.option_strings[-1:]])
def test_every_option(option: str) -> None:
    assert option == "--help" or f"`{option}`" in PAGE


def test_the_table_of_faults_is_the_catalogue() -> None:
    assert table() in PAGE, "print it again: python -m mock_openai.upstream.faults.reference"


@pytest.mark.parametrize("name", PROFILE_NAMES)
def test_every_profile(name: str) -> None:
    assert any(row.startswith(f"| `{name}`") for row in ROWS)


def test_every_route() -> None:
    app, _ = app_of_one(UpstreamSettings())
    paths = {route.resource.canonical for route in app.router.routes() if isinstance(route.resource, web.Resource)}
    admin = {path for path in paths if path.startswith("/_mock/")}
    assert admin
    for path in admin | {path for path in paths if re.match(r"/v1/[a-z/]+$", path)}:
        assert path in PAGE, path


def test_every_metric() -> None:
    text = Metrics().text({"plans": ("", 0), "journal_entries": ("", 0), "journal_bytes": ("", 0)})
    for name in re.findall(r"# TYPE (\w+)", text):
        assert f"`{name}`" in PAGE
