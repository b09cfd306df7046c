"""Where a target is and how to reach it: what transport must know of it, and nothing of its protocol."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from streambench.transport.urls import encoded_host, encoded_path, encoded_query
from streambench.transport.wiretap import Wiretap
from streambench.units import NS_PER_S
from streambench.wire.limits import WireLimits

Stamps = Literal["auto", "kernel", "user"]

SECURE_SCHEMES = ("https", "wss")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait, in ns: for a connection, for the first content, between two reads, and for a whole stream."""

    connect_ns: int = 5 * NS_PER_S
    first_chunk_ns: int = 30 * NS_PER_S
    idle_ns: int = 15 * NS_PER_S
    total_ns: int = 120 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How a target is reached.

    `url` carries the query already. `headers` go with every request. `tls_verify`: True, False, or the path of a CA
    file. `http` is the version, 1 or 2. `proxy` is the URL of an HTTP proxy. `stamps`: `auto` takes the kernel's where
    it offers them. `wiretap` listens to every connection.
    """

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    tls_verify: bool | str = True
    http: int = 1
    proxy: str | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)
    limits: WireLimits = field(default_factory=WireLimits)
    stamps: Stamps = "auto"
    wiretap: Wiretap | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Location:
    """Where a URL leads. `request_target` is the path with its query."""

    scheme: str
    host: str
    port: int
    request_target: str

    @property
    def secure(self) -> bool:
        """Whether there is TLS on the connection."""
        return self.scheme in SECURE_SCHEMES

    @property
    def authority(self) -> str:
        """The value of a `Host` header: without the port where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


def locate(url: str, path: str = "") -> Location:
    """Where `url` leads; a `path` is joined to the URL's own, whose query stays.

    Both are encoded as they are sent. Raises ValueError for a host that can be none.
    """
    parts = urlsplit(url)
    own_path = parts.path
    query = parts.query
    if path:
        path, _, more = path.partition("?")
        own_path = own_path.rstrip("/") + path
        query = "&".join(part for part in (more, query) if part)
    return Location(
        parts.scheme,
        encoded_host(parts.hostname or ""),
        parts.port or (443 if parts.scheme in SECURE_SCHEMES else 80),
        (encoded_path(own_path) or "/") + (f"?{encoded_query(query)}" if query else ""),
    )
