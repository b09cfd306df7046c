"""One edit of a valid trace: reported once and at the right event where it leaves the language, and never elsewhere.

The traces are random walks over the automaton of each bundled dialect. A second opinion judges every edited trace: it
follows the automata of the grammar and of its slices and stops at the first event that does not fit. It knows nothing
of suspects and of getting back into step, which is what it is there to judge.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from streambench.dialects import Dialect, DialectStream, bundled_dialects, load_dialect
from streambench.dialects.stream import UNDISPATCHED
from streambench.findings import Severity
from streambench.grammar import Automaton, GrammarChecker
from streambench.paths import compile_path, parse_path
from streambench.wire.framings import capture_decoder

CAPTURES = Path(__file__).parents[2] / "captures"
Trace = list[tuple[Any, ...]]
KEYS = (0, 1)
TRACES = 60


@dataclass
class Position:
    """Where a trace stands: the state of the outer automaton, and of each slice by the value of its path."""

    state: int = 0
    slices: dict[int, dict[Any, Position]] = field(default_factory=dict)


def step(automaton: Automaton, at: Position, name: str, data: Any) -> Position | None:
    """The position after an event, or None where it does not fit."""
    index = automaton.slice_of.get(name)
    symbol = name if index is None else automaton.slices[index].symbol
    after = automaton.rows[at.state].get(symbol)
    if after is None:
        return None
    slices = dict(at.slices)
    for left in automaton.open_slices[at.state] - automaton.open_slices[after]:
        inner = automaton.slices[left].automaton
        if not all(accepts(inner, position) for position in slices.get(left, {}).values()):
            return None
        slices.pop(left, None)
    if index is not None:
        part = automaton.slices[index]
        key = compile_path(part.path)(data)
        inner_after = step(part.automaton, slices.get(index, {}).get(key, Position()), name, data)
        if inner_after is None:
            return None
        slices[index] = {**slices.get(index, {}), key: inner_after}
    return Position(after, slices)


def accepts(automaton: Automaton, at: Position) -> bool:
    return automaton.accepting[at.state] and all(
        accepts(automaton.slices[index].automaton, position)
        for index, positions in at.slices.items()
        for position in positions.values()
    )


def distance(automaton: Automaton, at: Position) -> int:
    """How many events are missing to the nearest end."""
    return len(automaton.completion(at.state)) + sum(
        distance(automaton.slices[index].automaton, position)
        for index, positions in at.slices.items()
        for position in positions.values()
    )


def candidates(automaton: Automaton, keys: dict[str, Any] | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every event of the grammar, with every value of the paths that its slices read."""
    keys = keys or {}
    for name in sorted(automaton.names - set(automaton.slice_of)):
        yield name, keys
    for part in automaton.slices:
        for key in KEYS:
            yield from candidates(part.automaton, {**keys, part.path: key})


def with_values(values: dict[str, Any]) -> Any:
    """Data that has each value at its path."""
    root: Any = {}
    for path, value in values.items():
        place = root
        segments = parse_path(path)
        for segment, following in pairwise(segments):
            if isinstance(segment, int):
                while len(place) <= segment:
                    place.append({})
                place = place[segment]
            else:
                place = place.setdefault(segment, [] if isinstance(following, int) else {})
        place[segments[-1]] = value
    return root


def random_trace(automaton: Automaton, rng: random.Random, *, length: int = 10) -> Trace:
    """A valid trace: a random walk of about `length` events, then the way home."""
    everything = [(name, with_values(values)) for name, values in candidates(automaton)]
    at, trace = Position(), []
    while True:
        following = [(event, after) for event in everything if (after := step(automaton, at, *event)) is not None]
        if accepts(automaton, at) and (not following or len(trace) >= length):
            return trace
        if len(trace) >= length:
            here = distance(automaton, at)
            following = [(event, after) for event, after in following if distance(automaton, after) < here]
        event, at = rng.choice(following)
        trace.append(event)


def judge(dialect: Dialect, trace: Trace) -> int | None:
    """The index of the first event that a dialect's grammar, interrupt and `anywhere` do not allow.

    The trace's length stands for a premature end, None for a trace that is right.
    """
    main, interrupt = dialect.automaton, dialect.interrupt_automaton
    automaton, at, interrupted = main, Position(), False
    over = False
    for index, (name, data) in enumerate(trace):
        if name in dialect.anywhere and not (over and not dialect.is_socket):
            continue
        after = step(automaton, at, name, data)
        if after is None and interrupt is not None and not interrupted and not over:
            automaton, interrupted = interrupt, True
            after = step(automaton, Position(), name, data)
        if after is None:
            return index
        at = after
        over = automaton.is_final(at.state)
    return None if accepts(automaton, at) else len(trace)


