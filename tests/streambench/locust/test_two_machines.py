"""A master and a worker on two machines: two networks, two clocks, two names, joined by one cable."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from streambench.record.model import StreamRecord

pytestmark = pytest.mark.timeout(300)
pytest.importorskip("zmq", reason="locust is not installed: pip install 'streambench[locust]'")

NEAR, FAR = "10.231.77.1", "10.231.77.2"
AHEAD_S = 50_000  # the far machine has been up for so much longer
TTFT_MS = 40
TOKEN = "a-token-for-admin-requests"
SCENARIO = f"""\
name: two
target:
  dialect: openai-chat
  url: "http://{NEAR}:4010/v1/chat/completions"
  upstream: "http://{NEAR}:4010"
  upstream_token: "${{ADMIN_TOKEN}}"
prompts: {{text: Hello, tokens: 12, profile: {{name: fixed, ttft_ms: {TTFT_MS}, gap_ms: 5}}}}
load: {{users: 3, duration: 60s, think: 0.05s}}
"""


@dataclass(frozen=True)
class TwoMachines:
    """Two network namespaces; the far one has a host name, a boot and a monotonic clock of its own as well."""

    near_name: str
    far_name: str
    folder: Path

    @property
    def near(self) -> list[str]:
        """What a command begins with to run on the near machine."""
        return ["ip", "netns", "exec", self.near_name]

    @property
    def far(self) -> list[str]:
        """And on the far one."""
        boot = self.folder / "boot_id"
        boot.write_text("00000000-0000-0000-0000-00000000000f\n")
        set_up = f'hostname far && mount --bind "{boot}" /proc/sys/kernel/random/boot_id && exec "$@"'
        apart = ["unshare", "--mount", "--uts", "--time", "--monotonic", str(AHEAD_S), "--fork", "--kill-child"]
        return ["ip", "netns", "exec", self.far_name, *apart, "sh", "-c", set_up, "sh"]


@pytest.fixture
def machines(component: Callable[[str], str], tmp_path: Path) -> Iterator[TwoMachines]:
    """Two machines and the cable between them; skipped where nobody may make namespaces."""
    component("ip")
    component("unshare")
    near, far = (f"sb{os.getpid()}{side}" for side in ("near", "far"))
    made = TwoMachines(near, far, tmp_path)
    with contextlib.ExitStack() as stack:

        def do(*command: str) -> None:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30)
            if done.returncode:
                pytest.skip(f"two machines need the right to make namespaces (root): {done.stderr.strip()}")

        for name in (near, far):
            do("ip", "netns", "add", name)
            stack.callback(subprocess.run, ["ip", "netns", "delete", name], capture_output=True)
        do("ip", "-n", near, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", far)
        for name, address in ((near, NEAR), (far, FAR)):
            do("ip", "-n", name, "address", "add", f"{address}/24", "dev", "cable")
            for device in ("lo", "cable"):
                do("ip", "-n", name, "link", "set", device, "up")
        do(*made.far, "true")
        yield made


def test_a_worker_on_another_machine_measures_on_its_clock_and_reports_on_the_masters(
    machines: TwoMachines, tmp_path: Path
) -> None:
    (tmp_path / "two.yaml").write_text(SCENARIO)
    environ = {**os.environ, "ADMIN_TOKEN": TOKEN}
    python, running = [sys.executable, "-m"], []

    def start(where: list[str], *command: str, **options: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen([*where, *python, *command], cwd=tmp_path, env=environ, text=True, **options)
        running.append(process)
        return process

    try:
        mock = ("--host", NEAR, "--port", "4010", "--no-chat", "--admin-token", TOKEN, "--json")
        upstream = start(machines.near, "mock_openai", *mock, stdout=subprocess.PIPE)
        assert upstream.stdout is not None
        assert upstream.stdout.readline()
        options = ("--headless", "--master-bind-host", NEAR, "-u", "20", "-r", "2", "-t", "3s", "--json", "--no-plots")
        master = start(machines.near, "streambench", "locust", "two.yaml", "--master", *options, stdout=subprocess.PIPE)
        worker = start(
            machines.far, "streambench", "locust", "two.yaml", "--worker", "--workers", "1", "--master-host", NEAR
        )
        printed, _ = master.communicate(timeout=120)
        assert worker.wait(60) == 0
    finally:
        for process in running:
            if process.poll() is None:
                process.terminate()
        for process in running:
            process.wait(30)
    summary = json.loads(printed)
    (part,) = summary["generator"]["workers"]
    assert part["name"].startswith("far/")
    assert part["records"] > 10
    assert not summary["generator"]["lost"]
    (target,) = summary["targets"].values()
    assert target["streams"]["failed"] == 0

    folder = tmp_path / "reports/two/latest"
    header, *lines = map(json.loads, (folder / "records.jsonl").read_text().splitlines())
    records = [StreamRecord.from_json(line) for line in lines if line["kind"] == "stream"]
    assert len({record.user for record in records}) < 20  # the time ran from the first users on, two each second
    begin_ns, end_ns = header["start_ns"], lines[-1]["at_ns"]
    for record in records:
        assert record.worker == part["name"]
        # Its own clock is hours ahead: these are moments of the master's.
        assert begin_ns < record.start_ns < end_ns
        if record.outcome != "completed":
            continue
        (exchange,) = record.upstream
        assert 0 < exchange.clock_error_ns < 1e9
        first_ns = record.events.at_ns[record.content_rows()[0]]
        # What came was written before, as far as the two clocks can tell.
        assert exchange.written_ns[0] - first_ns <= exchange.clock_error_ns
        assert exchange.arrived_ns - (record.sent_ns or 0) >= -exchange.clock_error_ns
        assert first_ns - record.start_ns >= TTFT_MS * 1e6  # on one clock, so exact
    worst_ms = max(record.upstream[0].clock_error_ns for record in records if record.upstream) / 1e6
    assert target["clock_error_ms"] == pytest.approx(worst_ms, abs=1e-4)
    assert "has its own clock" in (folder / "summary.md").read_text()
