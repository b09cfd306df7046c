"""Faults before the stream: what goes out in place of the reply, or delays it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Protocol

from aiohttp import web

from mock_openai.upstream.closing import finish, reset
from mock_openai.upstream.errors import over_quota, refusal_of
from mock_openai.upstream.faults.kind import FOREVER_MS, MAX_MS, MS, Fault, Kind, Range, Words
from mock_openai.upstream.params import Refusal
from mock_openai.upstream.quotas import NS_PER_S, Limits, Verdict

HTML = b"<!DOCTYPE html>\n<html><title>Sign in</title><h1>Sign in to the network</h1></html>\n"
BROKEN_JSON = b'{"id":"chatcmpl-mock","object":"chat.completion","choices":[{"index":0,"mess'
CLOSE_PATIENCE_S = 1.0


class Opening(Protocol):
    """A request whose reply has not begun, as far as a fault has to do with it."""

    content_type: str | None
    """Overrides what the protocol calls its reply."""

    @property
    def transport(self) -> asyncio.Transport | None:
        """The client's connection; None once it is gone."""

    def headers(self) -> dict[str, str]:
        """What the real service adds to every reply."""

    def refuse(self, refusal: Refusal, fault: str) -> web.StreamResponse:
        """An error in the protocol's shape, journalled with the fault that caused it."""

    def instead(self, response: web.Response, fault: str) -> web.StreamResponse:
        """Journal that a fault's response goes out in place of the reply."""

    def applied(self, fault: str) -> None:
        """Journal a fault that acts now, on the whole reply."""

    def close(self, ended: str) -> None:
        """Close the journal's entry."""

    async def count_in_plan(self, limits: Limits) -> Verdict:
        """Count the request against limits of its plan."""

    async def send_headers(self, content_type: str) -> None:
        """The response's headers, and nothing after them yet."""

    async def delay(self, ns: int) -> None:
        """Wait until `ns` after the request came; the whole reply counts from then."""

    async def hold(self, ns: int | None) -> None:
        """Keep the client waiting, for ever where `ns` is None; the client's leaving ends it."""

    async def refuse_connections(self, ns: int) -> None:
        """Let nobody connect for a while; when it returns, nobody can."""


