"""A real model gateway in front of the fake upstream: what the suite finds in it, wherever it is installed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

VERSION = "1.106.2"
INSTALL = f"python -m venv gateway && gateway/bin/pip install 'litellm[proxy]=={VERSION}'"
CONFIGURATION = """\
model_list:
  - model_name: gpt-4o-mini
    litellm_params: {{model: openai/gpt-4o-mini, api_base: "{upstream}/v1", api_key: sk-mock}}
general_settings: {{master_key: sk-conform}}
router_settings: {{disable_cooldowns: true}}
"""
SCENARIO = """\
version: 1
name: gateway
target: {{dialect: openai-chat, url: "{url}/v1/chat/completions", auth: {{bearer: sk-conform}}, upstream: "{upstream}"}}
"""


@pytest.fixture
def gateway(start_mock: Callable[..., Any], tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The URLs of the gateway and of the fake upstream behind it."""
    program = os.environ.get("STREAMBENCH_LITELLM")
    if not program:
        pytest.skip(f"no gateway: {INSTALL}, then set STREAMBENCH_LITELLM=gateway/bin/litellm")
    upstream = start_mock("--no-chat", "--profile", "instant").openai
    configuration = tmp_path / "gateway.yaml"
    configuration.write_text(CONFIGURATION.format(upstream=upstream))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [program, "--config", str(configuration), "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while process.poll() is None:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    continue
            yield f"http://127.0.0.1:{port}", upstream
        finally:
            process.terminate()


@pytest.mark.timeout(180)
def test_a_gateway_streams_and_what_it_hides_is_found(gateway: tuple[str, str], tmp_path: Path) -> None:
    url, upstream = gateway
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(SCENARIO.format(url=url, upstream=upstream))
    command = [sys.executable, "-m", "streambench", "conform", str(scenario), "--json"]
    cases = ["stream.*", "text.whole", "sse.content-type", "leave.cancels", "upstream.cut-by-end"]
    for case in cases:
        command += ["--case", case]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150)
    (suite,) = json.loads(done.stdout)
    verdicts = {case["case"]: case["verdict"] for case in suite["cases"]}
    assert verdicts["upstream.cut-by-end"] == "failed"
    assert verdicts["stream.begins-early"] == verdicts["text.whole"] == verdicts["sse.content-type"] == "passed"
