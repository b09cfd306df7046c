"""The notation: what it accepts, and where it points when it does not."""

from __future__ import annotations

import pytest

from streambench.grammar import GrammarError, compile_grammar
from streambench.grammar.notation import is_event_name


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        ("", 0, "empty"),
        ("  # only a comment\n", 0, "empty"),
        ("a | ", 4, "missing before the end"),
        ("| a", 0, "missing before '|'"),
        ("a ( b", 5, "')' is missing"),
        ("a ) b", 2, "does not belong"),
        ("a b ]", 4, "means nothing"),
        ("* a", 0, "needs an event before it"),
        ("a ~ ( b )", 4, "before the name of an event"),
        ("each(x) a", 8, "'{' is missing"),
        ("each(x){ a", 10, "'}' is missing"),
        ("each(){ a }", 0, "path of a field"),
        ("each(a..b){ a }", 0, "path of a field"),
        ("a each(x){ a }", 11, "inside each(x)"),
        ("each(x){ b } each(y){ b }", 22, "inside each(y)"),
        ("(" * 60 + "a" + ")" * 60, 50, "nested deeper"),
    ],
)
def test_a_mistake_is_pointed_at(text: str, position: int, reason: str) -> None:
    with pytest.raises(GrammarError) as caught:
        compile_grammar(text)
    assert reason in caught.value.reason
    assert caught.value.position == position


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "a b",
        "a|b",
        "a & b",
        "(a)",
        "a*+?",
        "a# comment\nb",
        "stream-chunk x.y:z/1",
        "~a b",
        "each(a.0.b){ x+ }+ y",
    ],
)
def test_it_accepts(text: str) -> None:
    compile_grammar(text)


@pytest.mark.parametrize("name", ["a", "A_1", "response.output_text.delta", "stream-chunk", "x:y", "a/b"])
def test_names_of_events(name: str) -> None:
    assert is_event_name(name)
    assert compile_grammar(name).names == {name}


@pytest.mark.parametrize("name", ["", "1a", "a b", "a-", "-a", "each", "é", "a*"])
def test_not_names_of_events(name: str) -> None:
    assert not is_event_name(name)


def test_repetition_binds_closer_than_sequence_and_sequence_closer_than_choice() -> None:
    assert compile_grammar("a b* | c").rows == compile_grammar("(a (b*)) | c").rows


def test_interleaving_binds_closer_than_choice() -> None:
    assert compile_grammar("a & b | c").rows == compile_grammar("(a & b) | c").rows
