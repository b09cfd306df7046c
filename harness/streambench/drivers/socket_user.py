"""A simulated user on a socket: setup on it once, then one reply after the other over the same connection.

What comes between two replies belongs to none and is dropped. After a failure the connection may still bring the rest
of the old reply; so it is closed, and the next prompt finds a new one, set up again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from streambench.clock import MonotonicClock
from streambench.dialects.templates import SetupStep
from streambench.drivers.link import Link, Loss, Receiver, Unattended
from streambench.drivers.reply import Reply
from streambench.drivers.session import SetupError, http_setup
from streambench.drivers.target import TargetSpec
from streambench.endings import Ending, ErrorClass
from streambench.record.recorder import Recorder
from streambench.units import NS_PER_S, format_duration
from streambench.wire.message import WireMessage

MAX_KEPT_MESSAGES = 1000  # of those that come during setup, and of how many bytes
MAX_KEPT_BYTES = 8 << 20

_clock = MonotonicClock()


class Inbox(Unattended):
    """The receiver during setup: keeps the messages until a step has taken them."""

    def __init__(self) -> None:
        self._messages: list[WireMessage] = []
        self._loss: Loss | None = None
        self._changed = asyncio.Event()

    def message(self, message: WireMessage, at_ns: int) -> None:
        if len(self._messages) < MAX_KEPT_MESSAGES and message.offset < MAX_KEPT_BYTES:
            self._messages.append(message)
        self._changed.set()

    def lost(self, loss: Loss, at_ns: int) -> None:
        self._loss = loss
        self._changed.set()

    async def take(self, wanted: Callable[[WireMessage], bool]) -> WireMessage:
        """The first message that `wanted` says yes to; it is asked once for each. Raises SetupError at a loss."""
        looked_at = 0
        while True:
            for i in range(looked_at, len(self._messages)):
                if wanted(self._messages[i]):
                    return self._messages.pop(i)
            looked_at = len(self._messages)
            if self._loss is not None:
                raise SetupError(self._loss.error or ErrorClass.SETUP, str(self._loss))
            self._changed.clear()
            await self._changed.wait()


class SocketUser:
    """A user of a WebSocket or Socket.IO endpoint. `open_link` makes a link that is not connected yet."""

    def __init__(
        self,
        spec: TargetSpec,
        variables: dict[str, str],
        open_link: Callable[[TargetSpec, Mapping[str, str], dict[str, str], Receiver], Link],
    ) -> None:
        self._spec = spec
        self.variables = variables
        self._cookies: dict[str, str] = {}
        self._open_link = open_link
        self._link: Link | None = None
        self._connected_ns = 0

    async def prepare(self) -> None:
        """Do the setup beside the socket, connect, do the setup on it. Raises SetupError."""
        captured, cookies = await http_setup(self._spec, self.variables)
        self.variables.update(captured)
        self._cookies.update(cookies)
        await self._connect()

    async def stream(self, prompt: str, recorder: Recorder) -> None:
        """Send the prompt and record the reply to its end. Cancelling closes the connection at once."""
        try:
            link = await self._connected(recorder)
        except SetupError as failure:
            recorder.fail(failure.error, str(failure))
            recorder.end(Ending.NOT_CONNECTED, _clock.now_ns())
            return
        except asyncio.CancelledError:
            recorder.censor(_clock.now_ns())
            raise
        request = self._spec.dialect.render_request({**self.variables, "prompt": prompt})
        link.take_findings()  # those of setup, and of what came between the replies
        reply = Reply(link, self._spec, recorder)
        link.receiver = reply
        try:
            # Taken before the call: on loopback the answer may be here before the call returns.
            recorder.sent(_clock.now_ns())
            link.send(request)
            sent_ns = await link.flushed()
            if sent_ns is not None:
                recorder.sent(sent_ns)
            await reply.finished
        except asyncio.CancelledError:
            reply.stop()
            link.abort()
            recorder.censor(_clock.now_ns())
            raise
        if reply.usable:
            link.receiver = Unattended()
        else:
            link.abort()

    async def close(self) -> None:
        if self._link is not None:
            await self._link.close()

    async def _connected(self, recorder: Recorder) -> Link:
        if self._link is not None and self._link.open:
            recorder.connected(_clock.now_ns(), reused=True)
            return self._link
        link = await self._connect()
        recorder.connected(self._connected_ns)
        return link

    async def _connect(self) -> Link:
        inbox = Inbox()
        variables = self._spec.dialect.with_defaults(self.variables)
        link = self._open_link(self._spec, variables, self._cookies, inbox)
        connect_s = self._spec.timeouts.connect_ns / NS_PER_S
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
        link.receiver = Unattended()
        self._link = link
        return link

    async def _do(self, step: SetupStep, link: Link, inbox: Inbox) -> None:
        if step.request.send or (step.request.emit is not None and not is_connect(step)):
            link.send(step.render(self._spec.dialect.with_defaults(self.variables)))
        if step.wait_for is None:
            return
        dialect = self._spec.dialect
        data: Any = None

        def is_awaited(message: WireMessage) -> bool:
            nonlocal data
            name, data = dialect.identify(message)
            if name == step.wait_for:
                return True
            rule = dialect.events.get(name)
            if rule is not None and rule.interrupts:
                said = rule.error(data) if rule.error is not None else data
                raise SetupError(ErrorClass.SETUP, f"instead of {step.wait_for!r} came {name!r}: {str(said)[:200]}")
            return False

        wait_ns = self._spec.timeouts.first_chunk_ns
        try:
            async with asyncio.timeout(wait_ns / NS_PER_S):
                await inbox.take(is_awaited)
        except TimeoutError:
            waited = format_duration(wait_ns)
            raise SetupError(ErrorClass.SETUP, f"{step.wait_for!r} did not come within {waited}") from None
        if step.capture:
            try:
                self.variables.update(step.capture_from(data))
            except LookupError as error:
                raise SetupError(ErrorClass.SETUP, str(error)) from error


def is_connect(step: SetupStep) -> bool:
    """Whether a step is the payload of Socket.IO's own CONNECT: no client can emit an event of that name."""
    return step.request.emit is not None and step.request.emit[0] == "connect"
