"""The scenario's phases as a Locust shape: how many users there shall be at each moment."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from locust import LoadTestShape, User

from streambench.clock import MonotonicClock
from streambench.units import NS_PER_S

PEAK_SPAWN_RATE = 100.0

_clock = MonotonicClock()


class PhasesShape(LoadTestShape):
    """One phase after the other; each is `{users: [[second, users], ...], seconds}`, with steps or ramps of users.

    In the open model a user of Locust's stands for one stream a second.
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

    def reset_time(self) -> None:
        """Begin with the first phase."""
        self._index = None
        self._began_ns = _clock.now_ns()

    def tick(self) -> tuple[int, float, list[type[User]]] | None:
        """The users of this moment, as Locust asks for them each second; None where the last phase is over."""
        second = (_clock.now_ns() - self._began_ns) / NS_PER_S
        for index, phase in enumerate(self._phases):
            length_s = phase["seconds"]
            if length_s is None or second < length_s:
                if index != self._index:
                    self._index = index
                    self._on_phase(index)
                return users_at(phase["users"], second) * len(self._classes), PEAK_SPAWN_RATE, self._classes
            second -= length_s
        return None


def users_at(points: Sequence[tuple[float, float]], second: float) -> int:
    """The number of users on the line through `points` (second, users); before and after it, its ends."""
    for (start_s, start), (end_s, end) in itertools.pairwise(points):
        if start_s <= second < end_s:
            return round(start + (end - start) * (second - start_s) / (end_s - start_s))
    return round(points[-1][1] if second >= points[-1][0] else points[0][1])
