"""What every test may use: real components, and the bundled servers as real processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mock_openai.chat.options import as_arguments
from mock_openai.cli import parser
from tools import programs

INSTALL_LINES = {
    "node": "apt-get install nodejs npm",
    "chromium": "apt-get install chromium",
    "openssl": "apt-get install openssl",
    "curl": "apt-get install curl",
    "nginx": "apt-get install nginx-light",
    "haproxy": "apt-get install haproxy",
    "apache2": "apt-get install apache2-bin",
    "varnishd": "apt-get install varnish",
    "ip": "apt-get install iproute2",
    "unshare": "apt-get install util-linux",
    "@portkey-ai/gateway": "npm ci --prefix tests/gateway",
}


def _missing(reason: str) -> None:
    """A visible skip at a desk; a failure where everything was promised to be installed."""
    if os.environ.get("STREAMBENCH_REQUIRE_COMPONENTS"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def component() -> Callable[[str], str]:
    """Ask for a real program by name; returns its path, or skips and says how to install it."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            _missing(f"{name} is not installed: {INSTALL_LINES[name]}")
        assert path is not None
        return path

    return find


@pytest.fixture(scope="session")
def node(component: Callable[[str], str]) -> str:
    """Path of Node.js; the packages of tests/node are installed."""
    path = component("node")
    if not (Path(__file__).parent / "node" / "node_modules").is_dir():
        _missing("the Node packages are not installed: npm ci --prefix tests/node")
    return path


@pytest.fixture(scope="module")
def one_tls_context() -> Iterator[None]:
    """For modules that speak no TLS: every new client of an SDK would read all certificates of the machine."""
    context = ssl.create_default_context()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", lambda *args, **options: context)
        yield


@dataclass(frozen=True)
class BundledServers:
    """The bundled servers of a test, as their own processes on free loopback ports."""

    openai: str
    chat: str | None
    pid: int
    """The upstream's process."""


@contextmanager
def _starting() -> Iterator[Callable[..., BundledServers]]:
    """Starts both servers as `python -m mock_openai` would with the given options; ends them at the end."""
    running: list[programs.Process] = []

    def ready(module: str, *options: str) -> dict[str, Any]:
        process = programs.start(module, "--json", "--port", "0", *options, stdout=subprocess.PIPE)
        running.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"{module} ended with {process.wait(10)} before it was ready"
        told: dict[str, Any] = json.loads(line)
        return told

    def start(*options: str) -> BundledServers:
        upstream = ready("mock_openai", "--no-chat", *options)
        given = parser().parse_args(options)
        chat = None
        if not given.no_chat:
            chat = ready("mock_openai.chat", "--upstream", upstream["openai"], *as_arguments(given))["chat"]
        return BundledServers(upstream["openai"], chat, upstream["pid"])

    yield start
    for process in running:
        process.send_signal(signal.SIGTERM)
    for process in running:
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture
def start_mock() -> Iterator[Callable[..., BundledServers]]:
    """Starts the bundled servers with the given options; everything started is ended after the test."""
    with _starting() as start:
        yield start


@pytest.fixture(scope="session")
def shared_mock() -> Iterator[Callable[..., BundledServers]]:
    """As `start_mock`, but the same servers for the same options: for tests that look at their own streams alone.

    A chat server of its own takes as much CPU as most tests.
    """
    with _starting() as start:
        started: dict[tuple[str, ...], BundledServers] = {}

        def share(*options: str) -> BundledServers:
            if options not in started:
                started[options] = start(*options)
            return started[options]

        yield share
