"""The report as a browser shows it: light, dark and on paper, from one file, without a network."""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import programs

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic",
    "--window-size=1000,1400",
)  # fmt: skip
SCENARIO = """\
name: page
serve: {openai: {}}
target: {dialect: openai-chat, url: "${serve.openai}/v1/chat/completions"}
prompts: {text: Hello, tokens: 12, profile: {name: fixed, ttft_ms: 5, gap_ms: 3}}
load: {users: 2, streams: 6}
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    (folder / "page.yaml").write_text(SCENARIO)
    programs.run("streambench", "run", "page.yaml", "--quiet", cwd=folder)
    return folder / "reports" / "page" / "latest" / "report.html"


def browse(chromium: str, page: Path, tmp_path: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [chromium, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *flags, page.resolve().as_uri()],
        capture_output=True,
        text=True,
        timeout=100,
    )


def brightness(picture: Path) -> float:
    """The median grey of a picture, 0 black to 255 white."""
    from PIL import Image

    with Image.open(picture) as image:
        grey = image.convert("L")
        return statistics.median(grey.resize((50, 50)).tobytes())


def test_it_follows_the_readers_choice_of_light_or_dark(
    component: Callable[[str], str], report: Path, tmp_path: Path
) -> None:
    chromium = component("chromium")
    shown = {}
    for name, flags in (("light", ()), ("dark", ("--blink-settings=preferredColorScheme=0",))):
        picture = tmp_path / f"{name}.png"
        browse(chromium, report, tmp_path, f"--screenshot={picture}", *flags)
        shown[name] = brightness(picture)
    assert shown["light"] > 200
    assert shown["dark"] < 80


def test_it_prints(component: Callable[[str], str], report: Path, tmp_path: Path) -> None:
    paper = tmp_path / "report.pdf"
    browse(component("chromium"), report, tmp_path, f"--print-to-pdf={paper}", "--no-pdf-header-footer")
    assert paper.read_bytes().startswith(b"%PDF")


def test_the_browser_builds_every_part_of_it(component: Callable[[str], str], report: Path, tmp_path: Path) -> None:
    done = browse(component("chromium"), report, tmp_path, "--dump-dom")
    page = done.stdout
    for part in ("Findings", "Charts", "Gates", "Targets", "Metrics", "How it was measured"):
        assert f">{part}</h2>" in page
    assert page.count("<svg") == page.count('role="img"') >= 4
    assert "<script" not in page
