"""How often the conformance suite finds a bug that does not show every time, and what looking more often costs.

`python benchmarks/conformance_intermittent.py` puts each case of the `chat-stream` system in front of its defect, which
shows in 15% of the requests only (`--rate`), and counts the cases that find it: by default and with each `--repeat`.
Beside it is how long the whole suite takes on the correct server with the same setting.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import logging
import random
from collections.abc import Callable
from typing import Any

from aiohttp import web

from mock_openai.chat.defects import catalogue
from mock_openai.chat.defects.defect import Defect
from mock_openai.chat.server import ChatServer
from streambench.conformance import runner
from streambench.conformance.case import Case, Verdict
from streambench.conformance.runner import run_case, run_suite
from streambench.conformance.suite import all_cases
from streambench.conformance.trial import Shared
from tools.conformance import LIMITED_AREA, fake_upstream, home_of, reference

SYSTEM = "chat-stream"
SIDE_BY_SIDE = 8


def now_and_then(defect: Defect, rate: float, dice: random.Random) -> Defect:
    """The defect in a share of the requests; the others are handled rightly."""

    def shows() -> bool:
        return dice.random() < rate

    def spoil(response: web.StreamResponse) -> None:
        if defect.spoil is not None and shows():
            defect.spoil(response)

    async def around(request: web.Request, handler: Any, server: ChatServer) -> web.StreamResponse:
        wrong = defect.around is not None and shows()
        return await (defect.around(request, handler, server) if wrong and defect.around else handler(request))

    def either(name: str) -> Callable[..., Any]:
        def method(self: ChatServer, *arguments: Any, **options: Any) -> Any:
            return getattr(defect.server if shows() else ChatServer, name)(self, *arguments, **options)

        return method

    overridden = [
        name
        for kind in defect.server.__mro__[: defect.server.__mro__.index(ChatServer)]
        for name, value in vars(kind).items()
        if callable(value) and not name.startswith("_") and hasattr(ChatServer, name)
    ]
    server = type("NowAndThen", (defect.server,), {name: either(name) for name in overridden})
    return dataclasses.replace(
        defect,
        server=server if overridden else defect.server,
        spoil=spoil if defect.spoil else None,
        around=around if defect.around else None,
    )


def can_be_rare(defect: Defect) -> bool:
    """Whether it is a request that goes wrong, and not the server as a whole."""
    mine = [vars(kind) for kind in defect.server.__mro__[: defect.server.__mro__.index(ChatServer)]]
    return not any("__init__" in names or name.startswith("open_") for names in mine for name in names)


async def found(upstream_url: str, cases: list[Case], repeat: int) -> list[Case]:
    """The cases that see their defect."""
    room = asyncio.Semaphore(SIDE_BY_SIDE)

    async def one(case: Case) -> bool:
        async with room, reference(upstream_url, SYSTEM, case.defect) as subject:
            result = await run_case(subject, case, Shared(), repeat=repeat)
            return result.verdict not in (Verdict.PASSED, Verdict.NOT_TESTABLE)

    return [case for case, seen in zip(cases, await asyncio.gather(*map(one, cases)), strict=True) if seen]


async def measure(rate: float, repeats: list[int], rounds: int) -> None:
    """Print a line for each way to look."""
    dice = random.Random(rate)
    cases = [
        case
        for case in all_cases()
        if home_of(case) == SYSTEM and case.area != LIMITED_AREA and can_be_rare(catalogue.DEFECTS[case.defect])
    ]
    right = dict(catalogue.DEFECTS)
    tries = runner.SHARED_TRIES
    with fake_upstream() as upstream_url:
        for name, shared, repeat in [("one reply", 1, 1), *((f"--repeat {n}", tries, n) for n in repeats)]:
            runner.SHARED_TRIES = shared
            async with reference(upstream_url, SYSTEM) as subject:
                suite = await run_suite(subject, [c for c in all_cases() if c.area != LIMITED_AREA], repeat=repeat)
            catalogue.DEFECTS.update({n: now_and_then(defect, rate, dice) for n, defect in right.items()})
            seen = [case for _ in range(rounds) for case in await found(upstream_url, cases, repeat)]
            catalogue.DEFECTS.update(right)
            on_shared = {result.case.id for result in suite.results if result.on_shared and not result.case.timed}
            for told, chosen in (("ordinary replies", True), ("others", False)):
                group = [case for case in cases if (case.id in on_shared) is chosen]
                count = sum((case.id in on_shared) is chosen for case in seen)
                share = count / (rounds * len(group))
                print(
                    f"{name:>12}, {told:<16}: found by {share:4.0%} of {len(group)} cases, suite {suite.seconds:.1f} s"
                )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=0.15)
    parser.add_argument("--repeat", type=int, action="append")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    asyncio.run(measure(options.rate, options.repeat or [1, 5], options.rounds))
