"""A blocking simulated user of an SSE or NDJSON endpoint: the shell of `http_user` without an event loop.

What arrives, how it is decoded and when it is too late is the same; only who waits is another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from streambench.clock import MonotonicClock
from streambench.drivers.deadlines import Deadlines
from streambench.drivers.setup import http_setup_blocking
from streambench.drivers.target import TargetSpec
from streambench.endings import Ending
from streambench.record.decoding import Progress, ResponseDecoding
from streambench.record.recorder import Recorder
from streambench.transport.arrivals import Arrival, Cancelled, Connected, Ended, Failed, Sent
from streambench.transport.blocking import BlockingConnection, Polls
from streambench.transport.failures import ConnectFailure, connect_failure
from streambench.transport.http1 import Http1Connection
from streambench.transport.requests import Request
from streambench.transport.target import Location, locate

if TYPE_CHECKING:
    from streambench.transport.target import Endpoint

_clock = MonotonicClock()


class BlockingHttpUser:
    """One user with one connection, kept between prompts. For one thread, or one greenlet, at a time.

    `polls` are those of whoever lets the greenlets wait.
    """

    def __init__(self, spec: TargetSpec, variables: Mapping[str, str], polls: Polls | None = None) -> None:
        self._spec = spec
        self._polls = polls
        self.variables = {**spec.variables, **variables}
        self._cookies: dict[str, str] = {}
        self._connection: BlockingConnection | None = None
        self._http = Http1Connection(spec.endpoint)

    def prepare(self) -> None:
        """Do the setup. Raises SetupError."""
        captured, cookies = http_setup_blocking(self._spec, self.variables)
        self.variables.update(captured)
        self._cookies.update(cookies)

    def stream(self, prompt: str, recorder: Recorder) -> None:
        """Send the prompt and record the reply to its end. Whatever the server does is recorded and never raised.

        Where the waiting is ended from outside, by an exception such as a killed greenlet's, the stream is censored and
        the connection closed.
        """
        endpoint, dialect = self._spec.endpoint, self._spec.dialect
        rendered = dialect.render_request({**self.variables, "prompt": prompt})
        request = self._spec.prompt_request(rendered)
        where = locate(endpoint.url, rendered.path)
        decoding = ResponseDecoding(recorder, dialect.transport, endpoint.limits)
        try:
            began_ns = _clock.now_ns()
            reused = self._connect(where, endpoint)
            connected_ns = _clock.now_ns()
            decoding.take([Connected(connected_ns, reused, own_ns=0 if reused else self._own_ns)])
            ready_ns = recorder.record.start_ns + (0 if reused else connected_ns - began_ns)
            deadlines = Deadlines(endpoint.timeouts, _clock.now_ns())
            if not self._exchange(where, request, decoding, deadlines, ready_ns, reused=reused):
                self._connect(where, endpoint)
                ready_ns = _clock.now_ns()
                decoding.take([Connected(ready_ns, again=1, own_ns=self._own_ns)])
                self._exchange(where, request, decoding, deadlines, ready_ns, reused=False)
        except ConnectFailure as failure:
            now_ns = _clock.now_ns()
            decoding.take([Failed(now_ns, failure.error, str(failure)), Ended(now_ns, Ending.NOT_CONNECTED)])
        except BaseException:
            decoding.take([Cancelled(_clock.now_ns())])
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    @property
    def _own_ns(self) -> int:
        """How much of connecting was our own doing."""
        return 0 if self._connection is None else self._connection.own_ns

    def _connect(self, where: Location, endpoint: Endpoint) -> bool:
        """Have a connection; says whether it was there. Raises ConnectFailure."""
        if self._connection is not None and self._connection.open and self._http.usable:
            return True
        self.close()
        self._http = Http1Connection(endpoint)
        try:
            self._connection = BlockingConnection.connect(endpoint, where, self._http.alpn, self._polls)
        except (OSError, ValueError) as error:
            failure = connect_failure(error, where, endpoint)
            assert failure is not None
            raise failure from error
        return False

    def _exchange(
        self,
        where: Location,
        request: Request,
        decoding: ResponseDecoding,
        deadlines: Deadlines,
        ready_ns: int,
        *,
        reused: bool,
    ) -> bool:
        """Send the request and read the response to its end.

        `ready_ns`: since when nothing but we ourselves kept the request from being sent. False where the connection was
        `reused` and has ended without a byte of an answer.
        """
        connection = self._connection
        assert connection is not None
        # Taken before the call: on loopback the answer may be here before the call returns.
        data = self._http.request(where, request, self._cookies)
        sent_ns = _clock.now_ns()
        progress = decoding.take([Sent(sent_ns, sent_ns - ready_ns)])
        try:
            connection.send(data)
        except OSError:
            ended = self._http.closed(_clock.now_ns(), reset=True)
            if reused:
                return False
            progress = decoding.take(ended)
        while progress is not Progress.ENDED:
            if progress is Progress.ABANDONED:
                progress = decoding.take([Ended(_clock.now_ns(), Ending.CLIENT)])
                break
            if progress >= Progress.COMPLETE:
                deadlines.complete(_clock.now_ns())
            arrivals = self._next(connection, deadlines, progress, decoding)
            if reused and self._http.unanswered and not connection.open:
                return False
            progress = decoding.take(arrivals)
        self._http.abandon()
        if not self._http.usable:
            connection.close()
        return True

    def _next(
        self, connection: BlockingConnection, deadlines: Deadlines, progress: Progress, decoding: ResponseDecoding
    ) -> list[Arrival]:
        """What comes next: a read's arrivals, the connection's end, or that nothing came in time."""
        alive_ns = decoding.alive_ns
        try:
            received = connection.receive(deadlines.next_ns(progress, alive_ns))
        except TimeoutError:
            return deadlines.expired(progress, alive_ns, _clock.now_ns())
        arrivals = []
        if received.data:
            arrivals = self._http.receive(
                received.data, received.at_ns, kernel=received.kernel, early_ns=received.early_ns
            )
        if received.ended:
            arrivals += self._http.closed(received.at_ns, reset=received.reset)
        return arrivals
