"""Checks across events: what each reports, at which event, and that one mistake is reported once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streambench.dialects import DialectStream, invariants
from streambench.dialects.checks.check import Observed, Parameters
from streambench.dialects.invariants import register_check
from streambench.dialects.loading import parse_dialect
from streambench.errors import ConfigurationError
from streambench.findings import Axis, Finding
from streambench.wire.message import WireMessage

EVENTS = "a: {content: text}\n  b: {content: text}\n  c: {}\n  end: {}"


def reported(invariant: str, *messages: dict[str, Any], complete: bool = True) -> list[tuple[int | None, str]]:
    """The violations of one invariant: (event index, rule)."""
    stream = DialectStream(
        parse_dialect(
            f"dialect: x\nversion: 1\ntransport: sse\nname: type\nevents:\n  {EVENTS}\n"
            f"grammar: (a | b | c)* end\ninvariants:\n  - {invariant}\n",
            Path("x.yaml"),
        )
    )
    sent = [*messages, {"type": "end"}] if complete else messages
    found: list[Finding] = []
    for message in sent:
        found += stream.feed(WireMessage(json.dumps(message), 0)).findings
    found += stream.finish("fin" if complete else "client")
    return [(finding.event_index, finding.rule) for finding in found]


def a(**fields: Any) -> dict[str, Any]:
    return {"type": "a", **fields}


def b(**fields: Any) -> dict[str, Any]:
    return {"type": "b", **fields}


def test_concat_compares_the_text_so_far_with_a_field() -> None:
    assert reported("content.concat == b.all", a(text="x"), b(text="y", all="xy"), b(text="z", all="xyz")) == []
    assert reported("content.concat == b.all", a(text="x"), b(text="y", all="xY")) == [(1, "content.concat")]


def test_concat_takes_the_field_as_the_truth_after_a_loss() -> None:
    assert reported("content.concat == b.all", b(text="y", all="xy"), b(text="z", all="xyz")) == [(0, "content.concat")]


def test_concat_by_key_with_pieces_of_its_own() -> None:
    check = "{check: concat, event: b, path: whole, by: id, from: a, part: piece}"
    assert (
        reported(
            check,
            a(id=1, piece="x"),
            a(id=2, piece="p"),
            a(id=1, piece="y"),
            b(id=2, whole="p"),
            b(id=1, whole="xy"),
        )
        == []
    )
    assert reported(check, a(id=1, piece="x"), b(id=1, whole="")) == [(1, "content.concat")]


def test_concat_of_a_list_of_texts() -> None:
    check = "{check: concat, event: b, path: parts.*.t}"
    assert reported(check, a(text="xy"), b(parts=[{"t": "x"}, {"t": "y"}])) == []
    assert reported(check, a(text="xy"), b(parts=[{"t": "x"}])) == [(1, "content.concat")]


def test_concat_may_leave_out_what_was_not_streamed() -> None:
    check = "{check: concat, event: c, path: all%s}"
    assert reported(check % "", {"type": "c", "all": "x"}) == [(0, "content.concat")]
    assert reported(check % ", if_streamed: true", {"type": "c", "all": "x"}) == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 1, 2], []),
        ([2, 1, 2], [1]),
        (["2025-01-01T00:00:00Z", "2025-01-01T00:00:00.5Z", "2025-01-01T01:00:00+01:00"], [2]),
        (["2025-01-01T00:00:00Z", "2025-01-01T02:00:00+01:00"], []),
        (["b", "a"], [1]),
        ([1, "x"], [1]),
        ([1, None, 2], []),
    ],
)
def test_nondecreasing(values: list[Any], expected: list[int]) -> None:
    found = reported("at.nondecreasing", *(a(at=value) for value in values))
    assert found == [(index, "at.nondecreasing") for index in expected]


def test_nondecreasing_is_about_time() -> None:
    stream = DialectStream(
        parse_dialect(
            "dialect: x\nversion: 1\ntransport: sse\nevents: {e: {}}\ngrammar: e*\ninvariants: [t.nondecreasing]\n",
            Path("x"),
        )
    )
    stream.feed(WireMessage('{"t": 2}', 0))
    (finding,) = stream.feed(WireMessage('{"t": 1}', 9)).findings
    assert (finding.axis, finding.offset, finding.got, finding.expected) == (Axis.TIMING, 9, "1", (">= 2",))


def test_one_slip_of_a_constant_is_one_mistake_and_so_is_a_change_for_good() -> None:
    assert reported("id.constant", a(id="x"), a(id="y"), a(id="x"), a(id="x")) == [(1, "id.constant")]
    assert reported("id.constant", a(id="x"), a(id="y"), a(id="y"), a(id="y")) == [(1, "id.constant")]


def test_contiguous_may_say_where_it_begins() -> None:
    check = "{check: contiguous, path: n, from: 1}"
    assert reported(check, a(n=1), a(n=2)) == []
    assert reported(check, a(n=2), a(n=3)) == [(0, "n.contiguous")]


def test_constant() -> None:
    assert reported("id.constant", a(id="x"), b(), b(id="x")) == []
    assert reported("id.constant", a(id="x"), b(id="y"), b(id="y")) == [(1, "id.constant")]
    assert reported("a.id.constant", a(id="x"), b(id="y"), a(id="x")) == []


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([0, 1, 2], []),
        ([5, 6, 7], []),
        ([0, 2, 3], [1]),  # 1 lost
        ([0, 1, 1, 2], [2]),  # 1 doubled
        ([0, 2, 1, 3], [1]),  # swapped
        ([0, "1", 1], [1]),
    ],
)
def test_contiguous(numbers: list[Any], expected: list[int]) -> None:
    found = reported("n.contiguous", *(a(n=number) for number in numbers))
    assert [index for index, _ in found] == expected


def test_last_only() -> None:
    assert reported("last.last_only", a(last=False), a(last=True), b()) == []
    assert reported("last.last_only", a(last=True), a(last=False), a(last=True)) == [(1, "last.last_only")]
    assert reported("last.last_only", a(last=False), a(last=False)) == [(1, "last.last_only")]
    assert reported("last.last_only", a(last=False), complete=False) == []


def test_closed() -> None:
    check = "{check: closed, start: a, end: b, by: id}"
    assert reported(check, a(id=1), a(id=2), b(id=1), b(id=2)) == []
    assert reported(check, a(id=1)) == [(0, "a.closed")]
    assert reported(check, b(id=1)) == [(0, "a.closed")]
    assert reported(check, a(id=1), a(id=1), b(id=1)) == [(1, "a.closed")]
    assert reported(check, a(id=[1]), b(id=[1])) == []


def test_json_of_pieces() -> None:
    check = "{check: json, event: a, by: id, items: calls, item_by: index, text: args%s}"
    good = [a(id=0, calls=[{"index": 0, "args": '{"x"'}]), a(id=0, calls=[{"index": 0, "args": ":1}"}])]
    assert reported(check % "", *good) == []
    assert reported(check % "", good[0]) == [(0, "args.json")]
    assert reported(check % ", unless: {why: length}", good[0], {"type": "c", "why": "length"}) == []
    assert reported(check % "", a(id=0, calls=None), a(id=0), a(id=0, calls=[{"args": None}])) == []


def test_promised() -> None:
    check = "{check: promised, when: {usage: null}, event: c}"
    assert reported(check, a(usage=None), {"type": "c"}) == []
    assert reported(check, a(usage=None)) == [(0, "c.promised")]
    assert reported(check, a()) == []
    either = "{check: promised, when: {usage: null}, event: c, or: {event: a, when: {usage: {empty: false}}}}"
    assert reported(either, a(usage=None), a(usage={"total": 1})) == []
    assert reported(either, a(usage=None), a(usage={}), b(usage={"total": 1})) == [(0, "c.promised")]


def test_a_check_of_ones_own() -> None:
    class Shouting:
        names = frozenset({"a"})

        def event(self, observed: Observed) -> Finding | None:
            if observed.content.isupper():
                return Finding(Axis.CONTENT, "mine.shouting", "Not so loud.", event_index=observed.index)
            return None

        def end(self, *, complete: bool) -> Finding | None:
            return None

    def kind(parameters: Parameters) -> type[Shouting]:
        parameters.text("language", "en")
        return Shouting

    register_check("shouting", kind)
    try:
        assert reported("{check: shouting, language: de}", a(text="HELLO"), b(text="HELLO")) == [(0, "mine.shouting")]
    finally:
        del invariants._registered["shouting"]


def test_a_check_of_another_package_is_found_as_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    def kind(parameters: Parameters) -> type[Any]:
        raise parameters.node.error("found it")

    class Entry:
        def load(self) -> Any:
            return kind

    monkeypatch.setattr(
        "importlib.metadata.entry_points",
        lambda *, group, name: [Entry()] if (group, name) == ("streambench.checks", "theirs") else [],
    )
    try:
        with pytest.raises(ConfigurationError, match="found it"):
            reported("{check: theirs}")
    finally:
        invariants._registered.pop("theirs", None)


def test_memory_stays_bounded_whatever_comes() -> None:
    stream = DialectStream(
        parse_dialect(
            "dialect: x\nversion: 1\ntransport: sse\nname: type\n"
            f"events:\n  {EVENTS}\ngrammar: (a | b | c)* end\ninvariants:\n"
            "  - {check: concat, event: c, path: all, by: id}\n"
            "  - {check: closed, start: a, end: b, by: id}\n"
            "  - {check: json, event: a, by: id, text: text}\n",
            Path("x"),
        )
    )
    rules = set()
    for n in range(12_000):
        event = stream.feed(WireMessage(json.dumps(a(id=n, text="1")), n))
        rules |= {finding.rule for finding in event.findings}
    assert rules == {"content.too-long"}
