"""One request being answered: accepted, composed, damaged by its faults, written, and journalled however it ends.

A route is an `Api`: it reads requests into an `Ask`, and gives replies and errors their form. Everything between, from
the plan to the socket, is an `Answer`.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import string
import time
from array import array
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any

from aiohttp import web

from mock_openai.upstream.closing import finish, reset
from mock_openai.upstream.errors import over_quota, refusal_of
from mock_openai.upstream.exchange import Api, Exchange
from mock_openai.upstream.faults.before import Before
from mock_openai.upstream.faults.damage import damaged, drawn, left_out
from mock_openai.upstream.faults.kind import Fault
from mock_openai.upstream.journal import Entry
from mock_openai.upstream.ledger import Charge, Variant
from mock_openai.upstream.params import Ask, Refusal, parse_json
from mock_openai.upstream.plans import Order, Plan
from mock_openai.upstream.quotas import Limits, Verdict
from mock_openai.upstream.reply import compose
from mock_openai.upstream.service import Service
from mock_openai.upstream.stream import Ending, Frame, Script, joined
from mock_openai.upstream.writer import Player

MAX_REQUEST_KEPT_BYTES = 64 * 1024
BODY_S = 30.0
"""A request whose body has not come by then is refused."""
LARGE_TOKENS = 4_000
"""Longer replies are composed in another thread: all streams would wait for them."""
FIN_PATIENCE_S = 1.0
OPEN_BYTES = 64 * 1024
"""Roughly what a reply in progress takes beside its text: its connection, and what is written next."""
NOT_DRAWN = random.Random(0)
PADDING = string.ascii_letters + string.digits


def route_handler(service: Service, api: Api) -> Callable[[web.Request], Any]:
    """The aiohttp handler of a route."""
    return partial(_answer, service, api)


async def _answer(service: Service, api: Api, request: web.Request) -> web.StreamResponse:
    """Serve one request of a route."""
    arrived_ns = time.monotonic_ns()
    try:
        async with asyncio.timeout(BODY_S):
            raw = await request.read()
    except TimeoutError:
        return api.refuse(refusal_of(408))
    try:
        body = parse_json(raw)
        ask = api.read(request, body)
    except Refusal as refusal:
        service.ledger.refused(api.route, refusal.status)
        return api.refuse(refusal)
    order = service.plans.order_for(ask.texts, request.headers, ask.model)
    return await Answer(service, api, request, body, ask, order, arrived_ns, len(raw)).run()


class Answer:
    """One request being answered; faults before the stream act on it as their `Opening`."""

    def __init__(
        self,
        service: Service,
        api: Api,
        request: web.Request,
        body: dict[str, Any],
        ask: Ask,
        order: Order,
        arrived_ns: int,
        size: int,
    ) -> None:
        self.service = service
        self.api = api
        self.request = request
        self.body = body
        self.ask = ask
        self.key = order.key or _prompt_key(ask)
        self.order = order
        self.plan: Plan = order.plan
        self.faults: tuple[Fault, ...] = ()
        self.entry = Entry(
            seq=0,
            mark=order.mark,
            plan=self.plan.id,
            rule=order.rule,
            attempt=0,
            api=api.route,
            route=request.path,
            model=ask.model,
            stream=ask.stream,
            profile=self.plan.profile.name,
            seed=self.plan.seed,
            arrived_ns=arrived_ns,
            body_ns=time.monotonic_ns(),
            request=body if size <= MAX_REQUEST_KEPT_BYTES else {"omitted_bytes": size},
            request_bytes=min(size, MAX_REQUEST_KEPT_BYTES),
        )
        self.limits_headers: Mapping[str, str] = {}
        self.content_type: str | None = None  # a fault's, instead of the protocol's
        self._player: Player | None = None
        self._shift_ns = 0  # of the whole reply, by faults that delay it
        # The client has left, and the entry is closed by the player that goes on.
        self.unheard = False
        # Of a reply in one body, before any damage.
        self.length = 0
        self._bytes = 0

    async def run(self) -> web.StreamResponse:
        """Answer, and close the journal's entry however it ends."""
        self.service.open_requests.add(self)
        try:
            verdict = await self._begin()
            return await self._answered(verdict)
        except asyncio.CancelledError:
            if not self.unheard:
                self.close("cancelled")
            raise
        except ConnectionError:
            # The connection is over, by a fault that was journalled or because the client went while we wrote.
            self.close("cancelled")
            if self.request.transport is not None:
                self.request.transport.close()
            return web.Response()  # goes nowhere: the server finds the connection closed
        except Exception:
            self.close("fault")  # a bug of ours: nothing shall stay open for it
            raise

    def close(self, ended: str) -> None:
        """The reply is over; what comes later changes nothing."""
        service = self.service
        if service.ledger.close(self.entry, ended):
            service.bytes_in_flight -= self._bytes
            self._bytes = 0
            service.closed(self)
            self._player = None  # which knows this answer: nobody shall have to find out that both can go

    async def _begin(self) -> Verdict:
        """Have the request journalled and counted; its attempt decides what is replied."""
        order, entry, ask = self.order, self.entry, self.ask
        variants = [Variant(plan.profile.name, plan.seed) for plan in order.plan.attempts]
        key = f"key {self.request.headers.get('authorization', '')}"
        charge = Charge(key, self.service.limits, ask.tokens)
        verdict = await self.service.ledger.begin(entry, order.mark or self.key, variants, charge)
        self.plan = plan = order.plan.for_attempt(entry.attempt)
        if plan.faults:
            self.faults = drawn(plan.faults, plan.draw(self.key, entry.attempt, "faults"))
        return verdict

    async def _answered(self, verdict: Verdict) -> web.StreamResponse:
        self.limits_headers = verdict.headers
        if verdict.retry_ns:
            return self.refuse(over_quota(verdict), "quota")
        if not self.ask.stream:
            for fault in self.faults:
                if fault.kind.instead_of_whole is not None:
                    return self.refuse(fault.kind.instead_of_whole(fault), fault.name)
            self.faults = tuple(fault for fault in self.faults if not fault.kind.stream_only)
        for fault in self.faults:
            if isinstance(fault.kind, Before):
                response = await fault.kind.act(self, fault)
                if response is not None:
                    return response
        capacity = self.plan.profile.capacity
        if capacity is None:
            return await self._replied(self._shift_ns, 1)
        active = await self.service.ledger.take_slot(capacity)
        try:
            return await self._replied(time.monotonic_ns() - self.entry.arrived_ns, active)
        finally:
            self.service.ledger.free_slot(capacity)

    async def _replied(self, shift_ns: int, active: int) -> web.StreamResponse:
        service = self.service
        large = self.plan.size > LARGE_TOKENS
        # Those who wait to be composed are looked at when it is their turn: of hundreds, each would find room before.
        async with service.composing if large else nullcontext():
            if not service.has_room():
                return self.refuse(refusal_of(503), "overloaded")
            if large:
                loop = asyncio.get_running_loop()
                script, content_type = await loop.run_in_executor(service.aside, self.prepare, shift_ns, active)
            else:
                script, content_type = self.prepare(shift_ns, active)
            service.bytes_in_flight += self._bytes
        if self.ask.stream:
            return await self.play(script, content_type)
        # A reply in one piece has its headers when it is ready.
        writes = script.writes = list(script.writes)
        await self.service.wait_until(self.entry.arrived_ns + (writes[0].due_ns if writes else 0))
        # The length is that of what is written, unless the connection is to be cut before that.
        length = sum(len(write.data) for write in writes)
        if script.cut and script.ending is not Ending.END:
            length = max(length + 1, self.length)
        return await self.play(script, "application/json", length)

    def prepare(self, shift_ns: int, active: int) -> tuple[Script, str]:
        """Compose the reply, give it its form, and damage it as ordered; returns its content type beside it."""
        plan, ask, entry = self.plan, self.ask, self.entry
        wide = any(fault.kind.wide_text for fault in self.faults)
        reply = compose(plan, ask, plan.draw(self.key, self.entry.attempt, "text"), wide=wide)
        pace = plan.draw(self.key, self.entry.attempt, "pace")
        due_ns = plan.profile.schedule_ns(max(1, reply.longest), pace, prompt_tokens=ask.prompt_tokens, active=active)
        entry.text = reply.text
        entry.finish = reply.choices[0].finish
        padding = plan.draw(self.key, self.entry.attempt, "obfuscation") if ask.obfuscate else NOT_DRAWN
        exchange = Exchange(
            entry.seq,
            ask,
            self.body,
            self.request.query,
            reply,
            array("q", [due + shift_ns for due in due_ns] if shift_ns else due_ns),
            shift_ns,
            left_out(self.faults),
            lambda length: "".join(padding.choices(PADDING, k=length)),
        )
        speaker = self.api.speak(exchange)
        frames: Iterable[Frame]
        if ask.stream:
            frames = speaker.frames()
        else:
            body = speaker.whole()
            self.length = len(body)
            frames = [Frame(exchange.last_ns, body, 1, len(reply.text))]
        self._bytes = reply.weight + 8 * len(due_ns) + self.length + OPEN_BYTES
        if not self.faults:
            return Script(joined(frames)), speaker.content_type
        where = plan.draw(self.key, self.entry.attempt, "places")
        script = damaged(frames, self.faults, speaker, where, reply.text)
        self._bytes += sum(len(write.data) for write in script.writes)
        return script, speaker.content_type

    async def play(self, script: Script, content_type: str, length: int | None = None) -> web.StreamResponse:
        """Send headers, then the script. `length`: of the body where it is known, else the body is chunked."""
        entry, request = self.entry, self.request
        response = self._response(content_type)
        if script.gzip:
            response.headers["content-encoding"] = "gzip"
        chunked = length is None and request.version >= (1, 1)
        if chunked:
            response.enable_chunked_encoding()
        elif length is None:
            response.force_close()  # HTTP/1.0 knows the end of the body by the end of the connection
        else:
            response.content_length = length
        await response.prepare(request)
        entry.headers_ns = time.monotonic_ns()
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        player = self._player = Player(transport, script, entry, entry.arrived_ns, self.close, chunked=chunked)
        self.service.pacer.start(player.first_ns, player.step)
        try:
            await player.done
        except asyncio.CancelledError:
            player.leave(time.monotonic_ns())
            self.unheard = player.left
            raise
        await self._end(script, response, transport)
        return response

    async def _end(self, script: Script, response: web.StreamResponse, transport: asyncio.Transport) -> None:
        match script.ending:
            case Ending.HOLD:
                await self.hold(script.hold_ns)
                if script.cut:
                    self.close("fault")
                    raise ConnectionResetError
                await response.write_eof()
            case Ending.END:
                await response.write_eof()
            case Ending.FIN:
                finish(transport)
                await asyncio.sleep(FIN_PATIENCE_S)  # usually cut short by the client, which closes its side
                raise ConnectionResetError
            case Ending.RST:
                reset(transport)
                raise ConnectionResetError

    async def hold(self, hold_ns: int | None) -> None:
        """Keep the client waiting, for ever where `hold_ns` is None; the client's leaving ends it."""
        if hold_ns is None:
            await asyncio.get_running_loop().create_future()
        else:
            await self.service.wait_until(time.monotonic_ns() + hold_ns)

    @property
    def transport(self) -> asyncio.Transport | None:
        """The client's connection; None once it is gone."""
        return self.request.transport

    @property
    def stalled_ns(self) -> int | None:
        """Since when the client has not read although much is waiting for it; None while it reads."""
        return None if self._player is None else self._player.stalled_ns

    def give_up(self) -> None:
        """Cut a client that does not read."""
        if self._player is not None:
            self._player.give_up()

    def shut_down(self) -> None:
        """End at once: the server goes away."""
        self.close("shutdown")
        if self.transport is not None:
            self.transport.close()

    async def count_in_plan(self, limits: Limits) -> Verdict:
        """Count the request against limits of its plan; the response's headers tell of them."""
        verdict = await self.service.ledger.admit(Charge(f"plan {self.plan.id}", limits, self.ask.tokens))
        self.limits_headers = verdict.headers
        return verdict

    async def refuse_connections(self, ns: int) -> None:
        """Let nobody connect for a while; when it returns, nobody can."""
        await self.service.ledger.refuse_connections(ns)

    async def delay(self, ns: int) -> None:
        """Wait until `ns` after the request came; the whole reply counts from then."""
        self._shift_ns += ns
        await self.service.wait_until(self.entry.arrived_ns + ns)

    async def send_headers(self, content_type: str) -> None:
        """The response's headers, and nothing after them yet."""
        response = self._response(content_type)
        response.enable_chunked_encoding()
        await response.prepare(self.request)
        self.entry.headers_ns = time.monotonic_ns()

    def _response(self, content_type: str) -> web.StreamResponse:
        headers = {"content-type": self.content_type or content_type, "cache-control": "no-cache", **self.headers()}
        return web.StreamResponse(headers=headers)

    def refuse(self, refusal: Refusal, fault: str) -> web.Response:
        """Answer with an error, and journal the fault that caused it."""
        response = self.api.refuse(refusal)
        response.headers.update(self.headers())
        return self.instead(response, fault)

    def instead(self, response: web.Response, fault: str) -> web.Response:
        """Journal that a fault's response goes out in place of the reply."""
        self.entry.status = response.status
        self.entry.headers_ns = time.monotonic_ns()
        self.applied(fault)
        self.close("fault")
        return response

    def applied(self, fault: str) -> None:
        """Journal a fault that acts now, on the whole reply."""
        self.entry.faults.append({"fault": fault, "at": None, "applied_ns": time.monotonic_ns()})

    def headers(self) -> dict[str, str]:
        """What the real service adds to every reply."""
        elapsed_ms = (time.monotonic_ns() - self.entry.arrived_ns) // 1_000_000
        return self.api.headers(f"req_mock{self.entry.seq:08d}", elapsed_ms, self.limits_headers)


def _prompt_key(ask: Ask) -> str:
    """Requests that no rule tells apart are told apart by what they ask."""
    return "prompt " + hashlib.sha256("\0".join(ask.texts).encode(errors="replace")).hexdigest()
