"""`limits` of a scenario file: how much a server may send before its stream is abandoned."""

from __future__ import annotations

from streambench.load.fields import Field, Given, Section
from streambench.load.kinds import Integer
from streambench.wire.limits import MIB, WireLimits

MAX = 10**9

_DEFAULT = WireLimits()
EVENT_BYTES = Field("event_bytes", Integer(1, 64 * MIB), "size of one event or message", _DEFAULT.max_event_bytes)
LINE_BYTES = Field("line_bytes", Integer(1, 64 * MIB), "size of one line of a text framing", _DEFAULT.max_line_bytes)
ATTACHMENTS = Field("attachments", Integer(0, 10_000), "attachments of one Socket.IO packet", _DEFAULT.max_attachments)
DECOMPRESSED_BYTES = Field(
    "decompressed_bytes", Integer(1, MAX), "size of one decompressed response", _DEFAULT.max_decompressed_bytes
)
RATIO = Field(
    "ratio", Integer(1, MAX), "decompressed size divided by compressed size, once over 4 MiB", _DEFAULT.max_ratio
)
EVENTS = Field("events", Integer(1, 10_000_000), "events of one stream", _DEFAULT.max_events)
EVENTS_PER_S = Field("events_per_s", Integer(1, MAX), "events per second", _DEFAULT.max_events_per_s)
LINES_PER_S = Field("lines_per_s", Integer(1, MAX), "lines per second, including empty lines", _DEFAULT.max_lines_per_s)
FRAMES_PER_S = Field(
    "frames_per_s",
    Integer(1, MAX),
    "HTTP chunks, DATA frames or WebSocket frames per second",
    _DEFAULT.max_frames_per_s,
)
CONTROL_PER_S = Field(
    "control_per_s",
    Integer(1, MAX),
    "frames and messages without data, per second",
    _DEFAULT.max_control_per_s,
)
POLLS_PER_S = Field("polls_per_s", Integer(1, MAX), "poll responses per second", _DEFAULT.max_polls_per_s)
SECTION = Section(
    "'limits'",
    EVENT_BYTES,
    LINE_BYTES,
    ATTACHMENTS,
    DECOMPRESSED_BYTES,
    RATIO,
    EVENTS,
    EVENTS_PER_S,
    LINES_PER_S,
    FRAMES_PER_S,
    CONTROL_PER_S,
    POLLS_PER_S,
)


def read_limits(given: Given | None) -> WireLimits:
    """The limits of a file; None where it has none."""
    if given is None:
        return WireLimits()
    return WireLimits(**{f"max_{field.name}": given[field] for field in SECTION})
