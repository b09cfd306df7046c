"""Runs automata over a stream's events, and gets back into step after a deviation.

One mistake is to be one violation. So after an event that does not fit, the run goes on with every state that could
be the true one, had the stream one mistake:

- the event is out of place: the state before it;
- events before it were lost: the state after this event, from wherever it may come;
- two neighbours were swapped: the state after both, owing the one that has not come yet;
- the event before it was out of place, although it fitted: the state before that one, and this event after it.

Further events thin these suspects out. Only when none is left, a second mistake is sure, and is reported.

Slices run beside the outer automaton, one run per value of their path. When the outer automaton leaves a slice
expression, each of its runs must be complete. A run that began with an event out of place may not exist at all, and
then nothing is missing from it.
"""

from __future__ import annotations

import json
from collections.abc import Hashable
from typing import Any

from streambench.grammar.automaton import Automaton
from streambench.grammar.deviations import (
    AFTER_INTERRUPT,
    AFTER_TERMINAL,
    INCOMPLETE_SLICE,
    NO_SLICE_KEY,
    TOLERATED,
    TOO_MANY_SLICES,
    UNEXPECTED_EVENT,
    Deviation,
)
from streambench.paths import MISSING

MAX_SLICES = 10_000

# A suspect: a state, and the one event that may still come late (or None). What is owed lapses with the next event.
_Suspect = tuple[int, str | None]


