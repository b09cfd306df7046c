"""Bounds on everything that a server can send, and what a decoder raises where one is broken.

Inside a stream a deviation is a `Finding`. Only what ends the decoding for good is raised: input beyond a bound
(`OversizeError`), too much of it in too short a time (`FloodError`), and input that cannot be read as the protocol at
all (`WireError`). Each names the error class that the stream gets; none reaches a user as a traceback.
"""

from __future__ import annotations

from dataclasses import dataclass

from streambench.endings import ErrorClass
from streambench.findings import Axis
from streambench.rules import Rule, declare

MIB = 1 << 20

UNREADABLE = declare(
    Rule("wire.unreadable", Axis.GRAMMAR, "The stream can be read to its end.", "the transport's specification")
)
OVERSIZE = declare(
    Rule(
        "wire.oversize",
        Axis.GRAMMAR,
        "Events, lines, attachments and decompressed bodies stay within their limits; nothing beyond a limit is read.",
        "a bound of this tool",
    )
)
FLOOD = declare(
    Rule(
        "wire.flood",
        Axis.GRAMMAR,
        "Events, lines and frames arrive no faster than a reader can handle; a flood is not read to its end.",
        "a bound of this tool",
    )
)


@dataclass(slots=True, frozen=True)
class WireLimits:
    """The most that one stream may bring; generous for chat, small against an attack.

    `max_event_bytes` bounds one message with all its lines, `max_line_bytes` one line of a text framing,
    `max_attachments` the binary parts that a Socket.IO packet may announce, `max_decompressed_bytes` a whole response
    after decompression and `max_ratio` how many times its compressed size that is, and `max_events` the events that are
    recorded of one stream (recorders count them; a decoder keeps nothing that grows with their number).

    Those with `_per_s` bound what costs work and not bytes; see `wire/budget.py`.
    """

    max_event_bytes: int = 4 * MIB
    max_line_bytes: int = 4 * MIB
    max_attachments: int = 64
    max_decompressed_bytes: int = 256 * MIB
    max_ratio: int = 200
    max_events: int = 1_000_000
    max_events_per_s: int = 5_000
    max_lines_per_s: int = 25_000
    max_frames_per_s: int = 5_000
    max_control_per_s: int = 250
    max_polls_per_s: int = 200


class WireError(ValueError):
    """Input that cannot be decoded any further. `finding` says the same as data."""

    error_class = ErrorClass.PROTOCOL

    def __init__(self, message: str, *, rule: Rule = UNREADABLE, offset: int | None = None) -> None:
        super().__init__(message)
        self.finding = rule.found(message, offset=offset)


class OversizeError(WireError):
    """Input beyond a limit; nothing more is read of it."""

    error_class = ErrorClass.OVERSIZE

    def __init__(self, what: str, limit: int, *, unit: str = "bytes", offset: int | None = None) -> None:
        super().__init__(f"{what} is larger than the limit of {limit:,} {unit}", rule=OVERSIZE, offset=offset)
        self.limit = limit


class FloodError(WireError):
    """More units of a kind in a second than a reader takes in."""

    error_class = ErrorClass.FLOOD

    def __init__(self, what: str, per_s: int) -> None:
        super().__init__(f"more than {per_s:,} {what} a second came", rule=FLOOD)
