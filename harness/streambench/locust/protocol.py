"""The worker's side of Locust's protocol, without I/O.

A frame is `msgpack([type, data, client id])`. A worker says `client_ready` until the master acknowledges it, and from
then on `heartbeat` every second, which the master answers with a heartbeat of its own. The master orders users with
`spawn`: the number of users of each class that the worker shall have from now on, not the number to add. Spawn orders
carry the time of the master; one that is not newer than the last is stale. After `stop` the worker ends its users, says
`client_stopped`, which makes the master forget it, and reports as ready again; `quit` ends the worker.

    connecting --ack--> ready --spawn--> running --stop--> stopping --stopped()--> ready
                                  `------spawn (more, or fewer)------'

Locust does not promise this protocol to be stable; tests hold it against real masters. Source: `locust/runners.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgpack

from streambench.units import NS_PER_S

ANY_VERSION = -1  # as a version, it keeps the master from comparing ours with its own
READY_EVERY_NS = 5 * NS_PER_S
HEARTBEAT_EVERY_NS = NS_PER_S
MASTER_SILENT_NS = 30 * NS_PER_S
MAX_FRAME_BYTES = 4 << 20
MAX_USERS = 100_000


class State(StrEnum):
    """Where the worker stands. What Locust is told of it is in `LOCUST_STATES`."""

    CONNECTING = "connecting"
    READY = "ready"
    RUNNING = "running"
    STOPPING = "stopping"
    ENDED = "ended"


# While the worker drains it still counts as running: Locust itself reports its workers so.
LOCUST_STATES = {State.CONNECTING: "ready", State.READY: "ready", State.RUNNING: "running", State.STOPPING: "running"}


class ProtocolError(Exception):
    """A frame that is not one of Locust's. The connection stays usable."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The master knows us; `index` counts the workers from 0, None where the master does not say."""

    index: int | None


@dataclass(frozen=True, slots=True)
class Spawn:
    """Have this many users of each class from now on. `first`: a run begins with it."""

    users: dict[str, int]
    host: str | None
    stop_timeout_s: float
    options: dict[str, Any]
    first: bool


@dataclass(frozen=True, slots=True)
class Stop:
    """The run is over: end the users, then call `WorkerProtocol.stopped`."""


@dataclass(frozen=True, slots=True)
class Quit:
    """End the worker. `reason` says why where it was not the master's wish."""

    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Reconnect:
    """The master could not read us: open a new connection, and report as ready."""


@dataclass(frozen=True, slots=True)
class Custom:
    """A message that is not of Locust's protocol."""

    type: str
    data: Any


Event = Acknowledged | Spawn | Stop | Quit | Reconnect | Custom


