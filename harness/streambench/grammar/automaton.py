"""Grammars compiled to deterministic automata, by derivatives.

A state is what may still follow, as an expression; the state after an event is its derivative. `rows[state]` maps the
names that may come next to the state after them, which makes a step one dictionary lookup, and makes the expected set
of a violation simply the keys of the row.

Slices (`each`) are not expanded into the automaton, whose size would be exponential in their number: a slice is one
symbol of the outer automaton and an automaton of its own, which the checker runs once per value of the slice's path.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from streambench.grammar.expression import Algebra, Expression
from streambench.grammar.notation import GrammarError, ParsedGrammar, parse_grammar
from streambench.paths import Getter, compile_path

MAX_STATES = 5_000


@dataclass(slots=True, frozen=True)
class SliceAutomaton:
    """`each(path){…}`: `automaton` runs once per value of `path`; the outer automaton sees each event as `symbol`.

    `key` reads the path.
    """

    path: str
    symbol: str
    automaton: Automaton
    key: Getter


@dataclass(slots=True, frozen=True)
class Automaton:
    """A compiled grammar; state 0 is the start.

    `open_slices[state]` are the slices that have been entered and not left. `tolerated` are the transitions that are
    accepted and reported as information. `targets[symbol]` are the states after that symbol, wherever it may come.
    `slice_of` maps the names inside slices to the index of the (outermost) slice.
    """

    rows: tuple[dict[str, int], ...]
    accepting: tuple[bool, ...]
    open_slices: tuple[frozenset[int], ...]
    tolerated: frozenset[tuple[int, str]]
    targets: dict[str, frozenset[int]]
    slices: tuple[SliceAutomaton, ...]
    slice_of: dict[str, int]
    names: frozenset[str]  # of this level and of all slices
    _shortest: tuple[tuple[str, ...], ...]  # from each state to acceptance, in symbols

    def is_final(self, state: int) -> bool:
        """Nothing may follow: the language's words end here."""
        return self.accepting[state] and not self.rows[state]

    @property
    def ends_are_final(self) -> bool:
        """Wherever the language's words may end, nothing may follow."""
        return all(self.is_final(state) for state, accepts in enumerate(self.accepting) if accepts)

    def first_names(self, state: int = 0) -> tuple[str, ...]:
        """The names of events that should come next in `state`; for a slice, those that may begin a new one.

        Names that are only tolerated are left out.
        """
        names: set[str] = set()
        for symbol in self.rows[state]:
            if (state, symbol) in self.tolerated:
                continue
            inner = self.slice_with(symbol)
            names.update(inner.automaton.first_names() if inner else (symbol,))
        return tuple(sorted(names))

    def completion(self, state: int = 0) -> tuple[str, ...]:
        """The shortest sequence of events that would end the stream from `state`."""
        names: list[str] = []
        for symbol in self._shortest[state]:
            inner = self.slice_with(symbol)
            names += (inner.automaton.completion() or inner.automaton.first_names()[:1]) if inner else (symbol,)
        return tuple(names)

    def slice_with(self, symbol: str) -> SliceAutomaton | None:
        """The slice that the outer automaton knows as `symbol`, if it is one."""
        if symbol.endswith("}"):
            return next(part for part in self.slices if part.symbol == symbol)
        return None

    def terminal_names(self) -> frozenset[str]:
        """The events after which, wherever they come, nothing may follow."""
        return frozenset(
            symbol
            for symbol, states in self.targets.items()
            if self.slice_with(symbol) is None and all(self.is_final(state) for state in states)
        )


def compile_grammar(text: str) -> Automaton:
    """The automaton of a grammar in the notation. Raises GrammarError."""
    algebra = Algebra()
    return compile_parsed(parse_grammar(text, algebra), algebra)


def compile_parsed(grammar: ParsedGrammar, algebra: Algebra) -> Automaton:
    """The automaton of a parsed grammar. Raises GrammarError where it would become too large."""
    states: dict[Expression, int] = {grammar.expression: 0}
    rows: list[dict[str, int]] = []
    tolerated: set[tuple[int, str]] = set()
    waiting = deque([grammar.expression])
    while waiting:
        expression = waiting.popleft()
        row: dict[str, int] = {}
        for name in sorted(expression.first):
            after = algebra.derivative(expression, name)
            if after not in states:
                if len(states) == MAX_STATES:
                    raise GrammarError(
                        f"this grammar needs more than {MAX_STATES:,} states: interleaving (&) multiplies them; "
                        "use each(path){…} where the copies differ by a field",
                        0,
                    )
                states[after] = len(states)
                waiting.append(after)
            if algebra.derivative(expression, name, strict_only=True) is algebra.nothing:
                tolerated.add((len(rows), name))
            row[name] = states[after]
        rows.append(row)
    targets: dict[str, set[int]] = {}
    for row in rows:
        for name, state in row.items():
            targets.setdefault(name, set()).add(state)
    slices = tuple(
        SliceAutomaton(part.path, part.symbol, compile_parsed(part.inner, algebra), compile_path(part.path))
        for part in grammar.slices
    )
    accepting = tuple(expression.nullable for expression in states)
    return Automaton(
        rows=tuple(rows),
        accepting=accepting,
        open_slices=tuple(expression.slices for expression in states),
        tolerated=frozenset(tolerated),
        targets={name: frozenset(found) for name, found in targets.items()},
        slices=slices,
        slice_of={name: i for i, part in enumerate(slices) for name in part.automaton.names},
        names=frozenset(use.name for use in grammar.all_uses()),
        _shortest=_shortest_words(rows, accepting),
    )


def _shortest_words(rows: list[dict[str, int]], accepting: tuple[bool, ...]) -> tuple[tuple[str, ...], ...]:
    """For each state the shortest word to acceptance: breadth first, backwards from the accepting states."""
    before: list[list[tuple[str, int]]] = [[] for _ in rows]
    for state, row in enumerate(rows):
        for name, after in row.items():
            before[after].append((name, state))
    words: list[tuple[str, ...] | None] = [() if accepts else None for accepts in accepting]
    waiting = deque(state for state, accepts in enumerate(accepting) if accepts)
    while waiting:
        state = waiting.popleft()
        word = words[state]
        assert word is not None
        for name, earlier in before[state]:
            if words[earlier] is None:
                words[earlier] = (name, *word)
                waiting.append(earlier)
    return tuple(word if word is not None else () for word in words)
