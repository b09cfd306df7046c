"""A real reverse proxy between us and the endpoint: HTTP/2 over TLS, and the buffering that breaks streaming."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CONFIGURATION = """\
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
  server {{
    listen 127.0.0.1:{tls} ssl http2;
    ssl_certificate {folder}/cert.pem;
    ssl_certificate_key {folder}/key.pem;
    location / {{ proxy_pass {upstream}; proxy_buffering off; }}
    location /buffered/ {{
      proxy_pass {upstream}/; proxy_buffering on; proxy_buffers 8 64k; proxy_ignore_headers X-Accel-Buffering;
      gzip on; gzip_types text/event-stream; gzip_proxied any; gzip_min_length 1;
    }}
  }}
}}
"""


@dataclass(frozen=True)
class Proxy:
    """An nginx in front of the fake upstream: `url` forwards, `url`/buffered/ collects."""

    url: str
    upstream: str
    certificate: Path


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def proxy(
    component: Callable[[str], str], shared_mock: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    nginx = component("nginx")
    upstream = shared_mock("--no-chat", "--profile", "fixed").openai
    folder = tmp_path_factory.mktemp("nginx")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    port = free_port()
    (folder / "nginx.conf").write_text(CONFIGURATION.format(folder=folder, tls=port, upstream=upstream))
    process = subprocess.Popen([nginx, "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=subprocess.PIPE)
    try:
        while process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                continue
        assert process.poll() is None, process.stderr and process.stderr.read()
        yield Proxy(f"https://127.0.0.1:{port}", upstream, folder / "cert.pem")
    finally:
        process.terminate()
        process.wait(10)
        if process.stderr is not None:
            process.stderr.close()


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(proxy: Proxy, tmp_path: Path, summary_of_run: Callable[[Path, Mapping[str, Any]], dict[str, Any]]) -> Run:
    """The summary of a run on one of the proxy's paths; `more` are further keys of the target."""

    def summary(path: str, *, http: int, verify: str | bool, **more: Any) -> dict[str, Any]:
        target = {
            "dialect": "openai-chat",
            "url": proxy.url + path,
            "upstream": proxy.upstream,
            "http": http,
            "tls": {"verify": verify},
            **more,
        }
        return summary_of_run(
            tmp_path,
            {
                "name": "nginx",
                "target": target,
                "prompts": {"tokens": 20, "profile": {"name": "fixed", "ttft_ms": 30, "gap_ms": 40}},
                "load": {"users": 2, "streams": 6},
            },
        )

    return summary


def decided(verdict: str, summary: dict[str, Any]) -> set[str]:
    """The verdict, or that there is none where the machine was too busy to measure on."""
    return {verdict} if summary["generator"]["valid"] else {verdict, "unknown"}


@pytest.mark.parametrize("http", [1, 2])
def test_a_proxy_that_forwards_is_forwarded(run: Run, proxy: Proxy, http: int) -> None:
    summary = run("/v1/chat/completions", http=http, verify=str(proxy.certificate))
    (target,) = summary["targets"].values()
    assert target["streams"]["completed"] == 6, target["errors"]
    assert target["violations"]["count"] == 0
    assert target["authenticity"]["verdict"] in decided("forwarded", summary)
    # Both users keep their connection: only the first stream of each has opened one.
    assert target["metrics"]["connect"]["n"] == 2


@pytest.mark.parametrize("http", [1, 2])
def test_a_proxy_that_buffers_is_found_out(run: Run, http: int) -> None:
    headers = {"accept-encoding": "gzip"}
    summary = run("/buffered/v1/chat/completions", http=http, verify=False, headers=headers)
    (target,) = summary["targets"].values()
    assert target["streams"]["completed"] == 6, target["errors"]
    assert target["violations"]["count"] == 0
    assert target["authenticity"]["verdict"] in decided("buffered", summary)


def test_an_unknown_certificate_is_unreachable_and_says_why(run: Run) -> None:
    result = run("/v1/chat/completions", http=1, verify=True)
    assert result["exit_code"] == 5
    assert "self-signed" in result["reason"] or "self signed" in result["reason"]
