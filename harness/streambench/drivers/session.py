"""A simulated user: what is done once before the first prompt, and a connection that stays for the next ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Protocol

from streambench.clock import MonotonicClock
from streambench.dialects import RenderedRequest
from streambench.drivers.connect import ConnectFailure, Endpoint, endpoint
from streambench.drivers.target import TargetSpec
from streambench.endings import Ending, ErrorClass, http_error_class
from streambench.record.recorder import Recorder
from streambench.units import NS_PER_S

MAX_SETUP_ANSWER_BYTES = 1 << 20

_clock = MonotonicClock()


class SetupError(Exception):
    """A user's setup failed for a reason of the server's. `error` is the error class, the text is for the user."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error


class UserSession(Protocol):
    """One simulated user. Prompts are streamed one after the other."""

    variables: dict[str, str]

    async def prepare(self) -> None:
        """Do the setup. Raises SetupError."""
        ...

    async def stream(self, prompt: str, recorder: Recorder) -> None:
        """Send a prompt and record the reply. Whatever the server does is recorded and never raised."""
        ...

    async def close(self) -> None:
        """Close the connection."""
        ...


def open_session(spec: TargetSpec, variables: Mapping[str, str] | None = None) -> UserSession:
    """A new user of a target, not connected yet. `variables` are the user's own values for the placeholders."""
    merged = {**spec.variables, **(variables or {})}
    match spec.dialect.transport:
        case "websocket":
            from streambench.drivers.socket_user import SocketUser
            from streambench.drivers.websocket import WebSocketLink

            return SocketUser(spec, merged, WebSocketLink)
        case "socketio":
            from streambench.drivers.socket_user import SocketUser
            from streambench.drivers.socketio import SocketIoLink

            return SocketUser(spec, merged, SocketIoLink)
    return HttpSession(spec, merged)


class HttpTransport(Protocol):
    """A connection that brings one response after the other, whichever version of HTTP it speaks."""

    async def connect(self, where: Endpoint) -> bool: ...

    async def exchange(
        self, where: Endpoint, request: RenderedRequest, cookies: Mapping[str, str], recorder: Recorder
    ) -> None: ...

    async def close(self) -> None: ...


class HttpSession:
    """A user of an SSE or NDJSON endpoint."""

    def __init__(self, spec: TargetSpec, variables: dict[str, str]) -> None:
        self._spec = spec
        self.variables = variables
        self._cookies: dict[str, str] = {}
        self._transport: HttpTransport
        if spec.http == 2:
            from streambench.drivers.http2 import Http2Transport

            self._transport = Http2Transport(spec)
        else:
            from streambench.drivers.http1 import Http1Transport

            self._transport = Http1Transport(spec)

    async def prepare(self) -> None:
        captured, cookies = await http_setup(self._spec, self.variables)
        self.variables.update(captured)
        self._cookies.update(cookies)

    async def stream(self, prompt: str, recorder: Recorder) -> None:
        """Send the prompt and record the reply to its end. Cancelling closes the connection at once."""
        request = self._spec.dialect.render_request({**self.variables, "prompt": prompt})
        where = endpoint(self._spec.url, request.path)
        try:
            reused = await self._transport.connect(where)
            recorder.connected(_clock.now_ns(), reused=reused)
            await self._transport.exchange(where, request, self._cookies, recorder)
        except ConnectFailure as failure:
            recorder.fail(failure.error, str(failure))
            recorder.end(Ending.NOT_CONNECTED, _clock.now_ns())
        except asyncio.CancelledError:
            recorder.censor(_clock.now_ns())
            raise

    async def close(self) -> None:
        await self._transport.close()


async def http_setup(spec: TargetSpec, variables: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Do the HTTP steps of a target's setup; returns the captured values and the cookies that were set.

    These requests need no stamps, so they are made with an ordinary client. Raises SetupError.
    """
    steps = [step for step in spec.setup_steps if step.is_http]
    if not steps:
        return {}, {}
    import httpx

    known = spec.dialect.with_defaults(variables)
    captured: dict[str, str] = {}
    verify: Any = spec.tls_verify
    if isinstance(verify, str):
        import ssl

        verify = ssl.create_default_context(cafile=verify)
    async with httpx.AsyncClient(
        verify=verify, proxy=spec.proxy, timeout=spec.timeouts.first_chunk_ns / NS_PER_S, trust_env=False
    ) as client:
        for step in steps:
            request = step.render({**known, **captured})
            try:
                answer = await _ask(client, spec, request)
                if step.capture:
                    captured |= step.capture_from(answer)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                reason = str(error) or type(error).__name__
                raise SetupError(ErrorClass.SETUP, f"{request.method} {request.path}: {reason}") from error
            except LookupError as error:
                raise SetupError(ErrorClass.SETUP, f"{request.method} {request.path}: {error}") from error
        return captured, {cookie.name: cookie.value or "" for cookie in client.cookies.jar}


async def _ask(client: Any, spec: TargetSpec, request: RenderedRequest) -> Any:
    """The decoded JSON answer of one step, or None where it is not JSON. Raises SetupError for an unwelcome status."""
    where = endpoint(spec.url)
    scheme = {"ws": "http", "wss": "https"}.get(where.scheme, where.scheme)
    # Where the dialect knows its path, the URL is the base of all of them; else it is the endpoint itself.
    base = where.request_target.partition("?")[0].rstrip("/") if spec.dialect.path else ""
    url = f"{scheme}://{where.authority}{base}{request.path}"
    headers = {**dict(request.headers), **dict(spec.headers)}
    async with client.stream(request.method, url, headers=headers, content=request.body) as response:
        body = b""
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > MAX_SETUP_ANSWER_BYTES:
                raise SetupError(ErrorClass.OVERSIZE, f"the answer of {request.path} is too large")
    if not response.is_success:
        excerpt = " ".join(body[:300].decode("utf-8", "replace").split())
        raise SetupError(
            http_error_class(response.status_code),
            f"{request.method} {request.path} was answered {response.status_code}: {excerpt}",
        )
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
