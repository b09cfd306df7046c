"""Runs cases against a target: in parallel where they do not disturb each other, and again if they fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from streambench.clock import MonotonicClock
from streambench.conformance.case import BROKEN, Broken, Case, Untestable, Verdict
from streambench.conformance.subject import Subject
from streambench.conformance.trial import Shared, Trial
from streambench.errors import ExitCode
from streambench.units import NS_PER_MS, NS_PER_S

TRIES = 3
SIDE_BY_SIDE = 8
CASE_TIMEOUT_S = 90.0
BUSY_MS = 150.0  # a loop that is so late says nothing of the milliseconds of others
BUSY_TRIES = 3
# Cases that judge nothing but shared replies look at more of these: what does that costs next to nothing.
SHARED_TRIES = 20
SHARED_AT_ONCE = 5
SHARED_S = 4.0
QUICK_NS = NS_PER_S
LAG_STEP_NS = 20 * NS_PER_MS

_clock = MonotonicClock()


@dataclass(slots=True)
class CaseResult:
    """What came of one case. `expected_failure`: it is on the list of those that may fail.

    `log` is what went over the wire in the last try that failed, `commands` its requests for a shell; both masked.
    """

    case: Case
    verdict: Verdict
    message: str = ""
    expected: str = ""
    got: str = ""
    place: str = ""
    unlock: str = ""
    tries: int = 1
    seconds: float = 0.0
    log: str = ""
    commands: list[str] = field(default_factory=list)
    expected_failure: bool = False
    on_shared: bool = False  # it has judged nothing but replies that other cases judge as well

    @property
    def is_bad(self) -> bool:
        """Whether the case did not hold."""
        return self.verdict in (Verdict.FAILED, Verdict.WARNING, Verdict.INFO, Verdict.FLAKY)

    def to_json(self) -> dict[str, Any]:
        """The result as `--json` has it."""
        out: dict[str, Any] = {
            "case": self.case.id,
            "keyword": self.case.keyword,
            "verdict": self.verdict,
            "requirement": self.case.requirement,
            "seconds": round(self.seconds, 3),
        }
        for name in ("message", "expected", "got", "place", "unlock"):
            if getattr(self, name):
                out[name] = getattr(self, name)
        if self.is_bad:
            out |= {"source": self.case.source, "remedy": self.case.remedy, "tries": self.tries, "log": self.log}
        if self.expected_failure:
            out["expected_failure"] = True
        return out


@dataclass(slots=True)
class SuiteResult:
    """What came of a suite on one target, in the order of the cases."""

    target: str
    dialect: str
    results: list[CaseResult]
    seconds: float
    strict: bool = False
    interrupted: bool = False  # somebody stopped it: cases are missing

    def count(self, verdict: Verdict) -> int:
        """How many cases have the verdict, those that may fail left out."""
        return sum(result.verdict is verdict and not result.expected_failure for result in self.results)

    @property
    def outlived(self) -> list[CaseResult]:
        """Cases that may fail, and passed: the list has to be cut down, or it would rot."""
        return [result for result in self.results if result.expected_failure and result.verdict is Verdict.PASSED]

    @property
    def tested(self) -> bool:
        """At least one case could be tried: a suite of none has shown nothing."""
        return any(result.verdict is not Verdict.NOT_TESTABLE for result in self.results)

    @property
    def exit_code(self) -> ExitCode:
        """3 where a MUST is broken (with `strict` also a SHOULD), 4 where the harness failed or nothing was tested."""
        if self.interrupted:
            return ExitCode.INTERRUPTED
        bad = self.count(Verdict.FAILED) + self.count(Verdict.FLAKY) + len(self.outlived)
        bad += self.count(Verdict.WARNING) if self.strict else 0
        codes = [ExitCode.PASSED]
        if bad:
            codes.append(ExitCode.CONFORMANCE)
        if self.count(Verdict.HARNESS_ERROR) or not self.tested:
            codes.append(ExitCode.INVALID)
        return ExitCode.worst(codes)

    def to_json(self) -> dict[str, Any]:
        """The suite as `--json` prints it."""
        return {
            "target": self.target,
            "dialect": self.dialect,
            "exit_code": int(self.exit_code),
            "seconds": round(self.seconds, 3),
            **({"interrupted": True} if self.interrupted else {}),
            "verdicts": {str(verdict): self.count(verdict) for verdict in Verdict if self.count(verdict)},
            "cases": [result.to_json() for result in self.results],
        }


async def run_suite(
    subject: Subject,
    cases: Sequence[Case],
    *,
    expected_failures: Collection[str] = (),
    strict: bool = False,
    tries: int = TRIES,
    repeat: int = 1,
    on_result: Callable[[CaseResult], None] | None = None,
    stop: asyncio.Event | None = None,
) -> SuiteResult:
    """Run the cases; `on_result` is told of each as soon as it is decided. `stop` leaves it at those that are.

    `tries` and `repeat` are those of `run_case`.
    """
    started_ns = _clock.now_ns()
    decided: dict[str, CaseResult] = {}

    def told(result: CaseResult) -> None:
        result.expected_failure = result.case.id in expected_failures
        decided[result.case.id] = result
        if on_result is not None:
            on_result(result)

    work = asyncio.ensure_future(_decide_all(subject, cases, tries, repeat, told))
    stopping = asyncio.ensure_future(stop.wait()) if stop is not None else None
    try:
        await asyncio.wait([one for one in (work, stopping) if one], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in (work, stopping):
            if one is not None:
                one.cancel()
                await asyncio.gather(one, return_exceptions=True)
    if not work.cancelled():
        work.result()
    results = [decided[case.id] for case in cases if case.id in decided]
    seconds = (_clock.now_ns() - started_ns) / NS_PER_S
    suite = SuiteResult(subject.name, subject.dialect.name, results, seconds, strict=strict)
    suite.interrupted = len(results) < len(cases)
    return suite


async def _decide_all(
    subject: Subject, cases: Sequence[Case], tries: int, repeat: int, told: Callable[[CaseResult], None]
) -> None:
    shared, room, lag = Shared(), asyncio.Semaphore(SIDE_BY_SIDE), LoopLag()
    watching = asyncio.ensure_future(lag.watch())

    async def decide(case: Case) -> None:
        async with room:
            told(await run_case(subject, case, shared, tries, repeat=repeat, lag=lag))

    try:
        async with asyncio.TaskGroup() as waiting:
            for case in cases:
                if case.patient:
                    waiting.create_task(decide(case))
            async with asyncio.TaskGroup() as together:
                for case in cases:
                    if not case.alone and not case.patient:
                        together.create_task(decide(case))
            for case in cases:
                if case.alone:
                    await decide(case)
    finally:
        watching.cancel()


async def run_case(
    subject: Subject, case: Case, shared: Shared, tries: int = TRIES, *, repeat: int = 1, lag: LoopLag | None = None
) -> CaseResult:
    """Decide one case. One that fails is tried again, on replies of its own; one that then passes is flaky.

    One that passes is tried `repeat` times, or as often as the case itself asks for: it has to pass each of them. One
    that judges nothing but shared replies looks at up to twenty, for a few seconds. What `lag` knows of the machine
    excuses a timed case that fails.
    """
    lacking = [need for need in case.needs if not subject.has(need)]
    if lacking:
        return CaseResult(
            case, Verdict.NOT_TESTABLE, f"it lacks {lacking[0].name.lower().replace('_', ' ')}", unlock=lacking[0].value
        )
    started_ns = _clock.now_ns()
    result = await _undisturbed_try(subject, case, shared, lag)
    number, held = 1, int(result.verdict is Verdict.PASSED)
    quick = _clock.now_ns() - started_ns < QUICK_NS  # several large replies at once would hold each other up
    if held and quick and result.on_shared and not case.timed:
        until_ns = started_ns + round(SHARED_S * NS_PER_S)
        while held == number < SHARED_TRIES and _clock.now_ns() < until_ns:
            others = [shared.again(i) for i in range(number, min(number + SHARED_AT_ONCE, SHARED_TRIES))]
            results = await asyncio.gather(*(_try(subject, case, other) for other in others))
            result = next((one for one in results if one.verdict is not Verdict.PASSED), result)
            held += sum(one.verdict is Verdict.PASSED for one in results)
            number += len(results)
    while held == number < max(repeat, case.repeats):
        result = await _undisturbed_try(subject, case, shared.again(number), lag)
        held += result.verdict is Verdict.PASSED
        number += 1
    if result.is_bad and held:
        result.verdict = Verdict.FLAKY
        result.message = f"it held {held} of {number} times: {result.message}"
    while result.is_bad and result.verdict is not Verdict.FLAKY and number < tries:
        number += 1
        again = await _undisturbed_try(subject, case, Shared(), lag)
        if again.verdict is Verdict.PASSED:
            result.verdict = Verdict.FLAKY
            result.message = f"it held in try {number}, but not before: {result.message}"
            break
    result.tries = number
    result.seconds = (_clock.now_ns() - started_ns) / NS_PER_S
    return result


async def _undisturbed_try(subject: Subject, case: Case, shared: Shared, lag: LoopLag | None) -> CaseResult:
    """A try that says something of the target: where time counts, one that fails while we are held up is repeated."""
    for attempt in range(BUSY_TRIES):
        if lag is not None:
            lag.reset(case.id)
        result = await _try(subject, case, shared if attempt == 0 else Shared())
        late_ms = 0.0 if lag is None else lag.worst_ms(case.id)
        if not (case.timed and result.is_bad and late_ms > BUSY_MS):
            return result
    return CaseResult(
        case,
        Verdict.NOT_TESTABLE,
        f"machine too busy: we were {late_ms:.0f} ms late ourselves when it failed ({result.message})",
        unlock="a machine with a core to spare",
    )


class LoopLag:
    """How late the event loop wakes: what a timed case sees of a target then is partly our own."""

    def __init__(self) -> None:
        self._worst_ns: dict[str, int] = {}

    def reset(self, name: str) -> None:
        """Count anew for a name."""
        self._worst_ns[name] = 0

    def worst_ms(self, name: str) -> float:
        """The worst lag since `reset`."""
        return self._worst_ns.get(name, 0) / NS_PER_MS

    async def watch(self) -> None:
        """Measure, until it is cancelled."""
        while True:
            due_ns = _clock.now_ns() + LAG_STEP_NS
            await asyncio.sleep(LAG_STEP_NS / NS_PER_S)
            late_ns = _clock.now_ns() - due_ns
            for name, worst_ns in self._worst_ns.items():
                self._worst_ns[name] = max(worst_ns, late_ns)


async def _try(subject: Subject, case: Case, shared: Shared) -> CaseResult:
    trial = Trial(subject, shared)
    try:
        async with asyncio.timeout(CASE_TIMEOUT_S):
            await case.judge(trial)
    except Broken as broken:
        mask = subject.mask
        return CaseResult(
            case,
            BROKEN[case.keyword],
            mask(broken.message),
            mask(broken.expected),
            mask(broken.got),
            broken.place,
            log="\n".join(log.text(mask) for log in trial.logs),
            commands=[one.command(mask) for one in trial.exchanges],
        )
    except Untestable as reason:
        return CaseResult(case, Verdict.NOT_TESTABLE, str(reason), unlock=reason.unlock)
    except Exception as error:  # what we did not mean to do is told as such, and ends no suite
        return CaseResult(case, Verdict.HARNESS_ERROR, subject.mask(f"{type(error).__name__}: {error}"))
    finally:
        await trial.close()
    return CaseResult(case, Verdict.PASSED, on_shared=trial.asks_nothing_itself)
