"""What stands between a model and its readers: real proxies and a real middleware, each with its verdict.

All of them stand in front of one fake upstream, and one run asks all of them as a browser does. Beside it, a bare
socket asks each once, and says from its own reads what became of the upstream's writes: the verdicts must agree.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tools import programs

BROWSER = "gzip, deflate, br, zstd"
PLAN = {"tokens": 20, "profile": {"name": "fixed", "ttft_ms": 100, "gap_ms": 60}}

# Each system with its verdict.
SYSTEMS = {
    "nginx": "forwarded",
    "nginx-gzip": "forwarded",
    "nginx-http10": "buffered",
    "nginx-buffering-gzip": "buffered",
    "haproxy": "batched",
    "haproxy-no-delay": "forwarded",
    "haproxy-gzip": "batched",
    "apache-deflate": "forwarded",
    "varnish": "forwarded",
    "varnish-whole": "buffered",
    "varnish-gzip": "buffered",
    "express": "forwarded",
    "express-compression": "buffered",
    "express-compression-identity": "forwarded",
    "express-compression-flushed": "forwarded",
}

NGINX = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  proxy_ignore_headers X-Accel-Buffering;
  gzip_types text/event-stream;
  gzip_proxied any;
  gzip_min_length 1;
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass {upstream}; {options} }}
  }}
}}
"""
HAPROXY = """\
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  {options}
listen chat
  bind 127.0.0.1:{port}
  server model {host}:{upstream_port}
"""
APACHE = """\
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
LoadModule filter_module {modules}/mod_filter.so
LoadModule deflate_module {modules}/mod_deflate.so
ServerName localhost
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/pid
ErrorLog {folder}/error.log
Listen 127.0.0.1:{port}
ProxyPass / {upstream}/
{options}
"""
VARNISH = """\
vcl 4.1;
backend default {{ .host = "{host}"; .port = "{upstream_port}"; }}
sub vcl_backend_response {{ {options} }}
"""


@dataclass(frozen=True)
class Kind:
    """A proxy program: its configuration, and the command that runs it in the foreground."""

    configuration: str
    command: Callable[[str, Path, int], list[str]]


