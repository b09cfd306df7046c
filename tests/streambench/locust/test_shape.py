"""The scenario's phases as a Locust shape: what Locust is told, and when."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import pytest

pytest.importorskip("zmq", reason="locust is not installed: pip install 'streambench[locust]'")

from streambench.errors import ConfigurationError
from streambench.load.executors.closed import ClosedPhase
from streambench.load.executors.open import OpenPhase
from streambench.load.executors.steps import StepsPhase
from streambench.load.executors.trace import TracePhase
from streambench.load.phases import Load
from streambench.load.scenario import Scenario
from streambench.locust.population import check_phases, points_of

S = 1_000_000_000
# Locust replaces the sockets of whoever imports it, so it is asked in a process of its own, on a clock of the test's.
SCRIPT = """
import json, sys
from streambench.locust import shape
now = 0.0
def sleep(s):
    global now
    now += s
class Clock:
    def now_ns(self):
        return round(now * 1e9)
shape.gevent.sleep, shape._clock = sleep, Clock()
phases, told = [], []
one = shape.PhasesShape(json.load(sys.stdin), [object], phases.append)
one.reset_time()
while True:
    asked = now
    answer = one.tick()
    told.append([round(now, 6), None if answer is None else answer[0]])
    if answer is None or now > 60:
        break
    sleep(max(1.03 - (now - asked), 0))  # Locust itself is a little late each time
print(json.dumps([phases, told]))
"""


def told(*phases: object) -> tuple[list[int], list[tuple[float, int | None]]]:
    """The phases that Locust is told of, and the users with the second at which it hears of them."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=json.dumps(phases), capture_output=True, text=True, timeout=60, check=True
    )
    indices, answers = json.loads(done.stdout)
    changes = [tuple(answer) for i, answer in enumerate(answers) if not i or answer[1] != answers[i - 1][1]]
    return indices, changes


def test_phases_and_steps_begin_when_they_are_due() -> None:
    """Though Locust asks only once a second."""
    closed = points_of(ClosedPhase(users=4, duration_ns=2500 * 10**6))
    steps = points_of(StepsPhase((10, 30, 5), hold_ns=1200 * 10**6))
    indices, changes = told(closed, steps)
    assert indices == [0, 1]
    assert changes == [(0, 4), (2.5, 10), (3.7, 30), (4.9, 5), (6.1, None)]


def test_a_ramp_has_its_mean_on_every_stair_and_so_the_streams_that_are_due() -> None:
    _, changes = told(points_of(OpenPhase(10, 50, duration_ns=10 * S)))
    assert changes[-1] == (10, None)
    due = 0.0
    for (at, rate), (until, _) in itertools.pairwise(changes):
        assert rate == pytest.approx(10 + 4 * (at + until) / 2, abs=0.6)
        due += (rate or 0) * (until - at)
    assert due == pytest.approx(300, rel=0.01)


def test_a_warm_up_has_the_first_load_and_users_may_come_one_after_the_other() -> None:
    _, changes = told(points_of(OpenPhase(10, 20, duration_ns=2 * S), warmup_ns=3 * S))
    assert changes[0] == (0, 10)
    assert 3 <= changes[1][0] < 4
    assert changes[-1] == (5, None)
    _, changes = told(points_of(ClosedPhase(users=20, duration_ns=9 * S, ramp_up_ns=4 * S)))
    assert changes[-2:] == [(pytest.approx(4.1, abs=0.3), 20), (9, None)]
    assert [users for _, users in changes[:-1]] == sorted(users or 0 for _, users in changes[:-1])
    assert 1 <= (changes[0][1] or 0) <= 4


def test_a_trace_is_refused_for_what_it_is() -> None:
    phases = (ClosedPhase(users=1, streams=1), TracePhase(at_ns=(0, S)))
    with pytest.raises(ConfigurationError, match=r"cannot run this phase: 2 arrivals of a trace\. `streambench run`"):
        check_phases(Scenario("s", "s.yaml", "", (), load=Load(phases)))
    check_phases(Scenario("s", "s.yaml", "", (), load=Load(phases[:1])))
