"""The scenario's phases as a Locust shape: the number of users at each moment."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import gevent
from locust import LoadTestShape, User

from streambench.clock import MonotonicClock
from streambench.units import NS_PER_S

TICK_S = 1.0  # how often Locust asks
_NEVER = math.inf

_clock = MonotonicClock()


class PhasesShape(LoadTestShape):
    """One phase after the other; each is `{users: [[second, users], ...], seconds}`, with steps or ramps of users.

    Two points at the same second are a step. In the open model a user of Locust's stands for one stream a second.
    Locust asks once a second, so a ramp is a staircase, and each stair has the ramp's mean. Where a phase or a step
    begins between two questions, the answer waits for it; so the stair before it may be up to two seconds long.
    """

    title = "Phases of the scenario"

    def __init__(
        self, phases: Sequence[dict[str, Any]], classes: Sequence[type[User]], on_phase: Callable[[int], None]
    ) -> None:
        self._phases = phases
        self._classes = list(classes)
        self._on_phase = on_phase
        self._index: int | None = None
        self._began_ns = _clock.now_ns()
        self._edges = edges_of(phases)

    def reset_time(self) -> None:
        """Begin with the first phase."""
        self._index = None
        self._began_ns = _clock.now_ns()

    def tick(self) -> tuple[int, float, list[type[User]]] | None:
        """The users from this moment on, as Locust asks for them each second; None where the last phase is over."""
        second = (_clock.now_ns() - self._began_ns) / NS_PER_S
        edge = self._edge_after(second)
        if edge < second + TICK_S and self._index is not None:
            gevent.sleep(edge - second)
            second = edge
        edge = self._edge_after(second)
        load = load_at(self._phases, second, edge if edge < second + 2 * TICK_S else second + TICK_S)
        if load is None:
            return None
        index, users = load
        if index != self._index:
            self._index = index
            self._on_phase(index)
        number = users * len(self._classes)
        return number, float(max(number, 1)), self._classes  # all at once, as the scenario's own engine has them

    def _edge_after(self, second: float) -> float:
        return next((edge for edge in self._edges if edge > second), _NEVER)


def edges_of(phases: Sequence[dict[str, Any]]) -> list[float]:
    """The seconds at which a phase or a step begins, and the end of the last phase, ascending."""
    edges, begin_s = [], 0.0
    for phase in phases:
        points = phase["users"]
        edges += [begin_s + after[0] for before, after in itertools.pairwise(points) if before[0] == after[0]]
        if phase["seconds"] is None:
            break
        begin_s += phase["seconds"]
        edges.append(begin_s)
    return edges


def load_at(phases: Sequence[dict[str, Any]], second: float, until: float) -> tuple[int, int] | None:
    """The index of the phase at a second and the users there, on the mean until the other; None after the last one."""
    begin_s = 0.0
    for index, phase in enumerate(phases):
        length_s = phase["seconds"]
        if length_s is None or second < begin_s + length_s:
            return index, users_at(phase["users"], (second + until) / 2 - begin_s)
        begin_s += length_s
    return None


def users_at(points: Sequence[tuple[float, float]], second: float) -> int:
    """The number of users on the line through `points` (second, users); before and after it, its ends."""
    for (start_s, start), (end_s, end) in itertools.pairwise(points):
        if start_s <= second < end_s:
            return round(start + (end - start) * (second - start_s) / (end_s - start_s))
    return round(points[-1][1] if second >= points[-1][0] else points[0][1])
