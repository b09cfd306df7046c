"""Where faults act: by chunk, byte, time and probability. Pure: no server, no clock."""

from __future__ import annotations

import gzip
import random
from typing import Any

import pytest

from mock_openai.upstream.faults.catalogue import FaultError, parse_fault, parse_faults
from mock_openai.upstream.faults.damage import damaged, drawn
from mock_openai.upstream.stream import Ending, Frame, Script

MS = 1_000_000


class Plain:
    """The simplest protocol: the frame is the text."""

    def surplus(self, text: str) -> bytes:
        return text.encode()

    def empty(self) -> bytes:
        return b"()"

    def error(self, message: str, type_: str, code: str | None) -> bytes:
        return b"!"


def frames(texts: str = "abcdef", gap_ms: int = 10) -> list[Frame]:
    """A role frame, a content frame for each letter, 10 ms apart, and a last frame."""
    content = [
        Frame(index * gap_ms * MS, f"<{letter}>".encode(), index + 1, index + 1) for index, letter in enumerate(texts)
    ]
    last_ns = content[-1].due_ns
    return [Frame(0, b"[role]"), *content, Frame(last_ns, b"[done]")]


def run(*faults: Any, seed: int = 1, given: list[Frame] | None = None) -> Script:
    return damaged(given or frames(), parse_faults(list(faults)), Plain(), random.Random(seed))


def body(script: Script) -> bytes:
    return b"".join(write.data for write in script.writes)


UNDAMAGED = b"[role]<a><b><c><d><e><f>[done]"


@pytest.mark.parametrize(
    ("at", "left"),
    [
        ({"chunk": 0}, b"[role]"),
        ({"chunk": 2}, b"[role]<a><b>"),
        ({"byte": 0}, b""),
        ({"byte": 8}, b"[role]<a"),
        ({"byte": 9}, b"[role]<a>"),
        ({"ms": 0}, b"[role]<a>"),
        ({"ms": 25}, b"[role]<a><b><c>"),
        ({"probability": 1}, b"[role]<a>"),
        (None, b"[role]<a><b><c>"),
    ],
)
@pytest.mark.parametrize(
    ("name", "ending"), [("cut-fin", Ending.FIN), ("cut-rst", Ending.RST), ("cut-end", Ending.END)]
)
def test_a_cut_is_exactly_where_it_was_ordered(name: str, ending: Ending, at: Any, left: bytes) -> None:
    script = run({"fault": name, "at": at} if at else name)
    assert body(script) == left
    assert script.ending is ending
    assert script.cut
    assert [note.fault for note in script.notes] == [name]


@pytest.mark.parametrize("at", [{"chunk": 7}, {"byte": 1000}, {"ms": 51}, {"probability": 0}])
def test_a_place_beyond_the_reply_is_never_reached(at: Any) -> None:
    script = run({"fault": "cut-fin", "at": at}, {"fault": "stall", "at": at}, {"fault": "lost-chunk", "at": at})
    assert body(script) == UNDAMAGED
    assert not script.cut
    assert script.notes == ()


@pytest.mark.parametrize(
    ("faults", "wrote"),
    [
        (["gzip"], None),
        ([{"fault": "cut-fin", "at": {"chunk": 3}}], None),
        ([{"fault": "drip", "at": {"chunk": 2}}, {"fault": "stall", "at": {"byte": 8}}], None),
        ([{"fault": "lost-chunk", "at": {"chunk": 2}}], ["a", "c", "d", "e", "f"]),
        ([{"fault": "lost-chunk", "at": {"chunk": 2}}, {"fault": "cut-end", "at": {"chunk": 4}}], ["a", "c", "d"]),
        ([{"fault": "duplicate-chunk", "at": {"chunk": 2}}], ["a", "bb", "c", "d", "e", "f"]),
        ([{"fault": "reorder-chunks", "at": {"chunk": 5}}], ["a", "b", "c", "d", "f", "e"]),
        ([{"fault": "malformed-json", "at": {"chunk": 1}}], ["", "b", "c", "d", "e", "f"]),
        (["text-after-done"], None),
    ],
)
def test_the_script_tells_the_text_that_is_really_written(faults: list[Any], wrote: list[str] | None) -> None:
    script = damaged(frames(), parse_faults(faults), Plain(), random.Random(1), "abcdef")
    assert script.texts == wrote
    if wrote is not None:
        assert len(wrote) == sum(write.offset is not None for write in script.writes)


