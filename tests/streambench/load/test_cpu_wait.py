"""How long processes wait for a CPU: two of them that want the same one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from streambench.load import cpu_wait
from streambench.load.cpu_wait import CpuWait

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is known")

BUSY = """
import os, sys, threading
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
def work():
    while True: pass
threading.Thread(target=work, daemon=True).start()
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def rivals() -> Iterator[list[int]]:
    """Two processes on one core; each has a thread that works without end, while its main thread does nothing."""
    running = []
    for _ in range(2):
        running.append(subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    try:
        for process in running:
            assert process.stdout is not None
            process.stdout.readline()
        yield [process.pid for process in running]
    finally:
        for process in running:
            process.communicate()


def test_the_thread_that_waits_longest_speaks_for_a_server_of_others(
    rivals: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two rivals have the core to themselves where nobody else wants it.
    monkeypatch.setattr(cpu_wait, "OWN_DOING", 100)
    waits = CpuWait({"started": rivals[0]}, {"127.0.0.1:80": rivals})
    while (found := waits.shares())["127.0.0.1:80"] < 0.1:
        pass
    assert found["started"] < found["127.0.0.1:80"]  # the main thread wants no CPU


def test_who_uses_the_machine_himself_waits_for_himself(rivals: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    waits = CpuWait({}, {"127.0.0.1:80": rivals})
    monkeypatch.setattr(cpu_wait, "OWN_DOING", 0)
    while waits.shares():  # until one has run
        pass
    monkeypatch.setattr(cpu_wait, "OWN_DOING", 100)
    assert waits.shares()


def test_of_a_process_that_has_ended_nothing_is_known() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    waits = CpuWait({"started": process.pid}, {"127.0.0.1:80": [process.pid]})
    assert waits.shares().keys() == {"started", "127.0.0.1:80"}
    process.communicate(b"\n")
    assert waits.shares() == {}
    assert CpuWait({"none": os.getpid()}, {"nobody": []}).shares().keys() == {"none"}
