"""Every wire decoder is read the same ways: whole, byte by byte, and at every two-way split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from streambench.findings import Finding
from streambench.wire.engineio import Packet, PayloadDecoder
from streambench.wire.framings import capture_decoder
from streambench.wire.limits import WireError, WireLimits


@dataclass(frozen=True)
class Reading:
    """What a decoder made of a stream: its messages, its findings in a fixed order, and how it failed, if it did."""

    messages: tuple[Any, ...]
    findings: tuple[Finding, ...]
    failure: WireError | None

    @property
    def rules(self) -> set[str]:
        return {finding.rule for finding in self.findings}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reading) and self._compared == other._compared

    @property
    def _compared(self) -> tuple[Any, ...]:
        failure = self.failure and (type(self.failure), self.failure.finding)
        return self.messages, self.findings, failure


class PollingDecoder:
    """A polling response's body with the interface of the other decoders."""

    def __init__(self, limits: WireLimits | None = None) -> None:
        self._payload = PayloadDecoder(limits)
        self.take_findings = self._payload.take_findings
        self.feed = self._payload.feed

    def finish(self) -> list[Packet]:
        return [self._payload.finish()]


def new_decoder(wire: str, limits: WireLimits | None) -> Any:
    return PollingDecoder(limits) if wire == "polling" else capture_decoder(wire, limits)


def read(wire: str, pieces: Iterable[bytes], limits: WireLimits | None = None) -> Reading:
    decoder = new_decoder(wire, limits)
    messages: list[Any] = []
    findings: list[Finding] = []
    failure = None
    try:
        for piece in pieces:
            messages += decoder.feed(piece)
            findings += decoder.take_findings()
        messages += decoder.finish()
    except WireError as error:
        failure = error
    findings += decoder.take_findings()
    return Reading(tuple(messages), tuple(sorted(findings, key=repr)), failure)


def ways_to_split(data: bytes) -> Iterator[list[bytes]]:
    """Byte by byte, with empty reads between, and in two at every place."""
    yield [data[i : i + 1] for i in range(len(data))]
    yield [piece for i in range(len(data)) for piece in (b"", data[i : i + 1], b"")]
    for i in range(1, len(data)):
        yield [data[:i], data[i:]]


@pytest.fixture(scope="session")
def read_every_way() -> Callable[..., Reading]:
    """Read a stream whole, and assert that no way of splitting it reads differently."""

    def read_all(wire: str, data: bytes, limits: WireLimits | None = None) -> Reading:
        whole = read(wire, [data], limits)
        for pieces in ways_to_split(data):
            assert read(wire, pieces, limits) == whole, pieces
        return whole

    return read_all


@pytest.fixture(scope="session")
def read_pieces() -> Callable[..., Reading]:
    """Read a stream in the given pieces."""
    return read
