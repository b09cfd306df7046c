"""The worker's side of Locust's protocol, by itself: frames in, events and frames out."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from streambench.locust.protocol import (
    HEARTBEAT_EVERY_NS,
    MASTER_SILENT_NS,
    MAX_FRAME_BYTES,
    MAX_USERS,
    READY_EVERY_NS,
    Acknowledged,
    Custom,
    ProtocolError,
    Quit,
    Reconnect,
    Spawn,
    State,
    Stop,
    WorkerProtocol,
)


def frame(kind: Any, data: Any = None) -> bytes:
    packed: bytes = msgpack.packb((kind, data, "master"))
    return packed


def spawn(at: float, **users: int) -> bytes:
    return frame(
        "spawn",
        {"timestamp": at, "user_classes_count": users, "host": None, "stop_timeout": 5.0, "parsed_options": {"a": 1}},
    )


def due(worker: WorkerProtocol, now_ns: int) -> list[tuple[str, Any]]:
    frames, _ = worker.due(now_ns, cpu_percent=12.5, memory_bytes=1000)
    return [tuple(msgpack.unpackb(one)[:2]) for one in frames]


@pytest.fixture
def worker() -> WorkerProtocol:
    return WorkerProtocol("here_1")


@pytest.fixture
def ready(worker: WorkerProtocol) -> WorkerProtocol:
    worker.receive(frame("ack", {"index": 3}), 0)
    return worker


def test_it_says_that_it_is_ready_until_the_master_answers(worker: WorkerProtocol) -> None:
    assert due(worker, 0) == [("client_ready", -1)]
    assert due(worker, READY_EVERY_NS - 1) == []
    assert due(worker, READY_EVERY_NS) == [("client_ready", -1)]
    assert worker.receive(frame("ack", {"index": 3}), READY_EVERY_NS) == Acknowledged(3)
    assert worker.state is State.READY


def test_an_old_master_acknowledges_without_an_index(worker: WorkerProtocol) -> None:
    assert worker.receive(frame("ack"), 0) == Acknowledged(None)


def test_its_heart_beats_every_second_in_each_state(ready: WorkerProtocol) -> None:
    beat = {"current_cpu_usage": 12.5, "current_memory_usage": 1000}
    assert due(ready, 0) == [("heartbeat", {"state": "ready", **beat})]
    assert due(ready, HEARTBEAT_EVERY_NS - 1) == []
    ready.receive(spawn(1, real=2), 0)
    assert due(ready, HEARTBEAT_EVERY_NS) == [("heartbeat", {"state": "running", **beat})]
    ready.receive(frame("stop"), 0)
    assert due(ready, 2 * HEARTBEAT_EVERY_NS) == [("heartbeat", {"state": "running", **beat})]


def test_spawn_orders_say_how_many_there_shall_be(ready: WorkerProtocol) -> None:
    assert ready.receive(spawn(1, real=2), 0) == Spawn({"real": 2}, None, 5.0, {"a": 1}, first=True)
    assert ready.receive(spawn(2, real=1), 0) == Spawn({"real": 1}, None, 5.0, {"a": 1}, first=False)
    said = msgpack.unpackb(ready.spawned())
    assert said == ["spawning_complete", {"user_classes_count": {"real": 1}, "user_count": 1}, "here_1"]


@pytest.mark.parametrize("at", [0.5, 1.0])
def test_a_stale_spawn_order_is_dropped(ready: WorkerProtocol, at: float) -> None:
    ready.receive(spawn(1, real=2), 0)
    assert ready.receive(spawn(at, real=9), 0) is None


def test_a_spawn_order_that_comes_while_it_stops_is_dropped(ready: WorkerProtocol) -> None:
    ready.receive(spawn(1, real=2), 0)
    assert ready.receive(frame("stop"), 0) == Stop()
    assert ready.receive(spawn(2, real=2), 0) is None


def test_after_a_stop_it_can_run_again(ready: WorkerProtocol) -> None:
    ready.receive(spawn(1, real=2), 0)
    ready.receive(frame("stop"), 0)
    ready.no_users()
    report = msgpack.unpackb(ready.stats({"stats": []}))[1]
    assert report == {"stats": [], "user_classes_count": {"real": 0}, "user_count": 0}
    assert [msgpack.unpackb(one)[0] for one in ready.stopped()] == ["client_stopped", "client_ready"]
    assert ready.state is State.READY
    assert ready.receive(spawn(2, real=1), 0) == Spawn({"real": 1}, None, 5.0, {"a": 1}, first=True)


def test_a_master_that_is_silent_for_too_long_is_gone(ready: WorkerProtocol) -> None:
    assert ready.due(MASTER_SILENT_NS, cpu_percent=0, memory_bytes=0)[1] is None
    _, end = ready.due(MASTER_SILENT_NS + 1, cpu_percent=0, memory_bytes=0)
    assert end == Quit("the master has been silent for 30 s")
    assert due(ready, 2 * MASTER_SILENT_NS) == []


def test_a_reconnect_makes_it_report_again(ready: WorkerProtocol) -> None:
    assert ready.receive(frame("reconnect"), 0) == Reconnect()
    assert due(ready, 0) == [("client_ready", -1)]


def test_quit_ends_it(ready: WorkerProtocol) -> None:
    assert ready.receive(frame("quit"), 0) == Quit()
    assert due(ready, 0) == []


@pytest.mark.parametrize("kind", ["heartbeat", "spawning_complete", "update_user_class"])
def test_what_concerns_others_asks_for_nothing(ready: WorkerProtocol, kind: str) -> None:
    assert ready.receive(frame(kind, {"user_count": 3}), 0) is None


def test_messages_of_other_kinds_are_handed_on(ready: WorkerProtocol) -> None:
    assert ready.receive(frame("streambench_welcome", {"name": "a"}), 0) == Custom("streambench_welcome", {"name": "a"})


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\xc1",
        b"not msgpack at all",
        msgpack.packb("only a text"),
        msgpack.packb((1, 2, 3)),
        msgpack.packb(("spawn", None, "m")),
        msgpack.packb(("spawn", {"timestamp": 1}, "m")),
        msgpack.packb(("spawn", {"timestamp": "x", "user_classes_count": {}}, "m")),
        spawn(1, real=-1),
        spawn(1, real=MAX_USERS + 1),
        b"\x00" * (MAX_FRAME_BYTES + 1),
    ],
    ids=lambda bad: repr(bad[:20]),
)
def test_a_frame_that_is_none_changes_nothing(ready: WorkerProtocol, bad: bytes) -> None:
    with pytest.raises(ProtocolError):
        ready.receive(bad, 0)
    assert ready.state is State.READY
    assert isinstance(ready.receive(spawn(1, real=1), 0), Spawn)
