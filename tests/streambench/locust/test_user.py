"""`StreamChatUser` in a plain locustfile, beside an HttpUser, under stock Locust."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("zmq", reason="locust is not installed: pip install 'streambench[locust]'")

from streambench.dialects import load_dialect

LOCUSTFILE = """\
import json
from locust import HttpUser, constant, events, task
from streambench.locust import StreamChatUser

class Chat(StreamChatUser):
    fixed_count = 3
    dialect = "./ours.yaml"
    path = "/v1/chat/completions"
    wait_time = constant(0.05)

    @task
    def ask(self):
        reply = self.stream("Hello [[sb:good.%s]]" % id(object()))
        figures = [reply.ttfc_ms, reply.chunks, len(reply.text), reply.record.stamps, reply.ttfc_own_ms]
        with open("replies.jsonl", "a") as out:
            out.write(json.dumps([*figures, reply.milestones]) + "\\n")

    @task
    def break_a_rule(self):
        self.stream("Hello [[sb:broken.1]]", name="broken")

    @task
    def lose_the_server(self):
        self.stream("Hello [[sb:cut.1]]", name="cut")

    @task
    def judge_for_itself(self):
        with self.stream("Hello [[sb:good.2]]", name="judged", catch_response=True) as reply:
            if "no such word" not in reply.text:
                reply.failure("the answer is off the point")

class Site(HttpUser):
    fixed_count = 1
    wait_time = constant(0.1)

    @task
    def look(self):
        self.client.get("/_mock/health")
"""


@pytest.fixture
def upstream(start_mock: Callable[..., Any]) -> str:
    import httpx

    url: str = start_mock("--no-chat").openai
    profile = {"name": "fixed", "ttft_ms": 40, "gap_ms": 5}
    plan = {"seed": 0, "tokens": 10, "profile": profile}
    plans = [
        {"id": "good", **plan},
        {"id": "broken", **plan, "faults": ["missing-finish"]},
        {"id": "cut", **plan, "faults": ["cut-rst"]},
    ]
    answer = httpx.post(f"{url}/_mock/plans", json=plans, trust_env=False)
    assert answer.status_code == 201, answer.text
    return url


def test_a_plain_locustfile_measures_streams(upstream: str, tmp_path: Path) -> None:
    (tmp_path / "locustfile.py").write_text(LOCUSTFILE)
    own = load_dialect("openai-chat").source_path.read_text()
    (tmp_path / "ours.yaml").write_text(f"{own}\nmilestones: {{answered: FINISH, refused: ERROR}}\n")
    done = subprocess.run(
        [sys.executable, "-m", "locust", "--headless", "-u", "4", "-r", "4", "-t", "5s", "--host", upstream,
         "--stop-timeout", "5", "--json"],
        cwd=tmp_path, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    rows = {(row["method"], row["name"]): row for row in json.loads(done.stdout)}
    chat, path = "SSE openai-chat", "/v1/chat/completions"
    good, site = rows[chat, path], rows["GET", "/_mock/health"]
    assert good["num_requests"] > 2
    assert good["num_failures"] == 0
    assert site["num_requests"] > 2
    assert rows["TTFC", path]["num_requests"] == rows["GAP MAX", path]["num_requests"] == good["num_requests"]
    assert 40 <= rows["TTFC", path]["min_response_time"] <= good["min_response_time"]
    for name in ("cut", "judged"):
        assert rows[chat, name]["num_failures"] == rows[chat, name]["num_requests"] > 0
    assert rows[chat, "broken"]["num_failures"] == 0  # it came to its end
    assert "the answer is off the point" in done.stderr
    assert "disconnect" in done.stderr or "reset" in done.stderr
    assert "openai" in done.stderr.partition("Error report")[2]  # the rule, with its name
    replies = [json.loads(line) for line in (tmp_path / "replies.jsonl").read_text().splitlines()]
    assert len(replies) == good["num_requests"]
    assert {(chunks, stamps) for _, chunks, _, stamps, *_ in replies} == {(10, replies[0][3])}
    assert all(0 < own < ttfc for ttfc, _, _, _, own, _ in replies)  # preparing and sending took some time
    # A machine that is late reads the first text and the end at once.
    assert all(list(named) == ["answered"] and named["answered"] >= ttfc for ttfc, *_, named in replies)
    assert rows["milestone.answered", path]["num_requests"] == good["num_requests"]
    assert not any(method == "milestone.refused" for method, _ in rows)
    assert all(ttfc >= 40 for ttfc, *_ in replies)


def test_what_cannot_be_run_is_said_at_once(tmp_path: Path) -> None:
    script = """
from locust.env import Environment
from streambench.locust import StreamChatUser
class Room(StreamChatUser):
    dialect, host = "room-chat", "http://127.0.0.1:1"
class Nowhere(StreamChatUser):
    pass
for user in (Room, Nowhere):
    try:
        user(Environment(user_classes=[user]))
    except Exception as error:
        print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    room, nowhere = done.stdout.splitlines()
    assert room.startswith("ConfigurationError room-chat is spoken on a socket")
    assert nowhere.startswith("ConfigurationError there is no host to chat with")