class GrammarRun:
    """One run of an automaton over the events of one stream, or of one slice of it."""

    __slots__ = (
        "_automaton",
        "_before",
        "_doubtful",
        "_last",
        "_newest",
        "_rows",
        "_runs",
        "_state",
        "_suspects",
        "_tolerated",
    )

    def __init__(self, automaton: Automaton) -> None:
        self._automaton = automaton
        self._rows = automaton.rows
        self._state = 0
        self._suspects: frozenset[_Suspect] | None = None  # None: `_state` is sure
        self._before = 0
        self._last: str | None = None
        self._tolerated = automaton.tolerated
        self._runs: list[dict[Hashable, GrammarRun]] = [{} for _ in automaton.slices]
        self._doubtful = False  # a run of a slice that may not exist
        self._newest: GrammarRun | None = None  # the run that the last event began

    @property
    def accepts(self) -> bool:
        """The stream may end here."""
        accepting = self._automaton.accepting
        if self._suspects is None:
            outer = accepting[self._state]
        elif self._doubtful and (0, None) in self._suspects:
            return True
        else:
            outer = any(accepting[state] for state, _ in self._suspects)
        return outer and all(run.accepts for runs in self._runs for run in runs.values())

    @property
    def sure(self) -> bool:
        """The state is known: no deviation has left it open."""
        return self._suspects is None and all(run.sure for runs in self._runs for run in runs.values())

    @property
    def is_final(self) -> bool:
        """The stream has surely ended here: nothing may follow."""
        return self._suspects is None and self._automaton.is_final(self._state)

    def step(self, name: str, data: Any) -> Deviation | None:
        """Take the next event; the deviation if it does not fit here."""
        automaton = self._automaton
        if automaton.slices:
            return self.step_with_slices(name, data)
        if self._suspects is None:
            state = self._state
            after = self._rows[state].get(name)
            if after is not None:
                self._before = state
                self._last = name
                self._state = after
                if self._tolerated and (state, name) in self._tolerated:
                    return Deviation(TOLERATED, self._strict_names(state))
                return None
        return self._move_unsure(name)

    def repeats(self, name: str, data: Any, changed: Any) -> bool:
        """Whether the event that was taken last would change nothing, were it to come again with `changed` data."""
        automaton, state = self._automaton, self._state
        symbol = self._symbol(name)
        stays = self._rows[state].get(symbol) == state and (state, symbol) not in self._tolerated
        if not stays or self._suspects is not None or (self._before, self._last) != (state, symbol):
            return False
        index = automaton.slice_of.get(name)
        if index is None:
            return self._newest is None
        key = automaton.slices[index].key(data)
        if key != automaton.slices[index].key(changed) or key.__class__ not in (int, str) or self._newest is not None:
            return False
        run = self._runs[index].get(key)
        return run is not None and run.repeats(name, data, changed)

    def could_be(self, name: str) -> bool:
        """Whether the event fits here, without taking it."""
        symbol = self._symbol(name)
        return any(symbol in self._rows[state] for state in self._states())

    def expected(self) -> tuple[str, ...]:
        """The names of the events that fit here."""
        automaton = self._automaton
        unfinished = {i for i, runs in enumerate(self._runs) if not all(run.accepts for run in runs.values())}
        names: set[str] = set()
        for state in self._states():
            for symbol, after in self._rows[state].items():
                if (state, symbol) in self._tolerated:
                    continue
                inner = automaton.slice_with(symbol)
                if inner is None:
                    if not unfinished & (automaton.open_slices[state] - automaton.open_slices[after]):
                        names.add(symbol)
                else:
                    names.update(inner.automaton.first_names())
                    for run in self._runs[automaton.slices.index(inner)].values():
                        names.update(run.expected())
        return tuple(sorted(names))

    def completion(self) -> tuple[str, ...]:
        """The shortest sequence of events that would end the stream: open slices first, then the outer grammar."""
        names: list[str] = []
        for runs in self._runs:
            for run in runs.values():
                names += run.completion()
        return (*names, *min((self._automaton.completion(state) for state in self._states()), key=len))

    def incomplete_slices(self) -> tuple[str, ...]:
        """The slices that have begun and not ended, as `path = value`."""
        return tuple(
            self._label(index, key)
            for index, runs in enumerate(self._runs)
            for key, run in runs.items()
            if not run.accepts
        )

    def _states(self) -> list[int]:
        return [self._state] if self._suspects is None else sorted({state for state, _ in self._suspects})

    def _strict_names(self, state: int) -> tuple[str, ...]:
        return tuple(sorted(name for name in self._rows[state] if (state, name) not in self._tolerated))

    def _symbol(self, name: str) -> str:
        index = self._automaton.slice_of.get(name)
        return name if index is None else self._automaton.slices[index].symbol

    def _label(self, index: int, key: Hashable) -> str:
        return f"{self._automaton.slices[index].path} = {json.dumps(key, default=str)}"

    def _move_unsure(self, symbol: str) -> Deviation | None:
        """A step where the state is not sure, or where the event does not fit the sure one."""
        if self._suspects is None:
            suspects: frozenset[_Suspect] = frozenset(((self._state, None),))
        else:
            suspects = self._suspects
            following: set[_Suspect] = set()
            for state, owed in suspects:
                after = self._rows[state].get(symbol)
                if after is not None:
                    following.add((after, None))
                if owed == symbol:
                    following.add((state, None))
            if following:
                self._settle(following, symbol)
                return None
        deviation = Deviation(UNEXPECTED_EVENT, self.expected())
        self._settle(self._after_a_mistake(suspects, symbol), symbol)
        return deviation

    def _after_a_mistake(self, suspects: frozenset[_Suspect], symbol: str) -> set[_Suspect]:
        rows = self._rows
        after_symbol = self._automaton.targets.get(symbol, frozenset())
        following: set[_Suspect] = {(state, None) for state, _ in suspects}  # out of place
        following.update((state, None) for state in after_symbol)  # events before it were lost
        for state, _ in suspects:  # it came before its predecessor, which is owed
            for skipped, between in rows[state].items():
                after = rows[between].get(symbol)
                if after is not None:
                    following.add((after, skipped))
        if self._last is not None:  # the event before it came before this one
            between_state = rows[self._before].get(symbol)
            if between_state is not None:
                following.add((between_state, None))  # or was out of place
                if self._newest is not None:
                    self._newest.doubt()
                after = rows[between_state].get(self._last)
                if after is not None:
                    following.add((after, None))
        return following

    def _settle(self, suspects: set[_Suspect], symbol: str) -> None:
        self._last = symbol
        if len(suspects) == 1:
            state, owed = next(iter(suspects))
            if owed is None:
                self._before = self._state
                self._state = state
                self._suspects = None
                return
        self._suspects = frozenset(suspects)

    # Slices

    def step_with_slices(self, name: str, data: Any) -> Deviation | None:
        """The same as `step`, for an automaton that has slices."""
        automaton = self._automaton
        index = automaton.slice_of.get(name)
        if index is not None and self._suspects is None and not self._tolerated:
            # The usual event: within a slice that has begun, which moves nothing but the run of its part.
            part = automaton.slices[index]
            if self._rows[self._state].get(part.symbol) == self._state:
                key = part.key(data)
                run = self._runs[index].get(key) if key.__class__ is int or key.__class__ is str else None
                if run is not None:
                    self._before = self._state
                    self._last = part.symbol
                    self._newest = None
                    return self._labelled(run.step(name, data), index, key)
        symbol = name if index is None else automaton.slices[index].symbol
        suspects = self._suspects
        state = self._state
        after = self._rows[state].get(symbol) if suspects is None else None
        if after is not None:
            self._before = state
            self._last = symbol
            self._state = after
            deviation = None
            if after != state:
                left = automaton.open_slices[state] - automaton.open_slices[after]
                if left:
                    deviation = self._leave(left, frozenset(((state, None),)), symbol)
            if (state, symbol) in self._tolerated:
                deviation = deviation or Deviation(TOLERATED, self._strict_names(state))
        else:
            open_before = self._open()
            before = suspects if suspects is not None else frozenset(((state, None),))
            deviation = self._move_unsure(symbol)
            left = open_before - self._open()
            if left:
                deviation = deviation or self._leave(left, before, symbol)
        self._newest = None
        if index is not None:
            inner = self._step_slice(index, name, data, doubtful=deviation is not None)
            if inner is not None and self._newest is not None and self._suspects is None:
                # If it was out of place, the outer automaton has not moved either.
                self._suspects = frozenset(((self._state, None), (state, None)))
            deviation = deviation or inner
        return deviation

    def _open(self) -> frozenset[int]:
        return frozenset().union(*(self._automaton.open_slices[state] for state in self._states()))

    def _step_slice(self, index: int, name: str, data: Any, *, doubtful: bool) -> Deviation | None:
        part = self._automaton.slices[index]
        key = part.key(data)
        if key is MISSING:
            return Deviation(NO_SLICE_KEY, (part.path,))
        if key.__class__ is list or key.__class__ is dict:
            key = json.dumps(key, sort_keys=True)
        runs = self._runs[index]
        run = runs.get(key)
        if run is None:
            if len(runs) >= MAX_SLICES:
                return Deviation(TOO_MANY_SLICES, (), part.path)
            run = runs[key] = self._newest = GrammarRun(part.automaton)
        deviation = run.step(name, data)
        if run is self._newest and (doubtful or deviation is not None):
            run.doubt()
        return self._labelled(deviation, index, key)

    def _labelled(self, deviation: Deviation | None, index: int, key: Hashable) -> Deviation | None:
        """A deviation within a slice, with the part that it is about."""
        if deviation is None:
            return None
        where = self._label(index, key)
        if deviation.where is not None:
            where = f"{where}, {deviation.where}"
        return Deviation(deviation.broken, deviation.expected, where, deviation.completion)

    def _leave(self, left: frozenset[int], before: frozenset[_Suspect], symbol: str) -> Deviation | None:
        """The outer automaton has left slices: every run of them must be complete, and none is needed any more."""
        deviation: Deviation | None = None
        for index in sorted(left):
            runs = self._runs[index]
            incomplete = {key: run for key, run in runs.items() if not run.accepts}
            if not incomplete:
                runs.clear()
                continue
            if deviation is None:
                key, run = next(iter(incomplete.items()))
                deviation = Deviation(INCOMPLETE_SLICE, run.expected(), self._label(index, key), run.completion())
            for run in incomplete.values():
                run.forgive()
            # Either the slice's last events were lost, or this one came too early, or just before the last of them.
            suspects: set[_Suspect] = {(state, None) for state, _ in before}
            suspects.update((state, self._automaton.slices[index].symbol) for state in self._states())
            self._settle(suspects, symbol)
        return deviation

    def doubt(self) -> None:
        """The event that began this run may have been out of place: then the run does not exist, or begins anew."""
        self._doubtful = True
        suspects = self._suspects if self._suspects is not None else frozenset(((self._state, None),))
        self._suspects = suspects | {(0, None)}

    def forgive(self) -> None:
        """An end that did not come has been reported: from here the run may be complete, or go on."""
        accepting = self._automaton.accepting
        suspects: set[_Suspect] = {(state, None) for state in self._states()}
        suspects.update((state, None) for state, accepts in enumerate(accepting) if accepts)
        self._suspects = frozenset(suspects)
        for runs in self._runs:
            for run in runs.values():
                run.forgive()


