"""Real surroundings for the drivers: certificates, a proxy, and a stream from its prompt to its record."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic_ns
from typing import Any

import orjson
import pytest

from streambench.dialects import Dialect
from streambench.record.model import StreamRecord
from streambench.record.recorder import Recorder
from streambench.record.transcript import Transcript, replay, write_transcript


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate for localhost: its file, and a server's context with it."""

    path: str
    server: ssl.SSLContext


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory, component: Callable[[str], str]) -> Certificate:
    openssl = component("openssl")
    folder = tmp_path_factory.mktemp("tls")
    key, path = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", str(key), "-out", str(path), "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path, key)
    return Certificate(str(path), server)


@dataclass
class TunnelProxy:
    """An HTTP proxy that only tunnels; `asked` are the heads of the requests that it got."""

    url: str = ""
    asked: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head)
        method, target, _ = head.split(" ", 2)
        if method != "CONNECT" or "refused" in head:
            writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            writer.close()
            return
        host, _, port = target.rpartition(":")
        there_reader, there_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(1 << 16):
                target.write(data)
            target.close()

        await asyncio.gather(copy(reader, there_writer), copy(there_reader, writer), return_exceptions=True)


@pytest.fixture
async def tunnel_proxy() -> AsyncIterator[TunnelProxy]:
    proxy = TunnelProxy()
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield proxy
    server.close()


def assert_replayed(path: Path, recorder: Recorder, dialect: Dialect) -> None:
    """What came of a stream, written to a file and read back, gives the same record, byte for byte."""
    assert isinstance(recorder.tap, Transcript)
    write_transcript(path, recorder.tap, recorder)
    assert orjson.dumps(replay(path, lambda _: dialect).to_json()) == orjson.dumps(recorder.record.to_json())


@pytest.fixture
def stream_of(tmp_path: Path) -> Callable[..., Any]:
    """`await stream_of(user, prompt)`: the record of one reply. Each of them is replayed from its transcript."""
    count = 0

    async def stream(user: Any, spec: Any, prompt: str) -> StreamRecord:
        nonlocal count
        count += 1
        now_ns = monotonic_ns()
        record = StreamRecord(
            id=f"s{count}", target=spec.name, dialect=spec.dialect.name, intended_ns=now_ns, start_ns=now_ns
        )
        recorder = Recorder(record, spec.dialect, keep_text=True, tap=Transcript())
        try:
            async with asyncio.timeout(60):
                await user.stream(prompt, recorder)
        finally:
            assert_replayed(tmp_path / f"{record.id}.jsonl", recorder, spec.dialect)
        return record

    return stream


@pytest.fixture
def dialect_file(tmp_path: Path) -> Callable[[str], str]:
    """Write a dialect file; returns its path."""

    def write(text: str) -> str:
        path = tmp_path / "dialect.yaml"
        path.write_text(text)
        return str(path)

    return write
