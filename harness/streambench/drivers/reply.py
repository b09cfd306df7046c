"""One reply on a socket that outlives it: it ends with its terminal event, and not with the connection."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from streambench.clock import MonotonicClock
from streambench.drivers.deadlines import Deadlines
from streambench.drivers.link import Link, Loss
from streambench.drivers.target import TargetSpec
from streambench.endings import Ending, ErrorClass
from streambench.record.recorder import Recorder
from streambench.wire.message import WireMessage

AFTER_ERROR_S = 0.1  # an error event may be followed by the protocol's own closing event

_clock = MonotonicClock()


class Reply:
    """The receiver of one reply. `finished` resolves when it is over; `usable` says whether the link still is."""

    def __init__(self, link: Link, spec: TargetSpec, recorder: Recorder) -> None:
        self._link = link
        self._recorder = recorder
        self._first_offset: int | None = None
        self._messages_in_read = 0
        self._complete_ns: int | None = None
        self._closing: asyncio.TimerHandle | None = None
        self.usable = False
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.deadlines = Deadlines(spec.timeouts, recorder, self._expired)

    def read(self, at_ns: int, size: int, *, kernel: bool) -> None:
        self._messages_in_read = 0
        if not self.finished.done():
            self._recorder.read(at_ns, size, kernel=kernel)

    def message(self, message: WireMessage, at_ns: int) -> None:
        if self.finished.done() or self._failed:
            return
        # Only messages count as life: a server may go on with its heartbeat long after the reply has died.
        self.deadlines.last_read_ns = at_ns
        self._messages_in_read += 1
        if self._first_offset is None:
            self._first_offset = message.offset
        message.offset -= self._first_offset
        self._recorder.message(message, at_ns)
        if self._recorder.done and self._complete_ns is None:
            self._complete_ns = at_ns

    def read_ended(self) -> None:
        recorder = self._recorder
        if self._messages_in_read > 1:
            recorder.coalesced()
        self._take_findings()
        if not recorder.done or self._closing is not None or self.finished.done():
            return
        assert self._complete_ns is not None
        error = recorder.record.error
        if error is None:
            self._finish(Ending.RESPONSE_END, self._complete_ns, usable=True)
        elif error == ErrorClass.ERROR_EVENT:
            self._closing = asyncio.get_running_loop().call_later(AFTER_ERROR_S, self._after_error)
        else:
            self._finish(Ending.CLIENT, self._complete_ns)

    @property
    def _failed(self) -> bool:
        return self._recorder.record.error not in (None, ErrorClass.ERROR_EVENT)

    def lost(self, loss: Loss, at_ns: int) -> None:
        self._take_findings()
        if loss.error is not None:
            self._recorder.fail(loss.error, str(loss))
        self._finish(loss.ending, at_ns, close_code=loss.close_code)

    def _take_findings(self) -> None:
        first = self._first_offset or 0
        for finding in self._link.take_findings():
            offset = finding.offset
            within = None if offset is None or offset < first else offset - first
            self._recorder.findings([replace(finding, offset=within)])

    def _after_error(self) -> None:
        assert self._complete_ns is not None
        self._finish(Ending.RESPONSE_END, self._complete_ns, usable=True)

    def _expired(self) -> None:
        self._finish(Ending.TIMEOUT, _clock.now_ns())

    def _finish(self, ending: Ending, at_ns: int, *, close_code: int | None = None, usable: bool = False) -> None:
        if self.finished.done():
            return
        self.stop()
        self._recorder.end(ending, self._complete_ns if self._complete_ns is not None else at_ns, close_code)
        self.usable = usable
        self.finished.set_result(None)

    def stop(self) -> None:
        """Let no timer of this reply fire any more."""
        self.deadlines.stop()
        if self._closing is not None:
            self._closing.cancel()
