"""The value that every wire decoder produces and every dialect reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class WireMessage:
    """One message of the wire, before a dialect has named it.

    `data` is the payload as text: the SSE data buffer, an NDJSON line, a WebSocket text message, or the JSON of a
    Socket.IO event's arguments. `offset` is where the message begins, in bytes of the decoded stream (after
    decompression and transfer coding), counted from 0. `event` is the event type of SSE or the event name of
    Socket.IO, else "". `last_event_id` and `retry_ms` are SSE's; `retry_ms` only where this block changed it.
    `dispatched` is False for an SSE block that the specification does not dispatch although popular clients do.
    `args` are a Socket.IO event's decoded arguments; `binary` a binary WebSocket message.
    """

    data: str
    offset: int
    event: str = ""
    last_event_id: str = ""
    retry_ms: int | None = None
    dispatched: bool = True
    args: list[Any] | None = None
    binary: bytes | None = None
