"""Real software in front of a stream: asks it with the whole conformance suite, and writes down what it fails.

`python -m tools.real_software` starts the reference chat server, nginx in front of it with buffering off and on, and
each model gateway that is installed (`npm ci --prefix tests/gateway`; `STREAMBENCH_LITELLM`, the path of LiteLLM's
program). It writes the tables between the marks of docs/reference/conformance/real-software.md. What a failure means is
written by hand below them, and a failure that is not explained there ends it with 1.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streambench.conformance.suite import all_cases
from tools.imports import ROOT

PAGE = ROOT / "docs/reference/conformance/real-software.md"
BEGIN, END = "<!-- tables -->", "<!-- end of the tables -->"
GATEWAY = ROOT / "tests/gateway/node_modules/@portkey-ai/gateway"
READY_S = 60.0
SIGNS = {"passed": "✅", "failed": "❌", "warning": "⚠️", "info": "ℹ️", "flaky": "🎲", "not testable": "–"}

NGINX = """\
daemon off;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass {behind}; {settings} }}
  }}
}}
"""
BUFFERED = "proxy_buffering on; proxy_buffers 8 64k; proxy_ignore_headers X-Accel-Buffering;"
KEPT = 'proxy_set_header Connection "";'
NGINX_SETTINGS = {
    "nginx, buffering off": ("proxy_buffering off; proxy_http_version 1.1;", KEPT),
    "nginx, buffering on": (f"{BUFFERED} proxy_http_version 1.1;", KEPT),
    "nginx, HTTP/1.0": (f"{BUFFERED} proxy_http_version 1.0;", ""),
}
LITELLM = """\
model_list:
  - model_name: "*"
    litellm_params: {{model: "openai/*", api_base: "{upstream}/v1", api_key: sk-mock}}
general_settings: {{master_key: sk-conform}}
router_settings: {{disable_cooldowns: true}}
"""


@dataclass(frozen=True, slots=True)
class Software:
    """What is asked: `target` is the scenario's target."""

    name: str
    version: str
    settings: str
    target: dict[str, Any]


@contextmanager
def running(command: list[str], port: int, **environment: str) -> Iterator[None]:
    """A server, until the end of the block. Raises RuntimeError where it does not come up."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with subprocess.Popen(
        command, env={**inherited, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            until_s = time.monotonic() + READY_S
            while not _listens(port):
                if process.poll() is not None or time.monotonic() > until_s:
                    raise RuntimeError(f"{command[0]} did not come up")
                time.sleep(0.1)
            yield
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def bundled() -> Iterator[tuple[str, str]]:
    """The URLs of a fake upstream and of the reference chat server."""
    command = [sys.executable, "-m", "mock_openai", "--json", "--port", "0", "--chat-port", "0", "--profile", "instant"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        try:
            ready = json.loads(process.stdout.readline())
            yield ready["openai"], ready["chat"]
        finally:
            process.terminate()


def behind_nginx(stack: ExitStack, folder: Path, name: str, chat: str, reference: Software) -> Software:
    """The reference chat server behind an nginx. Raises RuntimeError where none comes up."""
    program = shutil.which("nginx")
    if program is None:
        raise RuntimeError("nginx is not installed: apt-get install nginx-light")
    (settings, more), port = NGINX_SETTINGS[name], free_port()
    own = folder / str(port)
    # Workers of an nginx that root has started are somebody else, and could not write what they put aside.
    user = "user root;" if os.getuid() == 0 else ""
    own.mkdir()
    (own / "nginx.conf").write_text(
        NGINX.format(user=user, folder=own, port=port, behind=chat, settings=f"{settings} {more}")
    )
    stack.enter_context(running([program, "-p", str(own), "-c", str(own / "nginx.conf")], port))
    told = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stderr
    target = {**reference.target, "url": f"http://127.0.0.1:{port}/api/chat/stream"}
    return Software(name, told.rpartition("/")[2].strip(), f"`{settings}`", target)


def portkey(stack: ExitStack, folder: Path, upstream: str) -> Software:
    """Portkey's gateway in front of the fake upstream. Raises RuntimeError where none comes up."""
    node = shutil.which("node")
    if node is None or not GATEWAY.is_dir():
        raise RuntimeError("Portkey's gateway is not installed: npm ci --prefix tests/gateway")
    port = free_port()
    command = [node, str(GATEWAY / "build/start-server.js"), f"--port={port}", "--headless"]
    stack.enter_context(running(command, port, NODE_ENV="production"))
    headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"{upstream}/v1"}
    target = {"dialect": "openai-chat", "auth": {"bearer": "sk-conform"}, "headers": headers}
    target |= {"url": f"http://127.0.0.1:{port}/v1/chat/completions", "upstream": upstream}
    return Software(
        "Portkey gateway",
        json.loads((GATEWAY / "package.json").read_text())["version"],
        "`x-portkey-custom-host`",
        target,
    )


