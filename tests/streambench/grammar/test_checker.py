"""Runs over events: what is expected, how one mistake stays one violation, and how slices run beside each other."""

from __future__ import annotations

from typing import Any

import pytest

from streambench.grammar import Deviation, GrammarChecker, compile_grammar

Steps = list[tuple[int, Deviation]]


def run(grammar: str, events: str, interrupt: str | None = None) -> tuple[GrammarChecker, Steps]:
    """Feeds events written as `name` or `name:key`, the key being the value of the path `k`."""
    checker = GrammarChecker(compile_grammar(grammar), compile_grammar(interrupt) if interrupt else None)
    found = []
    for index, word in enumerate(events.split()):
        name, _, key = word.partition(":")
        data: dict[str, Any] = {"k": key} if key else {}
        deviation = checker.step(name, data)
        if deviation is not None:
            found.append((index, deviation))
    return checker, found


def where(grammar: str, events: str, interrupt: str | None = None) -> list[tuple[int, str]]:
    checker, found = run(grammar, events, interrupt)
    reported = [(index, deviation.rule) for index, deviation in found]
    return reported if checker.accepts else [*reported, (len(events.split()), "end")]


def test_a_valid_stream_has_no_deviation() -> None:
    assert where("a b* c", "a b b c") == []


def test_what_was_expected_is_said() -> None:
    _, found = run("connected saved status* reply+ done", "connected reply done")
    assert [(index, deviation.expected) for index, deviation in found] == [(1, ("saved",))]


def test_the_shortest_completion_at_a_premature_end() -> None:
    checker, _ = run("connected saved status* reply+ complete? done", "connected saved")
    assert not checker.accepts
    assert checker.completion() == ("reply", "done")
    assert checker.expected() == ("reply", "status")


@pytest.mark.parametrize(
    ("events", "index"),
    [
        ("a c d e", 1),  # b lost
        ("a b b c d e", 2),  # b doubled
        ("a c b d e", 1),  # swapped
        ("a b x c d e", 2),  # x out of place
        ("a b e c d e", 2),
        ("b c d e", 0),
    ],
)
def test_one_mistake_is_one_violation(events: str, index: int) -> None:
    assert where("a b c d e | x", events) == [(index, "grammar.unexpected-event")]


def test_two_mistakes_are_two_violations() -> None:
    assert [index for index, _ in where("a b c d e f g h", "a c d e f f g h")] == [1, 5]


def test_what_follows_the_end_is_reported_once() -> None:
    assert where("a done", "a done a a a") == [(2, "grammar.after-terminal")]


def test_an_interrupt_may_come_at_any_time_and_ends_the_stream() -> None:
    assert where("a b c", "error", "error") == []
    assert where("a b c", "a b error", "error") == []
    assert where("a b c", "a error c", "error") == [(2, "grammar.after-interrupt")]
    assert where("a b c", "a b c error", "error") == [(3, "grammar.after-terminal")]


def test_a_stream_that_goes_on_after_an_interrupt_is_reported_once() -> None:
    assert where("a* done", "a error a a done", "error done?") == [(2, "grammar.after-interrupt")]


def test_a_tolerated_event_is_information() -> None:
    _, found = run("role (delta | ~role)* done", "role delta role done")
    assert [(index, deviation.rule) for index, deviation in found] == [(2, "grammar.tolerated")]
    assert found[0][1].expected == ("delta", "done")


SLICED = "each(k){ start piece* stop }+ done"


def test_slices_run_beside_each_other() -> None:
    assert where(SLICED, "start:a start:b piece:b piece:a stop:a stop:b done") == []


def test_a_slice_says_which_part_went_wrong() -> None:
    _, found = run(SLICED, "start:a start:b stop:a piece:a stop:b done")
    assert [(index, deviation.where) for index, deviation in found] == [(3, 'k = "a"')]


def test_leaving_a_slice_that_is_not_finished() -> None:
    _, found = run(SLICED, "start:a piece:a done")
    (index, deviation) = found[0]
    assert (index, deviation.rule, deviation.completion) == (2, "grammar.incomplete-slice", ("stop",))


def test_an_event_of_a_slice_needs_its_key() -> None:
    assert where(SLICED, "start:a piece stop:a done") == [(1, "grammar.no-slice-key")]


def test_a_stray_event_of_a_part_that_does_not_exist_is_one_violation() -> None:
    assert where(SLICED, "start:a piece:z stop:a done") == [(1, "grammar.unexpected-event")]


def test_slices_within_slices() -> None:
    grammar = "each(k){ open each(p){ x y }+ close } end"
    checker = GrammarChecker(compile_grammar(grammar))
    events = [("open", 1, 0), ("x", 1, 1), ("x", 1, 2), ("open", 2, 0), ("y", 1, 2), ("x", 2, 1), ("y", 2, 1)]
    assert [checker.step(name, {"k": k, "p": p}) for name, k, p in events] == [None] * len(events)
    deviation = checker.step("close", {"k": 1})
    assert deviation is not None
    assert deviation.where == "k = 1, p = 1"
    assert checker.step("close", {"k": 2}) is None


def test_too_many_slices_are_reported_and_not_kept() -> None:
    checker = GrammarChecker(compile_grammar("each(k){ x* }"))
    rules = {deviation.rule for n in range(10_005) if (deviation := checker.step("x", {"k": n}))}
    assert rules == {"grammar.too-many-slices"}


def test_interleaved_parts_keep_their_own_order() -> None:
    assert where("(a b) & (x y)", "a x b y") == []
    assert where("(a b) & (x y)", "a y x b") == [(1, "grammar.unexpected-event")]