KINDS = {
    "nginx": Kind(NGINX, lambda path, folder, _: [path, "-p", str(folder), "-c", str(folder / "conf")]),
    "haproxy": Kind(HAPROXY, lambda path, folder, _: [path, "-f", str(folder / "conf")]),
    "apache2": Kind(APACHE, lambda path, folder, _: [path, "-f", str(folder / "conf"), "-DFOREGROUND"]),
    "varnishd": Kind(
        VARNISH,
        lambda path, folder, port: [
            *(path, "-j", "none", "-F", "-n", str(folder), "-s", "malloc,16m"),
            *("-a", f"127.0.0.1:{port}", "-f", str(folder / "conf")),
        ],
    ),
}
LARGE_BUFFERS = "proxy_buffering on; proxy_buffer_size 64k; proxy_buffers 8 64k;"
PROXIES = {
    "nginx": ("nginx", "proxy_buffering off;"),
    "nginx-gzip": ("nginx", "proxy_buffering off; gzip on;"),
    # With HTTP/1.1 from the upstream, nginx hands chunks on in spite of buffering; 1.0 is what it asks for by default.
    "nginx-http10": (
        "nginx",
        LARGE_BUFFERS + "proxy_http_version 1.0;",
    ),
    "nginx-buffering-gzip": ("nginx", LARGE_BUFFERS + "gzip on;"),
    "haproxy": ("haproxy", ""),
    "haproxy-no-delay": ("haproxy", "option http-no-delay"),
    "haproxy-gzip": ("haproxy", "compression algo gzip\n  compression type text/event-stream"),
    "apache-deflate": ("apache2", "SetOutputFilter DEFLATE"),
    "varnish": ("varnishd", ""),
    "varnish-whole": ("varnishd", "set beresp.do_stream = false;"),
    "varnish-gzip": ("varnishd", "set beresp.do_gzip = true;"),
}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_until_open(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Returns once somebody listens there; fails with what the program wrote when it has ended before."""
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            continue
        return
    pytest.fail(f"{process.args!r} ended with {process.returncode}: {log.read_text()}")


@dataclass(frozen=True)
class Setup:
    """The upstream, and the chat endpoint of each system in front of it."""

    upstream: str
    urls: dict[str, str]


@pytest.fixture(scope="module")
def setup(component: Callable[[str], str], node: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    """Everything started once, all at the same time; ended in the end."""
    root = tmp_path_factory.mktemp("proxies")
    running: list[subprocess.Popen[Any]] = []

    def start_service(*command: str) -> dict[str, Any]:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout is not None
        ready: dict[str, Any] = json.loads(process.stdout.readline())
        return ready

    try:
        upstream = start_service(sys.executable, "-m", "mock_openai", "--json", "--no-chat", "--port", "0")["openai"]
        urls = {}
        waiting = []
        for name, (program, options) in PROXIES.items():
            folder = root / name
            folder.mkdir()
            port = free_port()
            place = urlsplit(upstream)
            (folder / "conf").write_text(
                KINDS[program].configuration.format(
                    folder=folder,
                    port=port,
                    upstream=upstream,
                    host=place.hostname,
                    upstream_port=place.port,
                    modules="/usr/lib/apache2/modules",
                    options=options,
                )
            )
            log = folder / "log"
            process = subprocess.Popen(
                KINDS[program].command(component(program), folder, port),
                stdout=subprocess.DEVNULL,
                stderr=log.open("w"),
            )
            running.append(process)
            waiting.append((process, port, log))
            urls[name] = f"http://127.0.0.1:{port}/v1/chat/completions"
        script = Path(__file__).parents[1] / "node/express_chat.mjs"
        port = start_service(node, str(script), f"{upstream}/v1")["port"]
        urls["express"] = f"http://127.0.0.1:{port}/plain"
        urls["express-compression"] = urls["express-compression-identity"] = f"http://127.0.0.1:{port}/compressed"
        urls["express-compression-flushed"] = f"http://127.0.0.1:{port}/flushed"
        for one in waiting:
            wait_until_open(*one)
        yield Setup(upstream, urls)
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(20)
            if process.stdout is not None:
                process.stdout.close()


def asked_for(name: str) -> str:
    return "identity" if name.endswith("identity") else BROWSER


# With a bare socket


def dechunked(reads: list[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """The body's bytes with the moment of the read that brought each; the head and all framing are gone."""
    data = b"".join(part for _, part in reads)
    head, _, _ = data.partition(b"\r\n\r\n")
    ends = []
    total = 0
    for at_ns, part in reads:
        total += len(part)
        ends.append((total, at_ns))

    def pieces(begin: int, end: int) -> Iterator[tuple[int, bytes]]:
        for stop, at_ns in ends:
            if begin < min(stop, end):
                yield at_ns, data[begin : min(stop, end)]
                begin = min(stop, end)

    at = len(head) + 4
    if b"transfer-encoding: chunked" not in head.lower():
        yield from pieces(at, len(data))
        return
    while True:
        line_end = data.index(b"\r\n", at)
        size = int(data[at:line_end].split(b";")[0], 16)
        if size == 0:
            return
        yield from pieces(line_end + 2, line_end + 2 + size)
        at = line_end + 2 + size + 2


def arrivals(setup: Setup, name: str, mark: str) -> list[tuple[int, int]]:
    """One stream read by `recv`: (moment, characters of the reply so far), whenever there were more of them."""
    place = urlsplit(setup.urls[name])
    body = json.dumps(
        {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": f"Hello [[sb:{mark}]]"}]}
    )
    reads = []
    with socket.create_connection((place.hostname, place.port), timeout=30) as connection:
        connection.sendall(
            f"POST {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: application/json\r\n"
            f"Accept-Encoding: {'gzip' if asked_for(name) == BROWSER else 'identity'}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
        )
        while part := connection.recv(1 << 16):
            reads.append((time.monotonic_ns(), part))
    head = b"".join(part for _, part in reads).partition(b"\r\n\r\n")[0].lower()
    decoder = zlib.decompressobj(31) if b"content-encoding: gzip" in head else None
    text = b""
    characters = []
    for at_ns, part in dechunked(reads):
        text += decoder.decompress(part) if decoder else part
        whole = text[: text.rfind(b"\n\n") + 1].decode()
        events = [json.loads(line[6:]) for line in whole.splitlines() if line.startswith("data: {")]
        count = sum(len(choice["delta"].get("content") or "") for event in events for choice in event["choices"])
        characters.append((at_ns, count))
    return characters


TRIES = 3
LEAST_HELD = ("forwarded", "batched", "buffered")


def raw_verdict(setup: Setup, name: str) -> str:
    """What the bare socket saw: whether each write had arrived before the next one, before the last one, or not."""
    mark = f"raw-{name}"
    plan = json.dumps({"id": mark, **PLAN}).encode()
    headers = {"content-type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(f"{setup.upstream}/_mock/plans", plan, headers)).close()
    seen = arrivals(setup, name, mark)
    with urllib.request.urlopen(f"{setup.upstream}/_mock/journal?id={mark}") as answer:
        chunks = json.load(answer)["entries"][-1]["chunks"]
    written, offsets = chunks["written_ns"], chunks["offset"]
    arrived = [next(at_ns for at_ns, count in seen if count >= offset) for offset in offsets]
    held = sum(at > following for at, following in zip(arrived, written[1:], strict=False))
    if held <= 0.2 * (len(written) - 1):
        return "forwarded"
    return "batched" if arrived[0] < written[-1] else "buffered"


@pytest.fixture(scope="module")
def raw_verdicts(setup: Setup) -> dict[str, str]:
    """Every system asked once, all at the same time; who seems to hold text back is asked again, alone.

    A bare socket has no stamps of the kernel: on a busy machine it reads late. But what is held back is never on time.
    """
    with ThreadPoolExecutor(len(SYSTEMS)) as threads:
        found = dict(zip(SYSTEMS, threads.map(lambda name: raw_verdict(setup, name), SYSTEMS), strict=True))
    for name, verdict in found.items():
        for _ in range(TRIES):
            if verdict != "forwarded":
                verdict = min(verdict, raw_verdict(setup, name), key=LEAST_HELD.index)
        found[name] = verdict
    return found


# With streambench


@pytest.fixture(scope="module")
def summary(
    setup: Setup,
    tmp_path_factory: pytest.TempPathFactory,
    summary_of_run: Callable[[Path, Mapping[str, Any]], dict[str, Any]],
) -> dict[str, Any]:
    """One run over all systems; another one where three streams did not outweigh a busy moment of the machine.

    A proxy that holds text back does so in each run.
    """
    scenario = {
        "name": "proxies",
        "targets": {
            name: {
                "dialect": "openai-chat",
                "url": setup.urls[name],
                "upstream": setup.upstream,
                "headers": {"accept-encoding": asked_for(name)},
            }
            for name in SYSTEMS
        },
        "prompts": PLAN,
        "load": {"users": 1, "streams": 3},
    }
    found: dict[str, Any] = {}
    for _ in range(TRIES):
        found = summary_of_run(tmp_path_factory.mktemp("run"), scenario)
        if all(found["targets"][name]["authenticity"]["verdict"] == SYSTEMS[name] for name in SYSTEMS):
            break
    return found


@pytest.mark.node
@pytest.mark.parametrize("name", SYSTEMS)
def test_the_verdict_is_what_a_bare_socket_saw(
    raw_verdicts: dict[str, str], summary: dict[str, Any], name: str
) -> None:
    target = summary["targets"][name]
    assert target["streams"]["completed"] == 3, target["errors"]
    assert target["violations"]["count"] == 0
    assert raw_verdicts[name] == SYSTEMS[name]
    undecided = set() if summary["generator"]["valid"] else {"unknown"}  # not on a machine that was too busy to measure
    assert target["authenticity"]["verdict"] in {SYSTEMS[name], *undecided}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is known")
def test_a_run_says_how_long_each_of_them_waited_for_a_cpu(setup: Setup, summary: dict[str, Any]) -> None:
    places = {urlsplit(url).netloc for url in setup.urls.values()}
    assert places <= summary["generator"]["server_wait"].keys()


@pytest.mark.parametrize(
    ("name", "told"),
    [("express-compression", "res.flush()"), ("express-compression-flushed", "flows as it does without compression")],
)
def test_probe_says_whether_compression_holds_text_back(name: str, told: str, setup: Setup) -> None:
    options = [
        "--upstream",
        setup.upstream,
        "--set",
        "prompts.tokens=20",
        "--set",
        f"prompts.profile={PLAN['profile']}",
    ]
    done = programs.run("streambench", "probe", setup.urls[name], "-d", "openai-chat", "--encodings", *options)
    assert done.returncode == 0, done.stderr
    assert told in " ".join(done.stdout.split())
    assert ("http.encoding" in done.stdout) is (name == "express-compression")