def litellm(stack: ExitStack, folder: Path, upstream: str) -> Software:
    """LiteLLM's proxy in front of the fake upstream. Raises RuntimeError where none comes up."""
    program = os.environ.get("STREAMBENCH_LITELLM")
    if not program:
        raise RuntimeError("LiteLLM is not installed: STREAMBENCH_LITELLM is not set")
    port, configuration = free_port(), folder / "litellm.yaml"
    configuration.write_text(LITELLM.format(upstream=upstream))
    command = [program, "--config", str(configuration), "--host", "127.0.0.1", "--port", str(port)]
    stack.enter_context(running(command, port))
    python = str(Path(program).with_name("python"))
    ask = "import importlib.metadata as m; print(m.version('litellm'))"
    version = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.strip()
    target = {"dialect": "openai-chat", "auth": {"bearer": "sk-conform"}, "upstream": upstream}
    target |= {"url": f"http://127.0.0.1:{port}/v1/chat/completions"}
    return Software("LiteLLM proxy", version, "`disable_cooldowns: true`", target)


def ask(software: Software, folder: Path) -> dict[str, Any]:
    """The suite's result, as `conform --json` prints it."""
    scenario = folder / "scenario.yaml"
    scenario.write_text(json.dumps({"version": 1, "name": "real", "target": software.target}))
    command = [sys.executable, "-m", "streambench", "conform", str(scenario), "--json", "-o", str(folder / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (suite,) = json.loads(done.stdout)
    result: dict[str, Any] = suite
    return result


def tables(asked: list[tuple[Software, dict[str, Any]]]) -> str:
    """What each is, and which cases do not hold on which."""
    lines = [
        f"{len(all_cases())} cases, asked on {datetime.now(UTC):%-d %B %Y} on one machine with 2 cores.",
        "",
        "| software | version | settings | passed | warning | failed | not testable | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for software, suite in asked:
        counts = [suite["verdicts"].get(name, 0) for name in ("passed", "warning", "failed", "not testable")]
        counts[2] += suite["verdicts"].get("flaky", 0)
        cells = " | ".join(map(str, counts))
        lines.append(
            f"| {software.name} | {software.version} | {software.settings} | {cells} | {suite['seconds']:.0f} |"
        )
    names = " | ".join(software.name for software, _ in asked)
    lines += ["", f"| case | {names} |", "|---|" + "---|" * len(asked)]
    verdicts = [{one["case"]: one["verdict"] for one in suite["cases"]} for _, suite in asked]
    for case in all_cases():
        found = [of_target[case.id] for of_target in verdicts]
        if any(verdict not in ("passed", "not testable") for verdict in found):
            lines.append(f"| `{case.id}` ({case.keyword}) | {' | '.join(SIGNS.get(one, one) for one in found)} |")
    return "\n".join(lines)


def main() -> int:
    """Ask all that is installed, write the tables, and say what is not explained."""
    asked: list[tuple[Software, dict[str, Any]]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream, chat = stack.enter_context(bundled())
        target = {"dialect": "chat-stream", "url": f"{chat}/api/chat/stream", "upstream": upstream}
        from streambench import __version__

        reference = Software("reference", __version__, "", {**target, "auth": {"bearer": "alice-token"}})
        starts: list[Callable[[ExitStack], Software]] = [
            lambda stack: reference,
            *(lambda stack, n=name: behind_nginx(stack, folder, n, chat, reference) for name in NGINX_SETTINGS),
            lambda stack: portkey(stack, folder, upstream),
            lambda stack: litellm(stack, folder, upstream),
        ]
        for start in starts:
            try:
                with ExitStack() as own:
                    software = start(own)
                    asked.append((software, ask(software, folder)))
            except RuntimeError as problem:
                print(f"left out: {problem}", file=sys.stderr)
                continue
            print(f"{software.name} {software.version}: {asked[-1][1]['verdicts']}", flush=True)
    page = PAGE.read_text("utf-8")
    head, _, rest = page.partition(BEGIN)
    by_hand = rest.partition(END)[2]
    PAGE.write_text(f"{head}{BEGIN}\n{tables(asked)}\n{END}{by_hand}", "utf-8")
    return 1 if unexplained(asked, by_hand) else 0


def unexplained(asked: list[tuple[Software, dict[str, Any]]], page: str) -> list[str]:
    """What does not hold and is not in the part of the page that is headed by the software's name."""
    missing = []
    for software, suite in asked:
        part = re.search(rf"^## {re.escape(software.name)}$(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
        for one in suite["cases"]:
            known = part is not None and f"`{one['case']}`" in part[1]
            if one["verdict"] not in ("passed", "not testable") and not known:
                missing.append(f"{software.name}: {one['case']} {one['verdict']}: {one.get('message')}")
    for line in missing:
        print(f"not explained: {line}", file=sys.stderr)
    return missing


if __name__ == "__main__":
    sys.exit(main())
