"""Moments of a reply that have a name: how a file says them, and when a stream has come to one."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema_rs
import pytest

from streambench.dialects import bundled_dialects, load_dialect
from streambench.dialects.diagram import diagram
from streambench.dialects.loading import parse_dialect
from streambench.dialects.milestone import MAX_MILESTONES, Milestone, Watch
from streambench.dialects.reference_page import page
from streambench.dialects.schema import dialect_schema
from streambench.errors import ConfigurationError
from streambench.located import read_yaml

HEAD = """\
dialect: mine
version: 1
transport: sse
name: type
events:
  start: {}
  search: {}
  search_web: {of: search, when: {where: web}}
  ping: {of: search, when: {where: none}}
  delta: {content: text}
  whole: {content: text, mode: whole, by: id}
  stop: {content: text, tokens: usage}
grammar: start (search | search_web | delta | whole)* stop
anywhere: [ping]
"""


def milestones(text: str) -> tuple[Milestone, ...]:
    return parse_dialect(f"{HEAD}milestones: {text}\n", Path("mine.yaml")).milestones


def test_the_short_form_and_the_long_one() -> None:
    assert milestones("{first_document: search, second: {event: [search_web], from: first_document}}") == (
        Milestone("first_document", ("search", "search_web")),
        Milestone("second", ("search_web",), since="first_document"),
    )
    assert milestones("{plan: {event: start, from: sent}, either: [start, stop]}") == (
        Milestone("plan", ("start",), since="sent"),
        Milestone("either", ("start", "stop")),
    )
    assert parse_dialect(HEAD, Path("mine.yaml")).milestones == ()


@pytest.mark.parametrize(
    ("text", "needs_text"),
    [
        ("{m: delta}", True),
        ("{m: [delta, start]}", False),
        ("{m: whole}", False),  # it repeats what came in pieces, and has no text of its own then
        ("{m: stop}", False),
        ("{m: {event: delta, text: false}}", False),
        ("{m: {event: stop, text: true}}", True),
    ],
)
def test_whose_first_text_counts(text: str, needs_text: bool) -> None:
    (found,) = milestones(text)
    assert found.needs_text is needs_text


@pytest.mark.parametrize(
    ("text", "column", "reason", "suggestion"),
    [
        ("[search]", 13, "must be a mapping", None),
        ("{m: serch}", 17, "no event 'serch'", "search"),
        ("{m: [search, dleta]}", 26, "no event 'dleta'", "delta"),
        ("{m: []}", 17, "empty", None),
        ("{m: {events: search}}", 18, "no key 'events'", "event"),
        ("{m: {from: sent}}", 17, "needs 'event'", None),
        ("{m: {event: search, text: yes please}}", 39, "true or false", None),
        ("{m: {event: search, from: snet}}", 39, "no milestone 'snet'", "sent"),
        ("{first: search, m: {event: delta, from: frist}}", 53, "no milestone 'frist'", "first"),
        ("{m: {event: search, from: m}}", 39, "measured from itself", None),
        ("{a: {event: search, from: b}, b: {event: delta, from: a}}", 39, "measured from itself", None),
        ("{sent: search}", 14, "cannot be the name", None),
        ("{first_text: search}", 14, "cannot be the name", None),
        ("{a.b: search}", 14, "cannot be the name", None),
        (f"{{{', '.join(f'm{i}: search' for i in range(MAX_MILESTONES + 1))}}}", 13, "are the most", None),
    ],
)
def test_mistakes_are_found_with_their_place(text: str, column: int, reason: str, suggestion: str | None) -> None:
    with pytest.raises(ConfigurationError, match=reason) as caught:
        milestones(text)
    assert (caught.value.line, caught.value.column) == (HEAD.count("\n") + 1, column)
    assert caught.value.suggestion == suggestion


@pytest.mark.parametrize("text", ["{m: search}", "{m: [a, b]}", "{m: {event: [a, b], from: sent, text: true}}"])
def test_the_schema_takes_what_the_loader_takes(text: str) -> None:
    validator = jsonschema_rs.validator_for(dialect_schema())
    assert validator.is_valid(read_yaml(f"{HEAD}milestones: {text}\n", "d").plain())
    for wrong in ("{m: {from: sent}}", "{m: 3}", "{m: []}", "{'a b': search}", "[search]", "{m: {event: a, since: b}}"):
        assert not validator.is_valid(read_yaml(f"{HEAD}milestones: {wrong}\n", "d").plain()), wrong


def test_a_stream_comes_to_a_milestone_once() -> None:
    document = Milestone("document", ("search",))
    watch = Watch(
        [
            document,
            Milestone("next", ("search",), since="document"),
            Milestone("answer", ("delta",), needs_text=True),
            Milestone("never", ("stop",), since="answer"),
        ]
    )
    told = [("start", ""), ("stop", "x"), ("search", ""), ("delta", ""), ("search", ""), ("search", ""), ("delta", "a")]
    for index, (name, text) in enumerate(told):
        watch.take(index, name, has_text=bool(text))
    assert watch.reached == {"document": 2, "next": 4, "answer": 6}
    assert not watch.done
    watch.take(7, "stop", has_text=False)
    assert watch.reached["never"] == 7
    assert watch.done


def test_one_event_is_not_the_first_and_the_second() -> None:
    for order in ((0, 1), (1, 0)):
        both = [Milestone("first", ("a",)), Milestone("second", ("a",), since="first")]
        watch = Watch([both[place] for place in order])
        watch.take(0, "a", has_text=False)
        assert watch.reached == {"first": 0}


@pytest.mark.parametrize("name", bundled_dialects())
def test_those_of_the_bundled_dialects_are_shown(name: str) -> None:
    dialect = load_dialect(name)
    for milestone in dialect.milestones:
        assert re.search(rf"note right of \S+ : milestone .*\b{milestone.name}\b", diagram(dialect))
        assert f"| `{milestone.name}` | " in page(dialect)
