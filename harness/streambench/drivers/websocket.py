"""WebSocket as a link: each message of the server is one of the dialect's, each text of a request one to it."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from streambench.dialects import RenderedRequest
from streambench.dialects.templates import fill
from streambench.drivers.connect import Endpoint, endpoint
from streambench.drivers.link import Loss, Receiver
from streambench.drivers.target import TargetSpec
from streambench.drivers.websocket_connection import WebSocketWire
from streambench.findings import Finding
from streambench.wire.message import WireMessage


class WebSocketLink:
    """A link whose messages are the WebSocket's own."""

    def __init__(
        self, spec: TargetSpec, variables: Mapping[str, str], cookies: dict[str, str], receiver: Receiver
    ) -> None:
        self.receiver = receiver
        self._spec = spec
        self._variables = variables
        self._cookies = cookies
        self._wire = WebSocketWire(spec, self)
        self._offset = 0
        self._findings: list[Finding] = []

    @property
    def open(self) -> bool:
        return self._wire.open

    async def start(self) -> None:
        where, headers = destination(self._spec, self._variables)
        await self._wire.connect(where, headers, self._cookies)

    def send(self, request: RenderedRequest) -> None:
        for text in request.send:
            self._wire.send(text)

    async def flushed(self) -> int | None:
        return await self._wire.flushed()

    def take_findings(self) -> list[Finding]:
        taken, self._findings = self._findings, []
        return taken

    def abort(self) -> None:
        self._wire.abort()

    async def close(self) -> None:
        await self._wire.close()

    def read(self, at_ns: int, size: int, *, kernel: bool) -> None:
        self.receiver.read(at_ns, size, kernel=kernel)

    def frame(self, data: str | bytes, size: int, at_ns: int) -> None:
        message = (
            WireMessage(data, self._offset) if isinstance(data, str) else WireMessage("", self._offset, binary=data)
        )
        self._offset += size
        self.receiver.message(message, at_ns)

    def read_ended(self) -> None:
        self.receiver.read_ended()

    def lost(self, loss: Loss, at_ns: int, finding: Finding | None) -> None:
        if finding is not None:
            self._findings.append(finding)
        self.receiver.lost(loss, at_ns)


def destination(spec: TargetSpec, variables: Mapping[str, str]) -> tuple[Endpoint, list[tuple[str, str]]]:
    """Where a target's socket is, and the headers to open it with; the target's own come last, and win."""
    template = spec.dialect.request
    path = fill(template.path, {name: quote(value, safe="") for name, value in variables.items()})
    headers = fill(dict(template.headers), variables)
    return endpoint(spec.url, path), [*headers.items(), *spec.headers]
