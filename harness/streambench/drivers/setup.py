"""The steps of a setup that are HTTP requests: made once for each user, beside the streams, with an ordinary client."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from streambench.dialects import RenderedRequest, SetupStep
from streambench.drivers.failures import SetupError
from streambench.drivers.target import TargetSpec
from streambench.endings import ErrorClass, http_error_class
from streambench.transport.target import locate
from streambench.transport.tls import tls_context
from streambench.units import NS_PER_S

MAX_ANSWER_BYTES = 1 << 20


async def http_setup(spec: TargetSpec, variables: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Do the HTTP steps of a target's setup; returns the captured values and the cookies that were set.

    These requests need no stamps, so they are made with an ordinary client. Raises SetupError.
    """
    steps = [step for step in spec.setup_steps if step.is_http]
    if not steps:
        return {}, {}
    import httpx

    endpoint = spec.endpoint
    known = spec.dialect.with_defaults(variables)
    captured: dict[str, str] = {}
    verify: Any = endpoint.tls_verify
    if isinstance(verify, str):
        verify = tls_context(verify, ("http/1.1",))
    async with httpx.AsyncClient(
        verify=verify, proxy=endpoint.proxy, timeout=endpoint.timeouts.first_chunk_ns / NS_PER_S, trust_env=False
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


def is_connect(step: SetupStep) -> bool:
    """Whether a step is the payload of Socket.IO's own CONNECT: no client can emit an event of that name."""
    return step.request.emit is not None and step.request.emit[0] == "connect"


async def _ask(client: Any, spec: TargetSpec, request: RenderedRequest) -> Any:
    """The decoded JSON answer of one step, or None where it is not JSON. Raises SetupError for an unwelcome status."""
    where = locate(spec.endpoint.url)
    scheme = {"ws": "http", "wss": "https"}.get(where.scheme, where.scheme)
    # Where the dialect knows its path, the URL is the base of all of them; else it is the endpoint itself.
    base = where.request_target.partition("?")[0].rstrip("/") if spec.dialect.path else ""
    url = f"{scheme}://{where.authority}{base}{request.path}"
    headers = {**dict(request.headers), **dict(spec.endpoint.headers)}
    async with client.stream(request.method, url, headers=headers, content=request.body) as response:
        body = b""
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > MAX_ANSWER_BYTES:
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
