"""One user who sends prompts in sequence, and whose streams can be watched while they run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from streambench.clock import MonotonicClock
from streambench.drivers.failures import SetupError
from streambench.drivers.target import TargetSpec
from streambench.drivers.users import UserSession, open_session
from streambench.errors import TargetUnreachable
from streambench.load.scenario import Scenario
from streambench.load.service import OnDeath
from streambench.load.streams import begin_stream
from streambench.load.testbed import open_testbed
from streambench.record.model import StreamRecord
from streambench.record.recorder import Recorder
from streambench.record.transcript import Transcript

_clock = MonotonicClock()


@dataclass(frozen=True, slots=True)
class Probed:
    """A stream that begins: its record fills while `work` is awaited, and `transcript` keeps what came."""

    recorder: Recorder
    transcript: Transcript
    work: Coroutine[Any, Any, None]

    @property
    def record(self) -> StreamRecord:
        """The stream's record."""
        return self.recorder.record


class Begin(Protocol):
    """Begins a stream by its number; `plain`: uncompressed, by another user who asks for `identity`."""

    def __call__(self, number: int, *, plain: bool = False) -> Probed:
        """The stream, which begins when its work is awaited."""
        ...


@asynccontextmanager
async def open_probe(scenario: Scenario, *, wait_ns: int = 0, on_death: OnDeath | None = None) -> AsyncIterator[Begin]:
    """One user of the scenario's first target, connected and set up.

    Yields a function that begins a stream by its number. The target has `wait_ns` to come up; `on_death` is told of a
    server of the user's own that ends by itself. Raises TargetUnreachable, and ConfigurationError for what only the
    servers can know.
    """
    first = replace(scenario, targets=scenario.targets[:1])
    async with open_testbed(first, wait_ns=wait_ns, on_death=on_death) as testbed:
        (target,) = testbed.scenario.targets
        plans = testbed.plans.get(target.name, {})
        sessions: dict[bool, UserSession] = {}

        async def prepared(*, plain: bool) -> UserSession:
            if plain not in sessions:
                spec = without_compression(target.spec) if plain else target.spec
                session = open_session(spec, {"user": f"{testbed.token}-{target.name}-{int(plain)}"})
                sessions[plain] = session
                try:
                    await session.prepare()
                except SetupError as failure:
                    raise TargetUnreachable(f"the setup failed: {failure}") from failure
            return sessions[plain]

        def begin(number: int, *, plain: bool = False) -> Probed:
            now_ns = _clock.now_ns()
            prompts = testbed.scenario.prompts
            _, recorder, prompt = begin_stream(target, prompts, plans, number, now_ns, now_ns, keep_text=True)
            transcript = Transcript()
            recorder.tap = transcript
            return Probed(recorder, transcript, stream(recorder, prompt, plain=plain))

        async def stream(recorder: Recorder, prompt: str, *, plain: bool) -> None:
            session = await prepared(plain=plain)
            await session.stream(prompt, recorder)
            await testbed.join(recorder.record)

        try:
            await prepared(plain=False)
            yield begin
        finally:
            for session in sessions.values():
                await session.close()


def without_compression(spec: TargetSpec) -> TargetSpec:
    """The same target, asked for replies that are not compressed."""
    kept = tuple((name, value) for name, value in spec.endpoint.headers if name.lower() != "accept-encoding")
    return spec.reached(headers=(*kept, ("accept-encoding", "identity")))
