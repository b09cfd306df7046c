"""The steps of a setup that are HTTP requests: made once for each user, beside the streams, with an ordinary client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from streambench.dialects import RenderedRequest, SetupStep
from streambench.drivers.failures import SetupError
from streambench.drivers.target import TargetSpec
from streambench.endings import ErrorClass, http_error_class
from streambench.transport.blocking import ClientDeadline
from streambench.transport.target import Timeouts, locate
from streambench.transport.tls import tls_context
from streambench.units import NS_PER_S, format_duration
from streambench.wire.decompress import Decompressor
from streambench.wire.limits import WireError, WireLimits

MAX_ANSWER_BYTES = 1 << 20
LIMITS = WireLimits(max_decompressed_bytes=MAX_ANSWER_BYTES)


async def http_setup(spec: TargetSpec, variables: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Do the HTTP steps of a target's setup; returns the captured values and the cookies that were set.

    These requests need no stamps, so they are made with an ordinary client. Raises SetupError, also where the steps
    together take longer than a whole stream may.
    """
    setup = _HttpSetup(spec, variables)
    if not setup.steps:
        return {}, {}
    import httpx

    async with setup_deadline(spec.endpoint.timeouts), httpx.AsyncClient(**setup.client_options()) as client:
        for step in setup.steps:
            with setup.step(step) as exchange:
                async with client.stream(**exchange.request()) as response:
                    exchange.encoded(response.headers.get("content-encoding", ""))
                    async for data in response.aiter_raw():
                        exchange.body(data)
                exchange.answered(response.status_code)
        return setup.captured, {cookie.name: cookie.value or "" for cookie in client.cookies.jar}


def http_setup_blocking(spec: TargetSpec, variables: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The same for a user that waits, within the same time."""
    setup = _HttpSetup(spec, variables)
    if not setup.steps:
        return {}, {}
    import httpx

    with _blocking_deadline(spec.endpoint.timeouts) as deadline, httpx.Client(**setup.client_options()) as client:
        for step in setup.steps:
            with setup.step(step) as exchange:
                with client.stream(**exchange.request(), extensions={"trace": deadline.traced}) as response:
                    exchange.encoded(response.headers.get("content-encoding", ""))
                    for data in response.iter_raw():
                        exchange.body(data)
                exchange.answered(response.status_code)
        return setup.captured, {cookie.name: cookie.value or "" for cookie in client.cookies.jar}


@asynccontextmanager
async def setup_deadline(timeouts: Timeouts) -> AsyncIterator[None]:
    """The time for a user's whole setup: that of a whole stream. Raises SetupError."""
    try:
        async with asyncio.timeout(timeouts.total_ns / NS_PER_S):
            yield
    except TimeoutError:
        raise _late(timeouts) from None


def _late(timeouts: Timeouts) -> SetupError:
    return SetupError(ErrorClass.SETUP, f"the setup did not finish within {format_duration(timeouts.total_ns)}")


@contextmanager
def _blocking_deadline(timeouts: Timeouts) -> Iterator[ClientDeadline]:
    """The same for a client that waits."""
    with ClientDeadline(timeouts.total_ns / NS_PER_S) as deadline:
        try:
            yield deadline
        except SetupError:
            if deadline.over:
                raise _late(timeouts) from None
            raise


def is_connect(step: SetupStep) -> bool:
    """Whether a step is the payload of Socket.IO's own CONNECT: no client can emit an event of that name."""
    return step.request.emit is not None and step.request.emit[0] == "connect"


class _HttpSetup:
    """The steps of one user, whichever client makes them, and what they have captured."""

    def __init__(self, spec: TargetSpec, variables: Mapping[str, str]) -> None:
        self.steps = [step for step in spec.setup_steps if step.is_http]
        self.captured: dict[str, str] = {}
        self._spec = spec
        self._known = spec.dialect.with_defaults(variables) if self.steps else {}

    def client_options(self) -> dict[str, Any]:
        """What the client is made with."""
        endpoint = self._spec.endpoint
        # Without TLS no certificates are read: that takes long, and would hold up the streams of others.
        verify: Any = tls_context(endpoint.tls_verify, ("http/1.1",)) if locate(endpoint.url).secure else False
        timeout_s = endpoint.timeouts.first_chunk_ns / NS_PER_S
        return {"verify": verify, "proxy": endpoint.proxy, "timeout": timeout_s, "trust_env": False}

    @contextmanager
    def step(self, step: SetupStep) -> Iterator[_Exchange]:
        """One request and its answer, from which the step captures. Raises SetupError."""
        import httpx

        request = step.render({**self._known, **self.captured})
        exchange = _Exchange(self._spec, request)
        try:
            yield exchange
            if step.capture:
                self.captured |= step.capture_from(exchange.answer)
        except WireError as error:
            raise SetupError(error.error_class, f"{request.method} {request.path}: {error}") from error
        # ValueError: a cookie or a captured value that cannot be sent.
        except (httpx.HTTPError, httpx.InvalidURL, LookupError, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise SetupError(ErrorClass.SETUP, f"{request.method} {request.path}: {reason}") from error


class _Exchange:
    """A request and its answer. `answer` is the decoded JSON, None where it is not JSON."""

    def __init__(self, spec: TargetSpec, request: RenderedRequest) -> None:
        self.answer: Any = None
        self._spec = spec
        self._request = request
        self._body = b""
        self._decompressor = Decompressor("", LIMITS)

    def request(self) -> dict[str, Any]:
        """The arguments of the client's `stream`."""
        spec, request = self._spec, self._request
        where = spec.step_location(request.path)
        return {
            "method": request.method,
            "url": f"{where.scheme}://{where.authority}{where.request_target}",
            "headers": {"Accept-Encoding": "identity", **dict(request.headers), **dict(spec.endpoint.headers)},
            "content": request.body,
        }

    def encoded(self, content_encoding: str) -> None:
        """How the answer is compressed. Raises WireError."""
        self._decompressor = Decompressor(content_encoding, LIMITS)

    def body(self, data: bytes) -> None:
        """Take a piece of the answer, decompressed here: the client would do it without a bound.

        Raises SetupError or WireError for one that is too large.
        """
        for piece in self._decompressor.feed(data):
            self._body += piece
            if len(self._body) > MAX_ANSWER_BYTES:
                raise SetupError(ErrorClass.OVERSIZE, f"the answer of {self._request.path} is too large")

    def answered(self, status: int) -> None:
        """The answer is whole. Raises SetupError for an unwelcome status."""
        request = self._request
        if not 200 <= status < 300:
            excerpt = " ".join(self._body[:300].decode("utf-8", "replace").split())
            raise SetupError(
                http_error_class(status), f"{request.method} {request.path} was answered {status}: {excerpt}"
            )
        try:
            self.answer = json.loads(self._body)
        except (ValueError, RecursionError):
            self.answer = None
