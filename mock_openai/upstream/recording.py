"""`--record`: a proxy in front of a real service that writes every reply to a trace, with the keys removed."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, web
from yarl import URL

from mock_openai.upstream.errors import openai_refusal
from mock_openai.upstream.params import Refusal
from mock_openai.upstream.profiles import Trace, trace_of
from mock_openai.upstream.traces import save_trace

HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer"}
    | {"transfer-encoding", "upgrade"}
)
SECRET_HEADERS = ("authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie", "proxy-authorization")
SECRET_PARAMETERS = ("key", "api_key", "api-key", "access_token")
KEPT_HEADERS = re.compile(r"content-type|openai-processing-ms|openai-version|x-ratelimit-.*|retry-after.*\Z")
KEY_LIKE = re.compile(r"sk-[A-Za-z0-9_-]{12,}|AIza[A-Za-z0-9_-]{20,}|(?i:bearer) [A-Za-z0-9._~+/=-]{12,}")
TERMINAL = re.compile(r'"type":\s*"response\.(completed|incomplete|failed)"')
SHORTEST_SECRET = 6
REMOVED = "[removed]"
MAX_RECORDED_BYTES = 16 << 20
CONNECT_S = 30.0


@dataclass(slots=True)
class Recording:
    """One reply as it passes by. Times in ms after the request was sent on."""

    start_ns: int
    frames: list[tuple[float, str]] = field(default_factory=list)
    chunks: list[tuple[float, str]] = field(default_factory=list)
    size: int = 0
    terminal: bool = False
    """The terminal event has come: a client that leaves after it has missed nothing."""
    _rest: bytes = b""

    def take(self, data: bytes, now_ns: int) -> None:
        """Some bytes have come."""
        self.size += len(data)
        if self.size > MAX_RECORDED_BYTES:
            return
        at_ms = (now_ns - self.start_ns) / 1e6
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line.rstrip(b"\r").decode(errors="replace"), at_ms)

    def finish(self, now_ns: int) -> None:
        """The body is over. What was no event stream is kept as one frame."""
        if self._rest:
            self._line(self._rest.decode(errors="replace"), (now_ns - self.start_ns) / 1e6)

    def _line(self, line: str, at_ms: float) -> None:
        if not line:
            return
        self.frames.append((at_ms, line))
        if line.startswith("data:"):
            self.terminal = self.terminal or is_terminal(line[5:].strip())
            text = content_of(line[5:].strip())
            if text:
                self.chunks.append((at_ms, text))


def is_terminal(data: str) -> bool:
    """Whether an event is the one that ends a stream of its API."""
    return data == "[DONE]" or TERMINAL.search(data) is not None


def content_of(data: str) -> str:
    """The text that one event of any of the known APIs adds."""
    try:
        event = json.loads(data)
    except (ValueError, RecursionError):
        return ""
    match event:
        case {"type": "response.output_text.delta", "delta": str(text)}:
            return text
        case {"choices": [{"delta": {"content": str(text)}}, *_]}:
            return text
        case {"choices": [{"text": str(text)}, *_]}:
            return text
        case {"candidates": [{"content": {"parts": [*parts]}}, *_]}:
            texts = (part.get("text") for part in parts if isinstance(part, dict))
            return "".join(text for text in texts if isinstance(text, str))
    return ""


class Recorder:
    """The proxy. New traces can be replayed at once."""

    def __init__(self, upstream: str, folder: Path, traces: dict[str, Trace]) -> None:
        self._upstream = URL(upstream.rstrip("/"))
        self._folder = folder
        self._traces = traces
        self._session: ClientSession | None = None
        self._recorded = 0

    async def close(self) -> None:
        """Close the connections to the recorded service."""
        if self._session is not None:
            await self._session.close()

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        """Send a request on, pass its reply back as it comes, and keep it."""
        if self._session is None:
            timeout = ClientTimeout(total=None, sock_connect=CONNECT_S)
            self._session = ClientSession(timeout=timeout, auto_decompress=True)
        body = await request.read()
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in HOP_BY_HOP | {"host", "content-length", "accept-encoding"}
        }
        headers["accept-encoding"] = "identity"  # compressed blocks would blur the times
        url = self._upstream.with_path(self._upstream.path.rstrip("/") + request.path).with_query(request.query)
        recording = Recording(time.monotonic_ns())
        status, kept, complete = 0, dict[str, str](), False
        try:
            async with self._session.request(
                request.method, url, data=body, headers=headers, allow_redirects=False
            ) as reply:
                status = reply.status
                kept = {name.lower(): text for name, text in reply.headers.items() if KEPT_HEADERS.match(name.lower())}
                left_out = HOP_BY_HOP | {"content-length", "content-encoding"}
                response = web.StreamResponse(
                    status=status,
                    headers={name: text for name, text in reply.headers.items() if name.lower() not in left_out},
                )
                await response.prepare(request)
                async for data in reply.content.iter_any():
                    recording.take(data, time.monotonic_ns())
                    await response.write(data)
                complete = True
                recording.finish(time.monotonic_ns())
                self._save(request, body, recording, status=status, headers=kept, complete=True)
                await response.write_eof()
                return response
        except (ClientError, TimeoutError) as error:
            if status == 0:
                message = f"the recorded service cannot be reached: {type(error).__name__}"
                return openai_refusal(Refusal(message, status=502, type_="server_error"))
            if request.transport is not None:
                request.transport.close()  # cut for us, so cut for the client
            return web.Response()
        finally:
            if status and not complete:
                recording.finish(time.monotonic_ns())
                self._save(request, body, recording, status=status, headers=kept, complete=recording.terminal)

    def _save(
        self,
        request: web.Request,
        body: bytes,
        recording: Recording,
        *,
        status: int,
        headers: Mapping[str, str],
        complete: bool,
    ) -> None:
        self._recorded += 1
        now = datetime.now(UTC)
        name = f"{now:%Y%m%dT%H%M%S}-{self._recorded:04d}-{request.path.strip('/').replace('/', '-')}"
        name = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:120]
        data = {
            "recorded": now.isoformat(timespec="milliseconds"),
            "upstream": f"{self._upstream.scheme}://{self._upstream.host}",
            "route": request.path,
            "request": _json_or_text(body),
            "status": status,
            "headers": dict(headers),
            "complete": complete,
            "frames": [[round(at_ms, 3), line] for at_ms, line in recording.frames],
        }
        secrets = secrets_of(request)
        chunks = [(at_ms, without_keys(text, secrets)) for at_ms, text in recording.chunks]
        save_trace(self._folder, name, without_keys(data, secrets), chunks)
        if chunks:
            self._traces[name] = trace_of(chunks, 1)


def _json_or_text(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except (ValueError, RecursionError):
        return body.decode(errors="replace")


def secrets_of(request: web.Request) -> set[str]:
    """The keys that a request carries, with their parts."""
    values = [request.headers.get(name, "") for name in SECRET_HEADERS]
    values += [request.query.get(name, "") for name in SECRET_PARAMETERS]
    parts = {part.strip(";,") for value in values for part in (value, *value.split(), *re.split(r"[;=]\s*", value))}
    return {part for part in parts if len(part) >= SHORTEST_SECRET and part.lower() != "bearer"}


def without_keys(value: Any, secrets: set[str]) -> Any:
    """The same value without any of the secrets, nor what looks like a key."""
    if isinstance(value, str):
        for secret in sorted(secrets, key=len, reverse=True):
            value = value.replace(secret, REMOVED)
        return KEY_LIKE.sub(REMOVED, value)
    if isinstance(value, dict):
        return {without_keys(key, secrets): without_keys(item, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [without_keys(item, secrets) for item in value]
    return value
