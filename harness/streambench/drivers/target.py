"""What a driver must know of a target: where it is, what it speaks, and how long to wait for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from streambench.dialects import Dialect, SetupStep
from streambench.units import NS_PER_S
from streambench.wire.limits import WireLimits

Stamps = Literal["auto", "kernel", "user"]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait, in ns: for a connection, for the first content, between two reads, and for a whole stream."""

    connect_ns: int = 5 * NS_PER_S
    first_chunk_ns: int = 30 * NS_PER_S
    idle_ns: int = 15 * NS_PER_S
    total_ns: int = 120 * NS_PER_S


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """A system under test.

    `url` carries the query already. `variables` are values for the dialect's placeholders. `setup` is done once per
    user before the first prompt; None means the dialect's own. `tls_verify`: True, False, or the path of a CA file.
    `stamps`: `auto` takes the kernel's where it offers them.
    """

    name: str
    dialect: Dialect
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    setup: tuple[SetupStep, ...] | None = None
    tls_verify: bool | str = True
    http: int = 1
    proxy: str | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)
    limits: WireLimits = field(default_factory=WireLimits)
    stamps: Stamps = "auto"

    @property
    def setup_steps(self) -> tuple[SetupStep, ...]:
        return self.dialect.setup if self.setup is None else self.setup
