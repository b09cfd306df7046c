"""A simulated user on a socket: setup on it once, then one reply after the other over the same connection.

What comes between two replies belongs to none; the next reply's record says that it came. After a failure the
connection may still bring the rest of the old reply; so it is closed, and the next prompt finds a new one, set up
again.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from streambench.clock import MonotonicClock
from streambench.dialects.out_of_turn import early_event, is_end, late_end
from streambench.dialects.templates import SetupStep
from streambench.drivers.failures import SetupError
from streambench.drivers.link import Link, Unattended
from streambench.drivers.setup import http_setup, is_connect, setup_deadline
from streambench.drivers.steps import PromptSteps
from streambench.drivers.stream import RunningStream
from streambench.drivers.target import TargetSpec
from streambench.endings import Ending, ErrorClass
from streambench.findings import Finding
from streambench.grammar.deviations import AFTER_TERMINAL
from streambench.record.decoding import SocketDecoding, StreamDecoding, open_decoding
from streambench.record.model import StreamRecord
from streambench.record.recorder import Recorder
from streambench.record.sockets import SocketReader, read_charged
from streambench.record.tap import Setting
from streambench.transport.arrivals import Arrival, Cancelled, Connected, Ended, Failed, Noted, Resent, Sent
from streambench.transport.failures import RequestFailed
from streambench.units import NS_PER_S, format_duration
from streambench.wire.budget import Budget
from streambench.wire.limits import WireLimits
from streambench.wire.message import WireMessage

MAX_KEPT_MESSAGES = 1000  # of those that come during setup, and of how many bytes
MAX_KEPT_BYTES = 8 << 20

_clock = MonotonicClock()


class Inbox:
    """The receiver during setup: keeps the messages until a step has taken them."""

    def __init__(self, reader: SocketReader, limits: WireLimits) -> None:
        self._reader = reader
        self._budget = Budget(limits)
        self._messages: list[WireMessage] = []
        self._taken = 0  # how many of them came before what was picked last
        self._changed = asyncio.Event()

    def take(self, arrivals: Sequence[Arrival]) -> None:
        """Keep the messages of a read, as far as there is room."""
        for arrival in arrivals:
            for message in read_charged(self._reader, arrival, self._budget):
                if len(self._messages) < MAX_KEPT_MESSAGES and message.offset < MAX_KEPT_BYTES:
                    self._messages.append(message)
        self._reader.take_findings()
        self._changed.set()

    @property
    def later(self) -> Sequence[WireMessage]:
        """The messages after the one that was picked last: no step awaits them."""
        return self._messages[self._taken :]

    async def pick(self, wanted: Callable[[WireMessage], bool], *, drop_earlier: bool = False) -> WireMessage:
        """The first message that `wanted` says yes to; it is asked once for each. Raises SetupError at a loss.

        `drop_earlier`: those before it are of no interest to later steps either.
        """
        looked_at = 0
        while True:
            for i in range(looked_at, len(self._messages)):
                if wanted(self._messages[i]):
                    message = self._messages[i]
                    del self._messages[0 if drop_earlier else i : i + 1]
                    self._taken = 0 if drop_earlier else i
                    return message
            looked_at = len(self._messages)
            loss = self._reader.loss
            if loss is not None:
                raise SetupError(loss.error or ErrorClass.SETUP, str(loss))
            self._changed.clear()
            await self._changed.wait()


class SocketUser:
    """A user of a WebSocket or Socket.IO endpoint. `open_link` makes a link that is not connected yet."""

    def __init__(
        self,
        spec: TargetSpec,
        variables: dict[str, str],
        open_link: Callable[[TargetSpec, Mapping[str, str], dict[str, str]], Link],
    ) -> None:
        self._spec = spec
        self.variables = variables
        self._cookies: dict[str, str] = {}
        self._steps = PromptSteps(spec, self._cookies)
        self._open_link = open_link
        self._link: Link | None = None
        self._before: StreamRecord | None = None  # of the reply before on the link
        self._connected_ns = 0
        self._ready_ns = 0  # since when nothing but we ourselves keep the request at hand from being sent
        self._ahead_ns: int | None = None  # how long connecting took, until a stream has told it
        self._resent = 0  # requests of the link that were sent again, and that a stream has told

    @property
    def link(self) -> Link | None:
        """The link of the newest connection; None before the first."""
        return self._link

    async def connect(self) -> None:
        """Connect ahead of the first prompt, if the setup has not done that. The stream meets a failure again."""
        if self._link is not None and self._link.open:
            return
        with contextlib.suppress(SetupError):
            began_ns = _clock.now_ns()
            await self._connect()
            self._ahead_ns = _clock.now_ns() - began_ns

    async def prepare(self) -> None:
        """Do the setup beside the socket, connect, do the setup on it. Raises SetupError."""
        async with setup_deadline(self._spec.endpoint.timeouts):
            captured, cookies = await http_setup(self._spec, self.variables)
            self.variables.update(captured)
            self._cookies.update(cookies)
            if self._link is None or not self._link.open:
                await self._connect()

    async def stream(self, prompt: str, recorder: Recorder) -> None:
        """Send the prompt and record the reply to its end. Cancelling closes the connection at once."""
        self._ready_ns = recorder.record.start_ns
        reused = self._link is not None and self._link.open
        try:
            link = self._link if reused and self._link is not None else await self._connect()
        except SetupError as failure:
            now_ns = _clock.now_ns()
            self._without_link(recorder).take(
                [Failed(now_ns, failure.error, str(failure)), Ended(now_ns, Ending.NOT_CONNECTED)]
            )
            return
        except asyncio.CancelledError:
            self._without_link(recorder).take([Cancelled(_clock.now_ns())])
            raise
        decoding, out_of_turn = self._decoding(link, recorder)

        def over(usable: bool) -> None:
            self._resent = link.resent
            if usable:
                link.receiver = Unattended(link.reader, self._spec.endpoint.limits)
            else:
                link.abort()

        ahead_ns, self._ahead_ns = self._ahead_ns, None
        if reused and ahead_ns is not None:
            connected = Connected(_clock.now_ns(), False, ahead_ns, own_ns=link.connect_own_ns)
        elif reused:
            connected = Connected(_clock.now_ns(), True)
        else:
            connected = Connected(self._connected_ns, False, own_ns=link.connect_own_ns)
            self._ready_ns = self._connected_ns
        connected.again = link.resent - self._resent
        decoding.take([connected, *out_of_turn])
        reply = RunningStream(
            decoding, self._spec.endpoint.timeouts, link.settle, over, on_socket=True, leave=self._spec.leave
        )
        link.receiver = reply
        try:
            await self._ask(prompt, link, reply)
            await reply.finished
        except asyncio.CancelledError:
            reply.cancel()
            link.abort()
            raise

    def _decoding(self, link: Link, recorder: Recorder) -> tuple[SocketDecoding, Sequence[Noted]]:
        """The decoding of the next reply, and what has come on the link that belongs to none."""
        dialect, limits = self._spec.dialect, self._spec.endpoint.limits
        came = link.receiver.messages if isinstance(link.receiver, Unattended) else ()
        before, self._before = self._before, recorder.record
        if before is None:
            found = next((finding for message in came if (finding := early_event(dialect, message))), None)
            return SocketDecoding(recorder, link.reader, limits), self._noted(found)
        told = any(finding.rule == AFTER_TERMINAL.id for finding in before.findings)
        late = next((message for message in came if is_end(dialect, message)), None)
        found = None if told or late is None else late_end(dialect, late, before.id)
        setting = replace(link.reader.setting(), follows=before.id, end_told=told or found is not None)
        return SocketDecoding(recorder, link.reader, limits, setting), self._noted(found)

    async def _ask(self, prompt: str, link: Link, reply: RunningStream) -> None:
        """Send what a prompt is, by HTTP, on the socket, or both; the reply may begin meanwhile."""
        variables = {**self.variables, "prompt": prompt}
        if self._spec.dialect.steps:
            began_ns, before = _clock.now_ns(), self._steps.resent
            reply.take([Sent(began_ns)])
            try:
                variables |= await self._steps.take(variables)
            except RequestFailed as failure:
                now_ns = _clock.now_ns()
                reply.take([Failed(now_ns, failure.error, str(failure)), Ended(now_ns, Ending.CLIENT)])
                return
            if self._steps.resent > before:
                reply.take([Resent(_clock.now_ns())] * (self._steps.resent - before))
            self._ready_ns += _clock.now_ns() - began_ns
        request = self._spec.dialect.render_request(variables)
        # Taken before the call: on loopback the answer may be here before the call returns.
        sent_ns = left_ns = _clock.now_ns()
        on_socket = bool(request.send) or request.emit is not None
        if on_socket:
            left_ns = link.send(request)
        late_ns = left_ns - self._ready_ns
        reply.take([Sent(sent_ns, late_ns)])
        if on_socket:
            flushed_ns = await link.flushed()
            if flushed_ns is not None:
                reply.take([Sent(flushed_ns, late_ns)])

    async def close(self) -> None:
        """Close the connection as its protocol asks for it."""
        self._steps.close()
        if self._link is not None:
            await self._link.close()

    @staticmethod
    def _noted(found: Finding | None) -> Sequence[Noted]:
        return () if found is None else (Noted(_clock.now_ns(), found),)

    def _without_link(self, recorder: Recorder) -> StreamDecoding:
        """The decoding of a stream that was never sent."""
        return open_decoding(recorder, Setting(self._spec.dialect.transport, self._spec.endpoint.limits))

    async def _connect(self) -> Link:
        variables = self._spec.dialect.with_defaults(self.variables)
        link = self._open_link(self._spec, variables, self._cookies)
        inbox = Inbox(link.reader, self._spec.endpoint.limits)
        link.receiver = inbox
        connect_s = self._spec.endpoint.timeouts.connect_ns / NS_PER_S
        try:
            try:
                async with asyncio.timeout(connect_s):
                    await link.start()
                self._connected_ns = _clock.now_ns()
            except TimeoutError:
                raise SetupError(ErrorClass.TIMEOUT_CONNECT, f"no connection within {connect_s:g} s") from None
            for step in self._spec.setup_steps:
                if not step.is_http:
                    await self._do(step, link, inbox)
        except BaseException:
            link.abort()
            raise
        link.receiver = Unattended(link.reader, self._spec.endpoint.limits, inbox.later)
        self._link = link
        self._before = None
        self._resent = 0
        return link

    async def _do(self, step: SetupStep, link: Link, inbox: Inbox) -> None:
        if step.request.send or (step.request.emit is not None and not is_connect(step)):
            link.send(step.render(self._spec.dialect.with_defaults(self.variables)))
        if step.wait_for is None:
            return
        dialect = self._spec.dialect
        data: Any = None

        def is_awaited(message: WireMessage, awaited: str | None = step.wait_for) -> bool:
            nonlocal data
            name, data = dialect.identify(message)
            if name == awaited:
                return True
            rule = dialect.events.get(name)
            if rule is not None and rule.interrupts:
                said = rule.error(data) if rule.error is not None else data
                raise SetupError(ErrorClass.SETUP, f"instead of {awaited!r} came {name!r}: {str(said)[:200]}")
            return False

        if step.only_after is not None:
            begins = functools.partial(is_awaited, awaited=step.only_after)
            try:
                async with asyncio.timeout(step.within_ns / NS_PER_S):
                    await inbox.pick(begins, drop_earlier=True)
            except TimeoutError:
                return
        wait_ns = self._spec.endpoint.timeouts.first_chunk_ns
        try:
            async with asyncio.timeout(wait_ns / NS_PER_S):
                await inbox.pick(is_awaited)
        except TimeoutError:
            waited = format_duration(wait_ns)
            raise SetupError(ErrorClass.SETUP, f"{step.wait_for!r} did not come within {waited}") from None
        if step.capture:
            try:
                self.variables.update(step.capture_from(data))
            except LookupError as error:
                raise SetupError(ErrorClass.SETUP, str(error)) from error
