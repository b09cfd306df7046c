"""What a running server keeps, and what all routes share.

A route is an `Api`: it reads requests into an `Ask`, and gives replies and errors their form. Everything between, from
the plan to the socket, is an `Answer`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiohttp import web

from mock_openai.upstream.capacity import Pools
from mock_openai.upstream.exchange import Api
from mock_openai.upstream.handler import Answer
from mock_openai.upstream.journal import Journal
from mock_openai.upstream.listening import Listener
from mock_openai.upstream.metrics import Metrics
from mock_openai.upstream.pacing import Pacer, Turns
from mock_openai.upstream.params import Ask, Refusal, parse_json
from mock_openai.upstream.plans import Plans
from mock_openai.upstream.quotas import Limits, Quotas, Verdict


@dataclass(slots=True)
class Service:
    """What a running server keeps."""

    plans: Plans
    journal: Journal
    pacer: Pacer = field(default_factory=Pacer)
    turns: Turns = field(default_factory=Turns)
    pools: Pools = field(default_factory=Pools)
    quotas: Quotas = field(default_factory=Quotas)
    limits: Limits = field(default_factory=Limits)
    metrics: Metrics = field(default_factory=Metrics)
    listener: Listener | None = None
    answers: set[Answer] = field(default_factory=set)
    bytes_in_flight: int = 0

    async def answer(self, api: Api, request: web.Request) -> web.StreamResponse:
        """Serve one request of a route."""
        arrived_ns = time.monotonic_ns()
        raw = await request.read()
        try:
            body = parse_json(raw)
            ask = api.read(request, body)
        except Refusal as refusal:
            self.metrics.refused(api.route, refusal.status)
            return api.refuse(refusal)
        order = self.plans.order_for(ask.texts, request.headers, ask.model)
        return await Answer(self, api, request, body, ask, order, arrived_ns, len(raw)).run()

    def admit(self, key: str, limits: Limits, ask: Ask) -> Verdict:
        """Count a request of `key` against its limits."""
        tokens = ask.prompt_tokens + (ask.limit or 0)
        return self.quotas.ask(key, limits, tokens, time.monotonic_ns())

    def shut_down(self) -> None:
        """End the open streams at once, and say so in the journal."""
        for answer in list(self.answers):
            answer.close("shutdown")
            if answer.request.transport is not None:
                answer.request.transport.close()
        self.journal.end()

    async def wait_until(self, due_ns: int) -> None:
        """Return at a moment of CLOCK_MONOTONIC."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def step() -> None:
            if not done.done():
                done.set_result(None)

        self.pacer.start(due_ns, step)
        await done


def route_handler(service: Service, api: Api) -> Callable[[web.Request], Any]:
    """The aiohttp handler of a route."""
    return partial(service.answer, api)
