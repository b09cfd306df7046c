"""The processes of this machine that listen where the targets are reached, whoever has started them (Linux)."""

from __future__ import annotations

import ipaddress
import sys
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from streambench.transport.target import locate

_LISTENING = "0A"
_LOCALHOST = ("127.0.0.1", "::1")
_WORD = 4  # bytes: the kernel prints addresses as numbers of this size

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def find_listeners(urls: Iterable[str]) -> dict[str, set[int]]:
    """The processes behind those URLs that lead to a loopback address, by `host:port`.

    All that hold the listening socket: of a server with several processes, each. Nothing is known of other users'
    processes, nor where there is no /proc.
    """
    open_sockets = [*_sockets(Path("/proc/net/tcp")), *_sockets(Path("/proc/net/tcp6"))]
    inodes: dict[str, set[str]] = {}
    for url in urls:
        place = locate(url)
        hosts = _loopback(place.host)
        found = {
            inode
            for address, port, inode in open_sockets
            if hosts and port == place.port and (address in hosts or address.is_unspecified)
        }
        if found:
            inodes[f"{place.host}:{place.port}"] = found
    if not inodes:
        return {}
    holders = _holders(set().union(*inodes.values()))
    named = {name: set().union(*(holders[inode] for inode in found)) for name, found in inodes.items()}
    return {name: pids for name, pids in named.items() if pids}


def _loopback(host: str) -> set[_Address]:
    if host == "localhost" or host.endswith(".localhost"):
        return {ipaddress.ip_address(text) for text in _LOCALHOST}
    with suppress(ValueError):
        address = ipaddress.ip_address(host.strip("[]"))
        if address.is_loopback:
            return {address}
    return set()


def _sockets(table: Path) -> list[tuple[_Address, int, str]]:
    """The listening sockets of a table of the kernel's: address, port and inode."""
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return []
    rows = [line.split() for line in lines]
    return [(*_address(row[1]), row[9]) for row in rows if row[3] == _LISTENING]


def _address(text: str) -> tuple[_Address, int]:
    host, _, port = text.partition(":")
    raw = bytes.fromhex(host)
    if sys.byteorder == "little":
        raw = b"".join(raw[at : at + _WORD][::-1] for at in range(0, len(raw), _WORD))
    return ipaddress.ip_address(raw), int(port, 16)


def _holders(inodes: set[str]) -> dict[str, set[int]]:
    """The processes that have each of the sockets open."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    out: dict[str, set[int]] = defaultdict(set)
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            for descriptor in (process / "fd").iterdir():
                with suppress(OSError):
                    inode = wanted.get(str(descriptor.readlink()))
                    if inode is not None:
                        out[inode].add(int(process.name))
    return out
