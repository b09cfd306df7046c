"""The HTTP requests that each prompt takes before its reply: what their answers give goes into the next ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any

from streambench.dialects import SetupStep
from streambench.drivers.target import TargetSpec
from streambench.endings import ErrorClass
from streambench.transport.aio.http_client import RequestConnection
from streambench.transport.arrivals import Arrival
from streambench.transport.failures import RequestFailed
from streambench.transport.polling import Answer
from streambench.transport.requests import Request
from streambench.units import NS_PER_S, format_duration
from streambench.wire.limits import WireError, WireLimits

MAX_ANSWER_BYTES = 1 << 20
ANY_SUCCESS = range(200, 300)


class PromptSteps:
    """The steps of one user's prompts, on a kept connection of their own. `cookies` are the user's, and grow."""

    __slots__ = ("_asked", "_cookies", "_spec")

    def __init__(self, spec: TargetSpec, cookies: dict[str, str]) -> None:
        self._spec = spec
        self._cookies = cookies
        self._asked: tuple[RequestConnection, _Bodies] | None = None  # most dialects have no steps

    async def take(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Make the requests, one after the other; returns what was captured. Raises RequestFailed."""
        known = self._spec.dialect.with_defaults(variables)
        captured: dict[str, str] = {}
        for step in self._spec.dialect.steps:
            captured |= await self._ask(step, {**known, **captured})
        return captured

    @property
    def resent(self) -> int:
        """How many of the requests had to be sent again, since the user came."""
        return 0 if self._asked is None else self._asked[0].resent

    def close(self) -> None:
        """Close the connection."""
        if self._asked is not None:
            self._asked[0].abort()

    async def _ask(self, step: SetupStep, variables: Mapping[str, str]) -> dict[str, str]:
        rendered = step.render(variables)
        what = f"{rendered.method} {rendered.path}"
        request = Request(rendered.method, rendered.headers, rendered.body)
        if self._asked is None:
            answers = _Bodies(self._spec.endpoint.limits)
            self._asked = RequestConnection(self._spec.endpoint, self._cookies, answers), answers
        connection, answers = self._asked
        wait_ns = self._spec.endpoint.timeouts.first_chunk_ns
        try:
            async with asyncio.timeout(wait_ns / NS_PER_S):
                await connection.ask(self._spec.step_location(rendered.path), request)
        except TimeoutError:
            waited = format_duration(wait_ns)
            raise RequestFailed(ErrorClass.TIMEOUT_FIRST_CHUNK, f"{what} was not answered within {waited}") from None
        except RequestFailed as failure:
            raise RequestFailed(failure.error, f"{what}: {failure}") from failure
        try:
            return step.capture_from(_decoded(answers.body)) if step.capture else {}
        except LookupError as error:
            raise RequestFailed(ErrorClass.PROTOCOL, f"{what}: {error}") from error


class _Bodies:
    """Takes answers and keeps the body of the newest."""

    def __init__(self, limits: WireLimits) -> None:
        self.body = bytearray()
        self._limits = limits
        self._answer = Answer(limits, ANY_SUCCESS)

    def begin(self) -> Answer:
        """A request is about to be sent."""
        self.body = bytearray()
        self._answer = Answer(self._limits, ANY_SUCCESS)
        return self._answer

    def take(self, arrivals: list[Arrival]) -> Iterator[None]:
        """Gather the body."""
        for arrival in arrivals:
            try:
                for piece in self._answer.body(arrival):
                    self.body += piece
                    yield
            except WireError as error:
                self._answer.fail(RequestFailed(ErrorClass.PROTOCOL, str(error)))
            if len(self.body) > MAX_ANSWER_BYTES:
                self._answer.fail(RequestFailed(ErrorClass.OVERSIZE, f"more than {MAX_ANSWER_BYTES:,} bytes"))


def _decoded(body: bytearray) -> Any:
    """The JSON of an answer, None where it is something else."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