def test_a_cut_at_a_time_happens_at_that_time() -> None:
    assert run({"fault": "cut-fin", "at": {"ms": 25}}).ending_ns == 25 * MS


def test_a_stall_delays_what_comes_after_and_nothing_else() -> None:
    script = run({"fault": "stall", "ms": 100, "at": {"chunk": 2}})
    dues = [write.due_ns // MS for write in script.writes]
    assert dues == [0, 0, 10, 120, 130, 140, 150, 150]
    inside = run({"fault": "stall", "ms": 100, "at": {"byte": 8}})
    assert [(write.data, write.due_ns // MS) for write in inside.writes[:4]] == [
        (b"[role]", 0),
        (b"<a", 0),
        (b">", 100),
        (b"<b>", 110),
    ]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"fault": "lost-chunk", "at": {"chunk": 2}}, b"[role]<a><c><d><e><f>[done]"),
        ({"fault": "lost-chunk", "at": {"byte": 10}}, b"[role]<a><c><d><e><f>[done]"),
        ({"fault": "lost-chunk", "at": {"ms": 10}}, b"[role]<a><c><d><e><f>[done]"),
        ({"fault": "lost-chunk", "at": {"probability": 1}}, b"[role][done]"),
        ({"fault": "duplicate-chunk", "at": {"chunk": 6}}, b"[role]<a><b><c><d><e><f><f>[done]"),
        ({"fault": "reorder-chunks", "at": {"chunk": 1}}, b"[role]<b><a><c><d><e><f>[done]"),
        ({"fault": "empty-choices", "at": {"chunk": 1}}, b"[role]()<a><b><c><d><e><f>[done]"),
        ({"fault": "comments", "text": "x", "every": 4}, b"[role]: x\n\n<a><b><c><d>: x\n\n<e><f>[done]"),
        ({"fault": "text-after-done", "text": "g"}, UNDAMAGED + b"g"),
        ({"fault": "error", "at": {"chunk": 1}}, b"[role]<a>!"),
    ],
)
def test_frames_are_changed_where_it_was_ordered(fault: Any, expected: bytes) -> None:
    assert body(run(fault)) == expected


def test_faults_do_not_move_each_others_places() -> None:
    script = run({"fault": "lost-chunk", "at": {"chunk": 1}}, {"fault": "cut-fin", "at": {"chunk": 3}})
    assert body(script) == b"[role]<b><c>"


def test_what_was_lost_is_told_with_the_next_write() -> None:
    script = run({"fault": "lost-chunk", "at": {"chunk": 6}})
    (note,) = script.writes[-1].notes
    assert (note.fault, note.at) == ("lost-chunk", {"chunk": 6})


