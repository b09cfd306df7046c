"""Which host names a server accepts: DNS can be made to point any name at a loopback address."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

LOOPBACK_NAME = "localhost"


def is_loopback(host: str) -> bool:
    """Whether a name or an address means this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == LOOPBACK_NAME or host.lower().endswith(f".{LOOPBACK_NAME}")


def host_of(header: str) -> str:
    """The name in a `Host` header, without its port and brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.rpartition(":")[0] if header.count(":") == 1 else header


class KnownHosts:
    """The names that requests may be for.

    A server that is bound to loopback answers to loopback names and to `more`; bound elsewhere to any name, unless
    `more` says which.
    """

    def __init__(self, bound: str, more: Iterable[str] = ()) -> None:
        self._more = {name.lower() for name in more}
        self._any = not is_loopback(bound) and not self._more

    def __contains__(self, header: object) -> bool:
        """Whether a `Host` header is one of them; a request without one comes from no browser."""
        if self._any or header is None:
            return True
        name = host_of(str(header)).lower()
        return name in self._more or is_loopback(name)