def edits(trace: Trace, others: Trace, rng: random.Random) -> Iterator[tuple[str, Trace]]:
    """Every drop, duplicate and swap of neighbours, every truncation, and an insertion at every place."""
    for i in range(len(trace)):
        yield f"drop {i}", trace[:i] + trace[i + 1 :]
        yield f"duplicate {i}", trace[: i + 1] + trace[i:]
        yield f"truncate at {i}", trace[:i]
    for i in range(len(trace) - 1):
        if trace[i] != trace[i + 1]:
            yield f"swap {i} and {i + 1}", [*trace[:i], trace[i + 1], trace[i], *trace[i + 2 :]]
    for i in range(len(trace) + 1):
        event = rng.choice(others)
        yield f"insert {event[0]} at {i}", [*trace[:i], event, *trace[i:]]


def deviations(dialect: Dialect, trace: Trace) -> list[int]:
    """Where the checker reports; the trace's length stands for a premature end."""
    checker = GrammarChecker(dialect.automaton, dialect.interrupt_automaton)
    found = []
    over = False
    for index, (name, data) in enumerate(trace):
        if name in dialect.anywhere and not (over and not dialect.is_socket):
            continue
        deviation = checker.step(name, data)
        if deviation is not None and deviation.rule != "grammar.tolerated":
            found.append(index)
        over = checker.over
    if not checker.accepts:
        found.append(len(trace))
    return found


def everything(dialect: Dialect) -> Trace:
    """Each event of the dialect, with each value of the paths by which it is sliced."""
    events = [(name, with_values(values)) for name, values in candidates(dialect.automaton)]
    if dialect.interrupt_automaton is not None:
        events += [(name, {}) for name in sorted(dialect.interrupt_automaton.names - dialect.automaton.names)]
    return events + [(name, {}) for name in sorted(dialect.anywhere)]


def captured(dialect: Dialect, path: Path) -> Trace:
    """The events of a capture: name, data and message."""
    decoder, stream = capture_decoder(dialect.transport), DialectStream(dialect)
    messages = [*decoder.feed(path.read_bytes()), *decoder.finish()]
    events = [(stream.feed(message), message) for message in messages]
    return [(event.name, event.data, message) for event, message in events if event.name != UNDISPATCHED]


@pytest.mark.parametrize("name", bundled_dialects())
def test_every_edit_of_a_captured_reply_is_judged_by_its_order_alone(name: str) -> None:
    """Through the whole dialect: whatever schemas and invariants add, the order is judged as the automaton has it."""
    dialect = load_dialect(name)
    rng = random.Random(name)
    for path in sorted((CAPTURES / name).glob("valid*")):
        trace = captured(dialect, path)
        for what, changed in edits(trace, trace, rng):
            wrong_at = judge(dialect, [(event[0], event[1]) for event in changed])
            stream = DialectStream(dialect)
            found = [finding for *_, message in changed for finding in stream.feed(message).findings]
            found += stream.finish("response_end")
            order = [
                finding.event_index
                for finding in found
                if finding.rule.startswith("grammar.") and finding.severity is Severity.VIOLATION
            ]
            assert order == ([] if wrong_at is None else [wrong_at]), f"{path.name}: {what}"


@pytest.mark.parametrize("name", bundled_dialects())
def test_every_edit_that_leaves_the_language_is_reported_where_it_does(name: str) -> None:
    dialect = load_dialect(name)
    rng = random.Random(name)
    others = everything(dialect)
    seen: Counter[str] = Counter()
    for n in range(TRACES):
        trace = random_trace(dialect.automaton, rng, length=2 + n % 15)
        assert deviations(dialect, trace) == [], trace
        for what, changed in edits(trace, others, rng):
            wrong_at = judge(dialect, changed)
            reported = deviations(dialect, changed)
            names = [event[0] for event in changed]
            if wrong_at is None:
                assert reported == [], f"false alarm: {what} in {names}"
                seen["legal"] += 1
            else:
                assert reported == [wrong_at], f"{what} in {names}: reported {reported}"
                seen["illegal"] += 1
    assert seen["illegal"] >= (300 if len(dialect.automaton.names) > 1 else TRACES)  # of one event, only none is wrong
    assert seen["legal"] >= 100


@pytest.mark.parametrize("name", ["ag-ui", "ai-sdk-ui", "cohere-v2", "openai-responses"])
def test_a_second_mistake_is_not_hidden_by_the_first(name: str) -> None:
    """Getting back into step must not be forgiving: of two mistakes far apart, nearly always both are reported."""
    dialect = load_dialect(name)
    rng = random.Random(name)
    others = everything(dialect)
    reports = []
    while len(reports) < 60:
        trace = random_trace(dialect.automaton, rng, length=24)
        _, head = rng.choice([edit for edit in edits(trace[:6], others, rng) if not edit[0].startswith("truncate")])
        _, tail = rng.choice([edit for edit in edits(trace[-6:], others, rng) if not edit[0].startswith("truncate")])
        both = head + trace[6:-6] + tail  # two edits may make up for each other
        wrong = [judge(dialect, edited) for edited in (head + trace[6:], trace[:-6] + tail, both)]
        if len(trace) > 16 and None not in wrong:
            reports.append(deviations(dialect, both))
    assert all(reports)
    assert sum(len(reported) > 1 for reported in reports) >= 0.85 * len(reports)