def test_frames_of_one_moment_are_one_write_unless_split() -> None:
    burst = frames(gap_ms=0)
    assert [write.data for write in run(given=burst).writes] == [b"[role]", b"<a><b><c><d><e><f>", b"[done]"]
    split = run({"fault": "split-frame", "byte": 1, "gap_ms": 5, "at": {"chunk": 2}}, given=burst)
    assert [write.data for write in split.writes] == [b"[role]", b"<a><", b"b><c><d><e><f>", b"[done]"]
    assert [write.due_ns // MS for write in split.writes] == [0, 0, 5, 5]
    # The text of a frame is out when all of it is.
    assert [write.offset for write in split.writes] == [None, 1, 6, None]


def test_several_frames_in_one_write() -> None:
    script = run({"fault": "coalesce", "chunks": 4})
    assert [write.data for write in script.writes] == [b"[role]", b"<a><b><c><d>", b"<e><f>", b"[done]"]
    assert [write.due_ns // MS for write in script.writes] == [0, 30, 50, 50]


def test_a_character_is_split_between_its_bytes() -> None:
    given = frames("aöb")
    script = run({"fault": "split-utf8", "gap_ms": 5}, given=given)
    assert [write.data for write in script.writes] == [b"[role]", b"<a>", b"<\xc3", b"\xb6>", b"<b>", b"[done]"]


def test_a_drip_is_byte_by_byte() -> None:
    script = run({"fault": "drip", "gap_ms": 2, "at": {"chunk": 1}})
    assert [(write.data, write.due_ns // MS) for write in script.writes[1:5]] == [
        (b"<", 0),
        (b"a", 2),
        (b">", 4),
        (b"<b>", 14),
    ]
    assert {len(write.data) for write in run({"fault": "drip", "gap_ms": 0}).writes} == {1}


def test_a_giant_frame_means_the_same() -> None:
    given = [Frame(0, b'data: {"a": 1}\n\n', 1, 1)]
    data = body(run({"fault": "giant-chunk", "bytes": 5000}, given=given))
    assert len(data) == 5000
    assert data.split() == [b"data:", b'{"a":', b"1", b"}"]


def test_compressed_writes_can_be_read_as_they_come() -> None:
    script = run("gzip")
    assert gzip.decompress(body(script)) == UNDAMAGED
    assert len(script.writes) == 8


def test_line_ends_become_crlf_everywhere() -> None:
    given = [Frame(0, b"data: a\n\n", 1, 1)]
    script = run("crlf", {"fault": "comments", "text": "x"}, given=given)
    assert body(script) == b": x\r\n\r\ndata: a\r\n\r\n"


def test_a_probability_is_drawn_from_the_seed() -> None:
    fault = {"fault": "lost-chunk", "at": {"probability": 0.5}}
    bodies = {body(run(fault, seed=seed)) for seed in range(20)}
    assert len(bodies) > 10
    assert body(run(fault, seed=3)) == body(run(fault, seed=3))
    faults = parse_faults([{"fault": "cut-fin", "probability": 0.3}, {"fault": "gzip", "probability": 1}])
    happened = [len(drawn(faults, random.Random(seed))) - 1 for seed in range(1000)]
    assert 250 < sum(happened) < 350


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("no-such-fault", "one of status, rate-limit"),
        ({"at": {"chunk": 1}}, "with `fault`"),
        (7, "name or an object"),
        ({"fault": "stall", "second": 1}, "it takes ms"),
        ({"fault": "stall", "ms": "long"}, "number from 0"),
        ({"fault": "stall", "ms": -1}, "number from 0"),
        ({"fault": "status", "status": 99}, "number from 300 to 599"),
        ({"fault": "rate-limit", "retry": "later"}, "retry-after, retry-after-ms"),
        ({"fault": "quota"}, "needs `requests` or `tokens`"),
        ({"fault": "cut-fin", "at": 5}, "an object with one of chunk, byte, ms, probability"),
        ({"fault": "cut-fin", "at": {"line": 5}}, "not 'line'"),
        ({"fault": "cut-fin", "at": {"chunk": 1.5}}, "is an integer"),
        ({"fault": "cut-fin", "at": {"chunk": True}}, "is a number"),
        ({"fault": "cut-fin", "probability": 2}, "from 0 to 1"),
        ({"fault": "gzip", "at": {"chunk": 1}}, "takes no `at`"),
        ({"fault": "comments", "text": "a\n\ndata: b"}, "is one line"),
    ],
)
def test_a_wrong_fault_is_refused_with_what_is_valid(fault: Any, told: str) -> None:
    with pytest.raises(FaultError) as raised:
        parse_fault(fault)
    assert told in str(raised.value)
