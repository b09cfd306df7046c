"""A scenario: what is driven, how hard, and what must hold.

Plain values; `loading` makes them from a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from streambench.analysis.gates import Gate
from streambench.drivers.target import TargetSpec, Timeouts
from streambench.load.secrets import Secrets
from streambench.units import NS_PER_MS

DEFAULT_PROMPT = "Explain quantum computing in simple terms"
SERVED = ("openai", "chat")


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a simulated user says. `tokens`: the length of the upstream's reply, None for its default."""

    text: str = DEFAULT_PROMPT
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts, used in turn, and how the fake upstream replies to them where there is one.

    `profile` is a latency profile's name or object, `faults` what the upstream gets wrong on purpose; both as the
    upstream's plans take them.
    """

    prompts: tuple[Prompt, ...] = (Prompt(),)
    profile: Any = None
    faults: tuple[Any, ...] = ()

    def of_stream(self, number: int) -> Prompt:
        return self.prompts[number % len(self.prompts)]


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of load on each target.

    Closed model: `users` talk in turn, each with `think_ns` between its streams. Open model: streams start by an
    arrival process at `rate_from` to `rate_to` per second, or at the offsets of `trace_ns`. The phase ends after
    `duration_ns`, or after `streams` streams; of the two at least one is given.
    """

    users: int | None = None
    rate_from: float | None = None
    rate_to: float | None = None
    arrivals: str = "constant"
    cv: float = 1.0
    trace_ns: tuple[int, ...] | None = None
    duration_ns: int | None = None
    streams: int | None = None
    think_ns: int = 0
    max_active: int = 10_000

    @property
    def is_open(self) -> bool:
        return self.users is None

    def describe(self) -> str:
        """The phase in a few words, for reports."""
        seconds = "" if self.duration_ns is None else f"{self.duration_ns / 1e9:g} s"
        count = "" if self.streams is None else f"{self.streams} streams"
        how_long = " or ".join(part for part in (count, seconds) if part)
        if self.users is not None:
            think = f", {self.think_ns / 1e9:g} s think time" if self.think_ns else ""
            return f"{self.users} user{'' if self.users == 1 else 's'}{think}, {how_long}"
        if self.trace_ns is not None:
            return f"{len(self.trace_ns)} arrivals of a trace"
        rate = f"{self.rate_from:g}/s" + ("" if self.rate_from == self.rate_to else f" to {self.rate_to:g}/s")
        return f"{rate} {self.arrivals} arrivals, {how_long}"


@dataclass(frozen=True, slots=True)
class Load:
    """The phases, one after the other; what starts in the first `warmup_ns` is recorded but not judged."""

    phases: tuple[Phase, ...] = (Phase(users=1, streams=1),)
    warmup_ns: int = 0


@dataclass(frozen=True, slots=True)
class Serve:
    """The bundled servers to start: their options, or None for not starting one."""

    openai: Mapping[str, Any] | None = None
    chat: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A target as the scenario names it; `${serve.…}` in its texts is filled when the servers run.

    `upstream` is the base URL of the fake upstream behind it, None where it is measured from one side only.
    """

    spec: TargetSpec
    upstream: str | None = None

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def two_sided(self) -> bool:
        return self.upstream is not None

    def served_by(self, urls: Mapping[str, str]) -> Target:
        """The target with the started servers' URLs in place of `${serve.…}`."""

        def fill(text: str) -> str:
            for name, url in urls.items():
                text = text.replace(f"${{serve.{name}}}", url)
            return text

        spec = replace(
            self.spec,
            url=fill(self.spec.url),
            headers=tuple((name, fill(value)) for name, value in self.spec.headers),
            variables={name: fill(value) for name, value in self.spec.variables.items()},
        )
        return replace(self, spec=spec, upstream=None if self.upstream is None else fill(self.upstream))


@dataclass(frozen=True, slots=True)
class Scenario:
    """A loaded scenario. `path` is the file it came from, `content_hash` the SHA-256 of it and of its overrides."""

    name: str
    path: str
    content_hash: str
    targets: tuple[Target, ...]
    serve: Serve = field(default_factory=Serve)
    prompts: Prompts = field(default_factory=Prompts)
    load: Load = field(default_factory=Load)
    timeouts: Timeouts = field(default_factory=Timeouts)
    gates: tuple[Gate, ...] = ()
    seed: int = 0
    stall_after_ns: int = 500 * NS_PER_MS
    reading_wpm: float = 250.0
    secrets: Secrets = field(default_factory=Secrets)

    def served_by(self, urls: Mapping[str, str]) -> Scenario:
        return replace(self, targets=tuple(target.served_by(urls) for target in self.targets))
