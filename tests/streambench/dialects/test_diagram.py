"""Diagrams: every event is drawn, every node can be reached and left, and the source is well-formed."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest

from streambench.dialects import Dialect, bundled_dialects, load_dialect
from streambench.dialects.diagram import diagram
from streambench.dialects.loading import parse_dialect


def of(grammar: str) -> str:
    names = set(re.findall(r"[a-z]+(?![a-z(])", grammar)) - {"each", "i"}
    return diagram(
        parse_dialect(
            f"dialect: x\nversion: 1\ntransport: sse\nname: type\nevents: {{{', '.join(sorted(names))}}}\n"
            f"grammar: '{grammar}'\n",
            Path("x"),
        )
    )


def arrows(source: str) -> list[str]:
    """The arrows, with the labels of nodes in place of their names."""
    labels = {node: label for label, node in re.findall(r'state "([^"]*)" as (\S+)', source)}
    return sorted(
        f"{labels.get(a, a)} > {labels.get(b, b)}" for a, b in re.findall(r"^\s*(\S+) --> (\S+)$", source, re.MULTILINE)
    )


@pytest.mark.parametrize(
    ("grammar", "expected"),
    [
        ("a b", ["[*] > a", "a > b", "b > [*]"]),
        ("a* b", ["[*] > a", "[*] > b", "a > a", "a > b", "b > [*]"]),
        ("a+ b", ["[*] > a", "a > a", "a > b", "b > [*]"]),
        ("(a b)+ c", ["[*] > a", "a > b", "b > a", "b > c", "c > [*]"]),
        ("a b?", ["[*] > a", "a > [*]", "a > b", "b > [*]"]),
        ("a | b", ["[*] > a, b", "a, b > [*]"]),
        ("a | ~b", ["[*] > a, b (tolerated)", "a, b (tolerated) > [*]"]),
        ("a b a", ["[*] > a", "a > [*]", "a > b", "b > a"]),
    ],
)
def test_arrows_are_what_may_follow(grammar: str, expected: list[str]) -> None:
    assert arrows(of(grammar)) == expected


def test_a_slice_is_a_box() -> None:
    source = of("each(i){ a b } c")
    assert 'state "each i, if any" as n0 {' in source
    assert arrows(source) == sorted(
        ["[*] > a", "a > b", "b > [*]", "[*] > each i, if any", "each i, if any > c", "c > [*]"]
    )


def test_interleaved_parts_are_regions() -> None:
    source = of("(a b) & (c d)")
    assert source.count("--\n") == 1
    assert "side by side" in source


@pytest.mark.parametrize("name", bundled_dialects())
def test_every_event_of_a_bundled_dialect_is_drawn(name: str) -> None:
    dialect: Dialect = load_dialect(name)
    source = diagram(dialect)
    drawn = set(re.findall(r"[\w.-]+", " ".join(re.findall(r'state "([^"]*)"', source).copy()).replace("<br/>", " ")))
    interrupt = dialect.interrupt_automaton.names if dialect.interrupt_automaton else frozenset()
    assert dialect.automaton.names | interrupt | dialect.anywhere <= drawn
    assert source.count("{") == source.count("}")
    assert diagram(dialect) == source


@pytest.mark.parametrize("name", bundled_dialects())
def test_no_node_is_a_dead_end(name: str) -> None:
    source = diagram(load_dialect(name))
    out, into = defaultdict(int), defaultdict(int)
    for a, b in re.findall(r"^\s*(\S+) --> (\S+)$", source, re.MULTILINE):
        out[a] += 1
        into[b] += 1
    for node in re.findall(r'state "[^"]*" as (\S+)', source):
        if node not in ("interrupt", "anywhere"):
            assert out[node], node
            assert into[node], node