class GrammarChecker:
    """A stream's whole grammar: the main automaton, and the one that may interrupt it at any time.

    After the end of either, everything is out of place; that is reported once.
    """

    __slots__ = (
        "_interrupt",
        "_interrupt_first",
        "_main",
        "_main_names",
        "_over",
        "_perhaps",
        "_run",
        "_step",
        "interrupted",
    )

    def __init__(self, main: Automaton, interrupt: Automaton | None = None) -> None:
        self._main = GrammarRun(main)
        self._main_names = main.names
        self._perhaps: GrammarRun | None = None  # the run of an interrupt that may have been lost
        self._interrupt = interrupt
        self._interrupt_first = frozenset(interrupt.first_names()) if interrupt is not None else frozenset()
        self._run = self._main
        self._step = self._run.step_with_slices if main.slices else self._run.step
        self._over = False
        self.interrupted = False

    @property
    def accepts(self) -> bool:
        """The stream may end here, or has ended before."""
        return self._over or self._run.accepts or self.may_lack_its_interrupt

    @property
    def sure(self) -> bool:
        """The state is known: no deviation has left it open."""
        return self._over or self._run.sure

    @property
    def may_lack_its_interrupt(self) -> bool:
        """The stream may have been interrupted, by an event that was lost, and have ended since."""
        return self._perhaps is not None and self._perhaps.accepts

    @property
    def over(self) -> bool:
        """Nothing may follow."""
        return self._over or self._run.is_final

    def step(self, name: str, data: Any) -> Deviation | None:
        """Take the next event; the deviation if it does not fit here."""
        if self._over:
            return None
        if name in self._interrupt_first and not (self.interrupted or self._run.is_final or self._run.could_be(name)):
            assert self._interrupt is not None
            self._interrupted_by(GrammarRun(self._interrupt))
        deviation = self._step(name, data)
        if self._perhaps is not None:
            perhaps, self._perhaps = self._perhaps, None
            if deviation is not None and perhaps.step(name, data) is None:
                self._interrupted_by(perhaps)
                return None
        if deviation is not None and self._lacks_its_interrupt(name):
            assert self._interrupt is not None
            self._perhaps = GrammarRun(self._interrupt)
            self._perhaps.step(name, data)
            return deviation
        if deviation is None or deviation.broken is not UNEXPECTED_EVENT or deviation.where is not None:
            return deviation
        if self._interrupt is not None and self.interrupted and name not in self._interrupt.names:
            self._over = True  # the stream goes on as if nothing had happened
            return Deviation(AFTER_INTERRUPT, deviation.expected)
        if not deviation.expected:
            self._over = True
            return Deviation(AFTER_INTERRUPT if self.interrupted else AFTER_TERMINAL)
        return deviation

    def repeats(self, name: str, data: Any, changed: Any) -> bool:
        """Whether the event that was taken last would change nothing, were it to come again.

        `changed` is its data with other values where these may differ then.
        """
        if self._over or self._perhaps is not None or name in self._interrupt_first:
            return False
        return self._run.repeats(name, data, changed)

    def _interrupted_by(self, run: GrammarRun) -> None:
        self.interrupted = True
        self._run = run
        self._step = run.step

    def _lacks_its_interrupt(self, name: str) -> bool:
        """Whether an event that does not fit would only follow an interrupt, which may have been lost."""
        interrupt = self._interrupt
        return (
            interrupt is not None
            and not self.interrupted
            and not self._run.is_final
            and name in interrupt.names
            and name not in self._main_names
        )

    def expected(self) -> tuple[str, ...]:
        """The names of the events that fit here."""
        return self._run.expected()

    def completion(self) -> tuple[str, ...]:
        """The shortest sequence of events that would end the stream."""
        return self._run.completion()

    def incomplete_slices(self) -> tuple[str, ...]:
        """The slices that have begun and not ended."""
        return () if self.interrupted else self._main.incomplete_slices()
