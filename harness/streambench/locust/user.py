"""A user for locustfiles: chats that stream, measured as `streambench run` measures them.

    class Chat(StreamChatUser):
        dialect = "openai-chat"
        path = "/v1/chat/completions"
        wait_time = between(1, 3)

        @task
        def ask(self):
            self.stream("Explain quantum computing in simple terms")

It stands beside other users in stock `locust -f`. The same decoders, dialects and records are underneath, on sockets
that let other greenlets run; the kernel stamps what arrives, so a busy greenlet makes no figure later than it was.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import ClassVar, Self

import gevent
from locust import User
from locust.env import Environment
from locust.event import Events
from locust.stats import StatsError

from streambench.analysis.metrics import Settings, measure
from streambench.analysis.milestones import PREFIX, spans
from streambench.clock import MonotonicClock
from streambench.dialects import Dialect, load_dialect
from streambench.drivers.blocking_user import BlockingHttpUser
from streambench.drivers.failures import SetupError
from streambench.drivers.target import TargetSpec
from streambench.endings import Ending
from streambench.errors import ConfigurationError
from streambench.findings import Finding
from streambench.load.executors.users import COMING_APART_NS
from streambench.locust.hub_polls import HubPolls
from streambench.locust.lateness import Lateness
from streambench.locust.rows import method_of
from streambench.record.model import Outcome, StreamRecord
from streambench.record.recorder import Recorder
from streambench.transport.target import Endpoint, Timeouts
from streambench.units import NS_PER_MS, NS_PER_S

_clock = MonotonicClock()
_numbers = itertools.count()
_token = secrets.token_hex(4)  # no user of another process has the name of one of ours


class StreamFailed(Exception):
    """Why a stream counts as failed in Locust: its error class and what happened."""


@dataclass(slots=True)
class Reply:
    """What came of a prompt. Durations in ms, None where the stream did not come so far; `milestones` are those of the
    dialect that it came to, by name. `ttfc_own_ms`: how much of `ttfc_ms` may be the generator's own doing.

    As a context (`with self.stream(..., catch_response=True) as reply`) it is reported to Locust when it is left, and
    `failure` and `success` decide how.
    """

    text: str
    ttfc_ms: float | None
    ttfc_own_ms: float | None
    gap_max_ms: float | None
    e2e_ms: float
    chunks: int
    error: str | None
    findings: list[Finding]
    milestones: dict[str, float]
    record: StreamRecord
    _user: StreamChatUser
    _name: str
    _exception: Exception | None = None
    _reported: bool = False

    @property
    def ok(self) -> bool:
        """The stream is complete, and nobody has called it a failure."""
        return self._exception is None

    def failure(self, reason: str | Exception) -> None:
        """Count it as failed, whatever came."""
        self._exception = reason if isinstance(reason, Exception) else StreamFailed(reason)

    def success(self) -> None:
        """Count it as a success, whatever came."""
        self._exception = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            self.failure(error)
        self.report()

    def report(self) -> None:
        """Tell Locust, once."""
        if not self._reported:
            self._reported = True
            self._user.report(self, self._name, self._exception)


class StreamChatUser(User):
    """A user who chats with an SSE or NDJSON endpoint. Subclass it and set what is different.

    `dialect` is the name of a bundled dialect or the path of a dialect file, `path` is appended to `host` (by default
    the dialect's own path), `variables` are values for the dialect's placeholders. Cookies and values of the dialect's
    setup belong to each user; its setup is made before its first prompt.

    Locust lets users come in groups, once a second. A subclass with an `on_start` of its own calls this one as well.
    """

    abstract = True
    dialect: ClassVar[str] = "openai-chat"
    path: ClassVar[str] = ""
    headers: ClassVar[Mapping[str, str]] = {}
    variables: ClassVar[Mapping[str, str]] = {}
    tls_verify: ClassVar[bool | str] = True
    first_chunk_timeout_s: ClassVar[float] = 30.0
    idle_timeout_s: ClassVar[float] = 15.0
    total_timeout_s: ClassVar[float] = 120.0

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        tell_at_the_end(environment.events)
        if not self.host:
            raise ConfigurationError("there is no host to chat with: give --host, or set `host` in the class")
        self._dialect = dialect_named(self.dialect)
        self._method = method_of(self._dialect.transport, self._dialect.name)
        timeouts = Timeouts(
            first_chunk_ns=round(self.first_chunk_timeout_s * NS_PER_S),
            idle_ns=round(self.idle_timeout_s * NS_PER_S),
            total_ns=round(self.total_timeout_s * NS_PER_S),
        )
        endpoint = Endpoint(
            self.host.rstrip("/") + self.path,
            headers=tuple(self.headers.items()),
            tls_verify=self.tls_verify,
            timeouts=timeouts,
        )
        self._spec = TargetSpec(type(self).__name__, self._dialect, endpoint, self.variables)
        self._number = next(_numbers)
        self._client = BlockingHttpUser(
            self._spec, {"user": f"{environment.runner and id(environment.runner)}-{self._number}"}, hub_polls()
        )
        self._prepared = False
        self._streams = 0

    def stream(self, prompt: str, *, name: str | None = None, catch_response: bool = False) -> Reply:
        """Say `prompt` and read the whole reply.

        `name` is that of the row in Locust's statistics (default: the path). Whatever the server does is in the reply;
        with `catch_response` it is reported to Locust when the reply's context is left.
        """
        now_ns = _clock.now_ns()
        record = StreamRecord(
            f"{self._spec.name}/{self._number}.{self._streams}",
            self._spec.name,
            self._dialect.name,
            now_ns,
            now_ns,
            user=self._number,
            iteration=self._streams,
        )
        self._streams += 1
        recorder = Recorder(record, self._dialect, keep_text=True)
        try:
            if not self._prepared:
                self._client.prepare()
                self._prepared = True
                record.intended_ns = record.start_ns = _clock.now_ns()
        except SetupError as failure:
            recorder.fail(failure.error, str(failure))
            recorder.end(Ending.NOT_CONNECTED, _clock.now_ns())
        else:
            self._client.stream(prompt, recorder)
        reply = self._reply(record, name or self.path or self._dialect.path or "/")
        if not catch_response:
            reply.report()
        return reply

    def on_start(self) -> None:
        """Come a little later than who came just before: users who begin at the same moment make each other late."""
        _comings.wait()

    def on_stop(self) -> None:
        """Close the connection."""
        self._client.close()

    def _reply(self, record: StreamRecord, name: str) -> Reply:
        measured = measure(record, None, Settings())
        figures, own = measured.stream, measured.own.stream
        failed = record.outcome is Outcome.FAILED
        return Reply(
            text=record.text or "",
            ttfc_ms=figures.get("ttfc"),
            ttfc_own_ms=own["ttfc"].minus if "ttfc" in figures else None,
            gap_max_ms=figures.get("gap_max"),
            e2e_ms=((record.end_ns or record.start_ns) - record.start_ns) / NS_PER_MS,
            chunks=len(record.content_rows()),
            error=record.error,
            findings=record.findings,
            milestones={name: span.ns / NS_PER_MS for name, span in spans(record, self._dialect.milestones).items()},
            record=record,
            _user=self,
            _name=name,
            _exception=StreamFailed(f"{record.error}: {record.error_message}") if failed else None,
        )

    def report(self, reply: Reply, name: str, exception: Exception | None) -> None:
        """Put a reply into Locust's statistics: a request, the rows beside it, and the rules that it broke."""
        environment = self.environment
        environment.events.request.fire(
            request_type=self._method,
            name=name,
            response_time=reply.e2e_ms,
            response_length=reply.record.wire_bytes,
            response=reply,
            context=self.context(),
            exception=exception,
        )
        if reply.ttfc_ms is not None and reply.ttfc_own_ms is not None:
            _lateness.take(reply.ttfc_ms, reply.ttfc_own_ms)
        stats = environment.stats
        named = ((f"{PREFIX}{milestone}", value) for milestone, value in reply.milestones.items())
        for method, value in (("TTFC", reply.ttfc_ms), ("GAP MAX", reply.gap_max_ms), *named):
            if value is not None and reply.ok:
                stats.get(name, method).log(value, 0)
        for finding in reply.record.violations:
            error = f"{finding.rule}: {finding.message}"
            key = StatsError.create_key(self._method, name, error)
            stats.errors.setdefault(key, StatsError(self._method, name, error)).occurred()


class Comings:
    """Moments at which users begin, `COMING_APART_NS` apart, as in the scenario's own engine."""

    def __init__(self) -> None:
        self._next_ns = 0

    def wait(self) -> None:
        """Until it is this user's turn."""
        now_ns = _clock.now_ns()
        turn_ns = max(now_ns, self._next_ns)
        self._next_ns = turn_ns + COMING_APART_NS
        gevent.sleep((turn_ns - now_ns) / NS_PER_S)


_comings = Comings()
_lateness = Lateness()


@cache
def tell_at_the_end(events: Events) -> None:
    """Say at the end of each run whether this process was too late to measure."""
    events.test_stop.add_listener(lambda **_: _lateness.tell())


@cache
def hub_polls() -> HubPolls:
    """The polls of the hub that runs Locust's users."""
    return HubPolls()


_dialects: dict[str, Dialect] = {}


def dialect_named(name: str) -> Dialect:
    """The dialect, read once for all users. Raises ConfigurationError, also for one that it cannot speak."""
    if name not in _dialects:
        dialect = load_dialect(name)
        if dialect.is_socket:
            raise ConfigurationError(
                f"{name} is spoken on a socket, and StreamChatUser reads HTTP streams: run it with `streambench locust`"
            )
        if dialect.steps:
            raise ConfigurationError(
                f"a prompt of {name} takes several requests, and StreamChatUser makes one: run it with `streambench "
                "locust`"
            )
        _dialects[name] = dialect
    return _dialects[name]
