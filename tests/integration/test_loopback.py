"""Nothing that streambench starts listens beyond loopback, unless it is told to."""

from __future__ import annotations

import ipaddress
import re
import subprocess
import sys
from pathlib import Path

import pytest

LISTEN = "0A"

pytestmark = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux's /proc/net/tcp")


def listening_addresses(pid: int) -> set[str]:
    """The addresses on which a process listens."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            match = re.fullmatch(r"socket:\[(\d+)\]", str(link.readlink()))
        except OSError:
            continue
        if match is not None:
            inodes.add(match[1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTEN and fields[9] in inodes:
                found.add(_address(fields[1].partition(":")[0]))
    return found


def _address(text: str) -> str:
    # Words of four bytes, each in the host's order.
    data = b"".join(bytes.fromhex(text[i : i + 8])[::-1] for i in range(0, len(text), 8))
    return str(ipaddress.ip_address(data))


def test_the_bundled_servers_listen_on_loopback() -> None:
    command = [sys.executable, "-m", "mock_openai", "--json", "--port", "0", "--chat-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as servers:
        assert servers.stdout is not None
        assert servers.stdout.readline()
        children = Path(f"/proc/{servers.pid}/task/{servers.pid}/children").read_text().split()
        assert children, "the chat server is a process of its own"
        for pid in (servers.pid, *map(int, children)):
            addresses = listening_addresses(pid)
            assert addresses
            assert all(ipaddress.ip_address(address).is_loopback for address in addresses), addresses
        servers.terminate()
