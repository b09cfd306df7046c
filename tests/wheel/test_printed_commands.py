"""The pages of the first hour, typed as they are printed, with what a wheel and what a git URL installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.printed import ROOT, printed

pytestmark = [pytest.mark.wheel, pytest.mark.timeout(900)]

LEFT_OUT = ("make ", "pip ", "echo ")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@pytest.fixture(scope="module", params=["wheel", "git"])
def bin_dir(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an empty environment into which streambench was installed."""
    home = tmp_path_factory.mktemp(request.param)
    if request.param == "wheel":
        build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(home / "dist"), str(ROOT)]
        subprocess.run(build, check=True, capture_output=True)
        (source,) = map(str, (home / "dist").glob("*.whl"))
    else:
        if shutil.which("git") is None or not (ROOT / ".git").exists():
            pytest.skip("not a git clone")
        source = f"git+{ROOT.as_uri()}"
    venv.create(home / "venv", with_pip=True)
    programs = home / "venv/bin"
    subprocess.run([str(programs / "python"), "-m", "pip", "install", "--quiet", source], check=True)
    return programs


@pytest.fixture
def ports() -> dict[str, str]:
    """Free ports in the place of the printed ones, which somebody may use."""
    return {"4010": str(free_port()), "4000": str(free_port())}


@pytest.fixture
def background() -> Iterator[list[subprocess.Popen[bytes]]]:
    running: list[subprocess.Popen[bytes]] = []
    yield running
    for process in running:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial/first-run.md"])
def test_a_page_typed_from_its_beginning_to_its_end(
    page: str, bin_dir: Path, ports: dict[str, str], background: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    environment = {**os.environ, "PATH": f"{bin_dir}:{os.environ['PATH']}", "PYTHONPATH": ""}
    for item in printed(page):
        text = item.text
        for port, chosen in ports.items():
            text = text.replace(f":{port}", f":{chosen}")
        if item.name is not None:
            (tmp_path / item.name).write_text(text)
        elif text.startswith("streambench mock"):
            options = ["--port", ports["4010"], "--chat-port", ports["4000"]]
            words = [*text.rstrip(" &").split(), *options]
            background.append(subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL))
            wait_for(int(ports["4010"]))
        elif not text.startswith(LEFT_OUT):
            done = subprocess.run(text, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
            # On a machine that is busy with something else, a run rightly says that it proves nothing.
            busy = done.returncode == 4 and done.stdout.startswith("INVALID")
            assert busy or (done.returncode != 0) is item.fails, f"{text}\n{done.stdout}{done.stderr}"


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return
