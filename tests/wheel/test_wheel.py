"""The wheel as a stranger gets it: built, installed into an empty environment, used from another directory."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.wheel, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(ROOT)], check=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of an empty environment into which only the wheel was installed."""
    home = tmp_path_factory.mktemp("empty")
    venv.create(home, with_pip=True)
    bin_dir = home / "bin"
    subprocess.run([str(bin_dir / "python"), "-m", "pip", "install", "--quiet", str(wheel)], check=True)
    return bin_dir


def test_exactly_two_packages_are_top_level(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        top = {name.split("/", 1)[0] for name in archive.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"streambench", "mock_openai"}


def test_scenarios_dialects_and_types_are_inside(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for scenario in (ROOT / "scenarios").glob("*.yaml"):
        assert f"streambench/scenarios/{scenario.name}" in names
    for dialect in (ROOT / "harness/streambench/dialects/bundled").glob("*.yaml"):
        assert f"streambench/dialects/bundled/{dialect.name}" in names
    assert {"streambench/py.typed", "mock_openai/py.typed"} <= names


def test_quickstart_runs_from_another_directory(installed: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(installed / "streambench"), "run", "quickstart", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["verdict"] == "passed"
    assert (tmp_path / "reports" / "quickstart" / "latest" / "report.html").is_file()