Act = Callable[[Opening, Fault], Awaitable[web.StreamResponse | None]]
"""What a fault does to a request: a response ends it, None lets it go on. Raises ConnectionResetError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Before(Kind):
    """A fault that acts when a request has come."""

    act: Act


KINDS: list[Kind] = []


def _fault(
    name: str,
    told: str,
    options: Mapping[str, Range | Words] | None = None,
    problem: Callable[[Mapping[str, Any]], str | None] | None = None,
) -> Callable[[Act], Act]:
    """List an act under its name."""

    def listed(act: Act) -> Act:
        KINDS.append(Before(name, told, options or {}, problem=problem, act=act))
        return act

    return listed


SHOULD_RETRY = Words(None, ("true", "false"))


def _should_retry(fault: Fault) -> dict[str, str]:
    value = fault.options["should_retry"]
    return {} if value is None else {"x-should-retry": value}


@_fault(
    "status",
    "an error response with the real service's body",
    {
        "status": Range(500, 300, 599),
        "message": Words(None),
        "type": Words(None),
        "code": Words(None),
        "should_retry": SHOULD_RETRY,
    },
)
async def _status(opening: Opening, fault: Fault) -> web.StreamResponse:
    options = fault.options
    refusal = refusal_of(int(options["status"]))
    refusal.message = options["message"] or refusal.message
    refusal.type = options["type"] or refusal.type
    refusal.code = options["code"] or refusal.code
    refusal.headers |= _should_retry(fault)
    return opening.refuse(refusal, fault.name)


@_fault(
    "rate-limit",
    "429 with the chosen retry header",
    {
        "retry": Words("retry-after", ("retry-after", "retry-after-ms", "retry-after-date", "none")),
        "after_ms": MS,
        "limit": Words("requests", ("requests", "tokens", "insufficient_quota")),
        "should_retry": SHOULD_RETRY,
    },
)
async def _rate_limit(opening: Opening, fault: Fault) -> web.StreamResponse:
    after_ms, limit = fault.options["after_ms"], fault.options["limit"]
    headers = _should_retry(fault)
    match fault.options["retry"]:
        case "retry-after":
            headers["retry-after"] = f"{after_ms / 1000:g}"
        case "retry-after-ms":
            headers["retry-after-ms"] = f"{after_ms:g}"
        case "retry-after-date":
            # Dates have whole seconds: rounded up, so that nobody is told to come too early.
            moment = datetime.now(UTC) + timedelta(milliseconds=after_ms + 999)
            headers["retry-after"] = format_datetime(moment.replace(microsecond=0), usegmt=True)
    if limit == "insufficient_quota":
        message, type_, code = (
            "You exceeded your current quota, please check your plan and billing details.",
            limit,
            limit,
        )
    else:
        headers[f"x-ratelimit-remaining-{limit}"] = "0"
        headers[f"x-ratelimit-reset-{limit}"] = f"{after_ms:g}ms"
        message = f"Rate limit reached for {limit}. Please try again in {after_ms:g}ms."
        type_, code = limit, "rate_limit_exceeded"
    return opening.refuse(Refusal(message, status=429, type_=type_, code=code, headers=headers), fault.name)


def _limits_nothing(options: Mapping[str, Any]) -> str | None:
    return "needs `requests` or `tokens`" if options["requests"] is None and options["tokens"] is None else None


@_fault(
    "quota",
    "a real rate limit for the plan: 429 once it is used up",
    {
        "requests": Range(None, 1, 1_000_000),
        "tokens": Range(None, 1, 1_000_000_000),
        "window_ms": Range(60_000, 1, MAX_MS),
    },
    _limits_nothing,
)
async def _quota(opening: Opening, fault: Fault) -> web.StreamResponse | None:
    options = fault.options
    limits = Limits(
        None if options["requests"] is None else int(options["requests"]),
        None if options["tokens"] is None else int(options["tokens"]),
        fault.ms_ns("window_ms") or NS_PER_S,
    )
    verdict = await opening.count_in_plan(limits)
    return opening.refuse(over_quota(verdict), fault.name) if verdict.retry_ns else None


@_fault("slow-headers", "the whole response is delayed, headers included", {"ms": MS})
async def _slow_headers(opening: Opening, fault: Fault) -> None:
    await opening.delay(fault.ms_ns() or 0)
    opening.applied(fault.name)


@_fault("silent-headers", "headers, then nothing, then FIN", {"ms": FOREVER_MS})
async def _silent_headers(opening: Opening, fault: Fault) -> web.StreamResponse:
    await opening.send_headers("text/event-stream; charset=utf-8")
    opening.applied(fault.name)
    await opening.hold(fault.ms_ns())
    opening.close("fault")
    raise ConnectionResetError


@_fault("refuse", "RST, and the server accepts no connections for `ms`", {"ms": Range(500, 1, 60_000)})
async def _refuse(opening: Opening, fault: Fault) -> web.StreamResponse:
    await opening.refuse_connections(fault.ms_ns() or 0)
    _reset_now(opening, fault)
    raise ConnectionResetError


@_fault("reset", "RST instead of a response")
async def _reset(opening: Opening, fault: Fault) -> web.StreamResponse:
    _reset_now(opening, fault)
    raise ConnectionResetError


def _reset_now(opening: Opening, fault: Fault) -> None:
    opening.applied(fault.name)
    opening.close("fault")
    if opening.transport is not None:
        reset(opening.transport)


@_fault("close", "FIN instead of a response")
async def _close(opening: Opening, fault: Fault) -> web.StreamResponse:
    opening.applied(fault.name)
    opening.close("fault")
    if opening.transport is not None:
        finish(opening.transport)
        await asyncio.sleep(CLOSE_PATIENCE_S)  # usually cut short by the client, which closes its side
    raise ConnectionResetError


@_fault("html", "200 with an HTML page")
async def _html(opening: Opening, fault: Fault) -> web.StreamResponse:
    response = web.Response(body=HTML, headers={"content-type": "text/html; charset=utf-8"})
    return opening.instead(response, fault.name)


@_fault(
    "content-type",
    "the correct reply with the wrong content type",
    {"content_type": Words("text/plain; charset=utf-8")},
)
async def _content_type(opening: Opening, fault: Fault) -> None:
    opening.content_type = fault.options["content_type"]
    opening.applied(fault.name)


@_fault("invalid-json", "200 with a truncated JSON body")
async def _invalid_json(opening: Opening, fault: Fault) -> web.StreamResponse:
    headers = {"content-type": "application/json", **opening.headers()}
    return opening.instead(web.Response(body=BROKEN_JSON, headers=headers), fault.name)