@dataclass(slots=True)
class WorkerProtocol:
    """One worker's conversation with a master. Frames go in and events come out; what is to be sent is returned.

    Moments are nanoseconds of any monotonic clock.
    """

    client_id: str
    state: State = State.CONNECTING
    _spawned_at: float = 0.0
    _heard_ns: int | None = None
    _ready_ns: int | None = None
    _heartbeat_ns: int | None = None
    _users: dict[str, int] = field(default_factory=dict)

    def receive(self, frame: bytes, now_ns: int) -> Event | None:
        """What a frame of the master asks for; None where it asks for nothing. Raises ProtocolError."""
        kind, data = _decoded(frame)
        self._heard_ns = now_ns
        match kind:
            case "ack":
                if self.state is State.CONNECTING:
                    self.state = State.READY
                index = data.get("index") if isinstance(data, dict) else None
                return Acknowledged(index if isinstance(index, int) else None)
            case "spawn":
                return self._spawn(data)
            case "stop":
                if self.state is State.RUNNING:
                    self.state = State.STOPPING
                return Stop()
            case "quit":
                self.state = State.ENDED
                return Quit()
            case "reconnect":
                self.state, self._ready_ns = State.CONNECTING, None
                return Reconnect()
            case "heartbeat" | "spawning_complete" | "update_user_class":
                return None
        return Custom(kind, data)

    def _spawn(self, data: Any) -> Spawn | None:
        try:
            users = {str(name): int(count) for name, count in data["user_classes_count"].items()}
            at = float(data["timestamp"])
            stop_timeout_s = float(data.get("stop_timeout") or 0.0)
            host = data.get("host")
            options = data.get("parsed_options") or {}
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise ProtocolError(f"a spawn order that cannot be read: {error!r}") from error
        if any(count < 0 for count in users.values()) or sum(users.values()) > MAX_USERS:
            raise ProtocolError(f"a spawn order for {sum(users.values()):,} users; at most {MAX_USERS:,} are possible")
        if at <= self._spawned_at or self.state in (State.STOPPING, State.ENDED):
            return None
        self._spawned_at = at
        first = self.state is not State.RUNNING
        self.state = State.RUNNING
        self._users = users
        return Spawn(users, host if isinstance(host, str) else None, stop_timeout_s, dict(options), first)

    def due(self, now_ns: int, *, cpu_percent: float, memory_bytes: int) -> tuple[list[bytes], Quit | None]:
        """What is to be sent at this moment by itself; a `Quit` where the master has been silent for too long."""
        if self.state is State.ENDED:
            return [], None
        if self.state is not State.CONNECTING and self._heard_ns is not None:
            silent_ns = now_ns - self._heard_ns
            if silent_ns > MASTER_SILENT_NS:
                self.state = State.ENDED
                return [], Quit(f"the master has been silent for {silent_ns / NS_PER_S:.0f} s")
        frames: list[bytes] = []
        if self.state is State.CONNECTING:
            if self._ready_ns is None or now_ns - self._ready_ns >= READY_EVERY_NS:
                self._ready_ns = now_ns
                frames.append(self._frame("client_ready", ANY_VERSION))
        elif self._heartbeat_ns is None or now_ns - self._heartbeat_ns >= HEARTBEAT_EVERY_NS:
            self._heartbeat_ns = now_ns
            data = {
                "state": LOCUST_STATES[self.state],
                "current_cpu_usage": cpu_percent,
                "current_memory_usage": memory_bytes,
            }
            frames.append(self._frame("heartbeat", data))
        return frames, None

    def spawning(self) -> bytes:
        """Said before the users of a spawn order are started."""
        return self._frame("spawning", None)

    def spawned(self) -> bytes:
        """Said when the users of the last spawn order are there."""
        data = {"user_classes_count": self._users, "user_count": sum(self._users.values())}
        return self._frame("spawning_complete", data)

    def stats(self, report: dict[str, Any]) -> bytes:
        """A report of what happened since the last one (`rows.Rows.report`), with the users there are."""
        users = {"user_classes_count": self._users, "user_count": sum(self._users.values())}
        return self._frame("stats", {**report, **users})

    def stopped(self) -> list[bytes]:
        """Said when the users have ended; the worker is ready for the next run then."""
        self._users = {}
        self.state = State.READY
        self._heartbeat_ns = None
        return [self._frame("client_stopped", None), self._frame("client_ready", ANY_VERSION)]

    def no_users(self) -> None:
        """The users have ended, and what follows are the last reports."""
        self._users = dict.fromkeys(self._users, 0)

    def exception(self, message: str, traceback: str) -> bytes:
        """A bug of ours; Locust lists it under Exceptions."""
        return self._frame("exception", {"msg": message, "traceback": traceback})

    def leaving(self) -> bytes:
        """Said by a worker that ends by itself."""
        self.state = State.ENDED
        return self._frame("quit", None)

    def custom(self, kind: str, data: Any) -> bytes:
        """A message that is not of Locust's protocol, for a master that listens for it."""
        return self._frame(kind, data)

    def _frame(self, kind: str, data: Any) -> bytes:
        frame: bytes = msgpack.packb((kind, data, self.client_id))
        return frame


def _decoded(frame: bytes) -> tuple[str, Any]:
    if len(frame) > MAX_FRAME_BYTES:
        raise ProtocolError(f"a frame of {len(frame):,} bytes; at most {MAX_FRAME_BYTES:,} are read")
    try:
        kind, data, _ = msgpack.unpackb(frame, raw=False, strict_map_key=False)
    except Exception as error:  # msgpack raises errors of six families for bytes that are none of its own
        raise ProtocolError(f"a frame that is not Locust's: {error!r}") from error
    if not isinstance(kind, str):
        raise ProtocolError("a frame that is not Locust's: its type is no text")
    return kind, data
