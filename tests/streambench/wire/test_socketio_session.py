from __future__ import annotations

import pytest

from streambench.wire.limits import WireError
from streambench.wire.socketio import PacketType
from streambench.wire.socketio_session import NamespaceState, SocketSession


def connected(*namespaces: str) -> SocketSession:
    session = SocketSession()
    for namespace in namespaces or ("/",):
        session.connect(namespace)
        session.receive(f'0{namespace},{{"sid":"sid of {namespace}"}}')
    session.take_outgoing()
    return session


def test_a_namespace_is_connected_with_its_auth_payload() -> None:
    session = SocketSession()
    session.connect(auth={"token": "t"})
    session.connect("/admin")
    assert session.take_outgoing() == ['0{"token":"t"}', "0/admin,"]
    assert session.namespaces["/"].state is NamespaceState.CONNECTING
    packet = session.receive('0{"sid":"abc"}')
    assert packet is not None
    assert packet.type is PacketType.CONNECT
    assert (session.namespaces["/"].state, session.namespaces["/"].sid) == (NamespaceState.CONNECTED, "abc")
    assert session.namespaces["/admin"].state is NamespaceState.CONNECTING


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        ('4{"message":"not allowed"}', "not allowed"),
        ('4"no"', "no"),
        ('4{"message":{"code":7}}', '{"message": {"code": 7}}'),
        ('4""', '""'),
    ],
)
def test_a_refusal_says_why(packet: str, reason: str) -> None:
    session = SocketSession()
    session.connect()
    session.receive(packet)
    assert (session.namespaces["/"].state, session.namespaces["/"].refusal) == (NamespaceState.REFUSED, reason)
    with pytest.raises(ValueError, match="not connected"):
        session.emit("x")


@pytest.mark.parametrize("answer", ["0", "0{}", '0{"sid":7}'])
def test_an_older_protocol_is_named(answer: str) -> None:
    session = SocketSession()
    session.connect()
    with pytest.raises(WireError, match="older protocol"):
        session.receive(answer)


def test_events_of_both_directions() -> None:
    session = connected("/", "/room")
    assert session.emit("say", "hi", {"n": 1}) is None
    assert session.emit("file", b"\x01", namespace="/room") is None
    assert session.take_outgoing() == [
        '2["say","hi",{"n":1}]',
        '51-/room,["file",{"_placeholder":true,"num":0}]',
        b"\x01",
    ]
    event = session.receive('2/room,["x",1]', offset=5)
    assert event is not None
    assert (event.namespace, event.data, event.offset) == ("/room", ["x", 1], 5)


def test_acknowledgements_of_both_directions() -> None:
    session = connected()
    assert session.emit("a", acknowledged=True) == 0
    assert session.emit("b", acknowledged=True) == 1
    assert session.take_outgoing() == ['20["a"]', '21["b"]']
    answer = session.receive('31["done"]')
    assert answer is not None
    assert (answer.is_ack, answer.id, answer.data) == (True, 1, ["done"])
    assert session.receive('31["again"]') is None
    asked = session.receive('27["question"]')
    assert asked is not None
    session.acknowledge(asked, "yes", b"\x00")
    assert session.take_outgoing() == ['61-7["yes",{"_placeholder":true,"num":0}]', b"\x00"]
    plain = session.receive('2["note"]')
    assert plain is not None
    with pytest.raises(ValueError, match="no acknowledgement"):
        session.acknowledge(plain)
    assert session.receive("3[]") is None
    assert [finding.rule for finding in session.take_findings()] == ["socketio.unknown-ack"]


def test_the_end_of_a_namespace() -> None:
    session = connected("/", "/room")
    session.receive("1/room,")
    assert session.namespaces["/room"].state is NamespaceState.DISCONNECTED
    session.disconnect()
    assert session.take_outgoing() == ["1"]
    assert session.receive('2["late"]') is None
    with pytest.raises(ValueError, match="not connected"):
        session.disconnect()


@pytest.mark.parametrize("packet", ['2/other,["a"]', '0{"sid":"again"}', '4{"message":"late"}'])
def test_packets_that_nobody_asked_for_are_noted_once(packet: str) -> None:
    session = connected()
    for expected in (["socketio.wrong-namespace-state"], []):
        assert session.receive(packet) is None
        assert [finding.rule for finding in session.take_findings()] == expected


def test_the_end_of_the_connection_in_the_middle_of_a_binary_event() -> None:
    session = connected()
    assert session.receive('51-["a",{"_placeholder":true,"num":0}]') is None
    session.finish()
    assert [finding.rule for finding in session.take_findings()] == ["socketio.missing-attachments"]
