"""Compiled grammars: the language is the one that was written, whatever the form of the grammar."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streambench.grammar import Automaton, GrammarError, compile_grammar

ALPHABET = "abc"


def accepts(automaton: Automaton, word: str) -> bool:
    state = 0
    for letter in word:
        following = automaton.rows[state].get(letter)
        if following is None:
            return False
        state = following
    return automaton.accepting[state]


def words(length: int) -> list[str]:
    return ["".join(letters) for n in range(length + 1) for letters in product(ALPHABET, repeat=n)]


@st.composite
def grammars(draw: st.DrawFn, depth: int = 3) -> tuple[str, str]:
    """The same language twice: in our notation, and as a regular expression."""
    kind = draw(st.sampled_from("nsaro")) if depth else "n"
    if kind == "n":
        letter = draw(st.sampled_from(ALPHABET))
        return letter, letter
    one, one_re = draw(grammars(depth - 1))
    if kind == "r":
        sign = draw(st.sampled_from("*+?"))
        return f"({one}){sign}", f"(?:{one_re}){sign}"
    two, two_re = draw(grammars(depth - 1))
    if kind == "s":
        return f"({one}) ({two})", f"(?:{one_re})(?:{two_re})"
    return f"({one} | {two})", f"(?:{one_re}|{two_re})"


@settings(max_examples=150, deadline=None)
@given(grammars())
def test_the_language_is_that_of_the_same_regular_expression(pair: tuple[str, str]) -> None:
    text, expression = pair
    automaton, pattern = compile_grammar(text), re.compile(expression)
    for word in words(5):
        assert accepts(automaton, word) == (pattern.fullmatch(word) is not None), (text, word)


def shuffles(one: str, two: str) -> set[str]:
    if not one or not two:
        return {one + two}
    return {one[0] + rest for rest in shuffles(one[1:], two)} | {two[0] + rest for rest in shuffles(one, two[1:])}


@settings(max_examples=60, deadline=None)
@given(grammars(depth=2), grammars(depth=2))
def test_interleaving_is_every_mixture(one: tuple[str, str], two: tuple[str, str]) -> None:
    automaton = compile_grammar(f"({one[0]}) & ({two[0]})")
    first = [word for word in words(4) if re.fullmatch(one[1], word)]
    second = [word for word in words(4) if re.fullmatch(two[1], word)]
    mixed = {word for a in first for b in second if len(a) + len(b) <= 4 for word in shuffles(a, b)}
    assert {word for word in words(4) if accepts(automaton, word)} == mixed


@settings(max_examples=60, deadline=None)
@given(grammars())
def test_the_completion_from_any_state_leads_to_an_end_and_none_is_shorter(pair: tuple[str, str]) -> None:
    automaton = compile_grammar(pair[0])
    for state in range(len(automaton.rows)):
        reached = state
        for name in automaton.completion(state):
            reached = automaton.rows[reached][name]
        assert automaton.accepting[reached]
        assert automaton.accepting[state] == (automaton.completion(state) == ())


def test_equal_states_are_one() -> None:
    assert len(compile_grammar("(a b)* a b (a b)*").rows) <= 4
    assert len(compile_grammar("(a | b)* (b | a)*").rows) <= 2


def test_a_state_explosion_is_refused_with_a_remedy() -> None:
    grammar = " & ".join(f"(a{i} b{i} c{i})*" for i in range(9))
    with pytest.raises(GrammarError, match="each"):
        compile_grammar(grammar)


@pytest.mark.parametrize(
    ("grammar", "terminal"),
    [
        ("content* done", {"done"}),
        ("content*", set()),
        ("a (b | c)", {"b", "c"}),
        ("a b a", set()),  # an `a` may be followed by more
        ("each(i){ x }+ end", {"end"}),
        ("each(i){ x }+", set()),
    ],
)
def test_terminal_events_are_those_after_which_nothing_may_follow(grammar: str, terminal: set[str]) -> None:
    assert compile_grammar(grammar).terminal_names() == terminal


def test_slices_of_the_same_index_at_different_levels_are_kept_apart() -> None:
    automaton = compile_grammar("each(item){ open each(part){ x y } close }")
    inner = automaton.slices[0].automaton
    assert automaton.first_names() == ("open",)
    assert inner.slices[0].automaton.completion() == ("x", "y")
