from __future__ import annotations

import pytest

from streambench.wire.engineio import PROBE, Packet, PacketType, decode_frame
from streambench.wire.engineio_session import EngineSession, SessionState
from streambench.wire.limits import WireError

OPEN = decode_frame('0{"sid":"s","upgrades":["websocket"],"pingInterval":300,"pingTimeout":200}')
MS = 1_000_000


def opened(at_ns: int = 0) -> EngineSession:
    session = EngineSession()
    assert session.receive(OPEN, at_ns) is None
    return session


def test_a_session_opens_with_the_handshake() -> None:
    session = opened(10 * MS)
    assert session.state is SessionState.OPEN
    assert session.handshake is not None
    assert session.handshake.sid == "s"
    assert session.deadline_ns == 510 * MS
    assert session.take_outgoing() == []


@pytest.mark.parametrize("frame", ["2", "40", b"0{}", "1"])
def test_anything_before_the_handshake_is_an_error(frame: str | bytes) -> None:
    with pytest.raises(WireError) as raised:
        EngineSession().receive(decode_frame(frame, offset=3), 0)
    assert (raised.value.finding.rule, raised.value.finding.offset) == ("engineio.no-handshake", 3)


def test_messages_pass_and_pings_are_answered() -> None:
    session = opened()
    assert session.receive(decode_frame("4hello"), 1) == "hello"
    assert session.receive(decode_frame(b"\x01"), 2) == b"\x01"
    assert session.receive(decode_frame("2"), 100 * MS) is None
    session.send("x")
    assert session.take_outgoing() == [Packet(PacketType.PONG), Packet(PacketType.MESSAGE, "x")]
    assert session.take_outgoing() == []


def test_only_a_ping_puts_the_end_off() -> None:
    session = opened()
    session.receive(decode_frame("4x"), 400 * MS)
    assert session.deadline_ns == 500 * MS
    session.receive(decode_frame("2"), 450 * MS)
    assert session.deadline_ns == 950 * MS
    assert not session.expire(949 * MS)
    assert session.expire(950 * MS)
    assert session.state is SessionState.CLOSED
    assert session.close_reason == "no ping from the server for 500 ms (pingInterval + pingTimeout)"
    assert not session.expire(2000 * MS)


def test_the_server_closes() -> None:
    session = opened()
    session.receive(decode_frame("1"), 1)
    assert session.state is SessionState.CLOSED
    assert session.receive(decode_frame("4late"), 2) is None
    with pytest.raises(ValueError, match="closed"):
        session.send("x")


def test_the_client_closes_once() -> None:
    session = opened()
    session.close()
    session.close()
    assert session.take_outgoing() == [Packet(PacketType.CLOSE)]
    assert session.close_reason == "closed by the client"
    unopened = EngineSession()
    unopened.close()
    assert unopened.take_outgoing() == []


def test_packets_that_a_server_should_not_send_are_noted_once() -> None:
    session = opened()
    for _ in range(3):
        for frame in ("0{}", "3", "5", "6"):
            assert session.receive(decode_frame(frame), 1) is None
            findings = session.take_findings()
            assert len(findings) <= 1
    session = opened()
    for frame in ("0{}", "3", "5", "6"):
        session.receive(decode_frame(frame), 1)
    assert [finding.rule for finding in session.take_findings()] == [
        "engineio.second-open",
        "engineio.stray-pong",
        "engineio.stray-upgrade",
    ]
    session.receive(decode_frame("3"), 1)
    assert session.take_findings() == []


def test_the_way_to_a_websocket() -> None:
    session = opened()
    assert session.begin_upgrade() == PROBE
    assert session.probe_answered(decode_frame("3probe"))
    assert session.complete_upgrade() == Packet(PacketType.UPGRADE)
    assert session.receive(decode_frame("4after"), 1) == "after"
    for again in (session.begin_upgrade, session.complete_upgrade, lambda: session.probe_answered(PROBE)):
        with pytest.raises(ValueError, match=r"once|answered|sent"):
            again()


def test_a_probe_without_its_answer_leaves_the_session_with_polling() -> None:
    session = opened()
    session.begin_upgrade()
    assert not session.probe_answered(decode_frame("3"))
    with pytest.raises(ValueError, match="not been answered"):
        session.complete_upgrade()
    assert session.receive(decode_frame("4still"), 1) == "still"


def test_a_session_that_is_not_open_is_not_upgraded() -> None:
    with pytest.raises(ValueError, match="open session"):
        EngineSession().begin_upgrade()
    with pytest.raises(ValueError, match="opening"):
        EngineSession().send("x")
