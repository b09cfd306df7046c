"""What a driver must know of a target: how it is reached, and what is said to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from streambench.dialects import Dialect, RenderedRequest, SetupStep
from streambench.drivers.leaving import Leave
from streambench.transport.requests import Request
from streambench.transport.target import Endpoint, Location, locate
from streambench.wire.decompress import accepted_encodings


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """A system under test.

    `variables` are values for the dialect's placeholders. `setup` is done once per user before the first prompt; None
    means the dialect's own. `leave`: its users do not wait for the end of their replies.
    """

    name: str
    dialect: Dialect
    endpoint: Endpoint
    variables: Mapping[str, str] = field(default_factory=dict)
    setup: tuple[SetupStep, ...] | None = None
    leave: Leave | None = None

    @property
    def setup_steps(self) -> tuple[SetupStep, ...]:
        """The steps that this target's users take before their first prompt."""
        return self.dialect.setup if self.setup is None else self.setup

    def step_location(self, path: str) -> Location:
        """Where the path of an HTTP request beside the stream leads.

        Where the dialect knows its own path, the URL is the base of all; else it is the endpoint, and gives the host.
        """
        where = locate(self.endpoint.url)
        base = where.request_target.partition("?")[0].rstrip("/") if self.dialect.path else ""
        scheme = {"ws": "http", "wss": "https"}.get(where.scheme, where.scheme)
        return Location(scheme, where.host, where.port, base + path)

    def prompt_request(self, rendered: RenderedRequest) -> Request:
        """The request of a prompt. It asks for the encodings that browsers ask for, unless a header says otherwise: a
        middleware that compresses, and holds text back for it, is part of what users get.
        """
        asked = (("accept-encoding", accepted_encodings()), *rendered.headers)
        return Request(rendered.method, asked, rendered.body)

    def reached(self, **changes: Any) -> TargetSpec:
        """The same target with fields of its endpoint changed."""
        return replace(self, endpoint=replace(self.endpoint, **changes))
