"""Who listens at a URL, from what the kernel says of a socket that this test opens."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from streambench.load.listeners import find_listeners

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is known")


@pytest.fixture(params=["127.0.0.1", "0.0.0.0", "::1", "::"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """Of a socket that listens at one of the addresses."""
    host: str = request.param
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip(f"there is no {host} here")
    with listener:
        yield listener.getsockname()[1]


def test_a_server_on_this_machine_is_found(port: int) -> None:
    assert find_listeners([f"ws://localhost:{port}/chat?x=1"]) == {f"localhost:{port}": {os.getpid()}}


def test_an_address_means_the_socket_that_is_bound_to_it_or_to_all() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        urls = [f"http://{host}:{port}/" for host in ("127.0.0.1", "127.0.0.2", "[::1]", "192.0.2.1", "chat.example")]
        assert find_listeners(urls) == {f"127.0.0.1:{port}": {os.getpid()}}
    assert find_listeners([f"http://127.0.0.1:{port}/"]) == {}


def test_processes_that_share_a_socket_are_all_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command = [sys.executable, "-c", "input()"]
        worker = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[listener.fileno()])
        try:
            assert find_listeners([f"http://127.0.0.1:{port}/"]) == {f"127.0.0.1:{port}": {os.getpid(), worker.pid}}
        finally:
            worker.communicate(b"\n")
