"""How a worker joins its master: it introduces itself, learns where the served components are, and compares clocks."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import platform
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from streambench import __version__
from streambench.clock import MonotonicClock
from streambench.errors import ConfigurationError, TargetUnreachable
from streambench.load.scenario import Scenario
from streambench.locust.link import MasterLink
from streambench.locust.messages import CLOCK, HELLO, REFUSED
from streambench.locust.protocol import Custom, WorkerProtocol
from streambench.upstream.clocks import ClockRelation, boot_id, relation_of

ASK_AGAIN_S = 1.0
MASTER_TIMEOUT_S = 60.0
CLOCK_EXCHANGES = 8

_clock = MonotonicClock()


@dataclass(frozen=True, slots=True)
class Welcome:
    """What the master says to a worker that it takes: its name in reports, and the base URLs of bundled servers."""

    name: str
    urls: dict[str, str]


class Questions:
    """Questions to the master, one at a time; whoever reads its frames hands the answers to `answers`."""

    def __init__(self, link: MasterLink, protocol: WorkerProtocol) -> None:
        self.answers: asyncio.Queue[Custom] = asyncio.Queue()
        self._link = link
        self._protocol = protocol

    async def ask(self, kind: str, data: dict[str, Any]) -> Custom:
        """Ask something until the master answers; TimeoutError where it does not."""
        async with asyncio.timeout(MASTER_TIMEOUT_S):
            while True:
                await self._link.send(self._protocol.custom(kind, data))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(ASK_AGAIN_S):
                        return await self.answers.get()


async def greet(questions: Questions, scenario: Scenario, where: str, over: asyncio.Future[None]) -> Welcome:
    """Introduce a worker to the master at `where`; `over` ends the waiting.

    Raises TargetUnreachable where nobody answers, ConfigurationError where the master refuses us, or serves what this
    machine cannot reach.
    """
    said = {
        "version": __version__,
        "scenario": scenario.content_hash,
        "host": platform.node(),
        "boot_id": boot_id(),
    }
    asking = asyncio.create_task(questions.ask(HELLO, said))
    either: set[asyncio.Future[Any]] = {asking, over}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    asking.cancel()
    try:
        answer = await asking
    except asyncio.CancelledError:
        raise ConfigurationError("the worker was ended before a master answered") from None
    except TimeoutError:
        raise TargetUnreachable(f"no streambench master answers at {where} (streambench locust --master)") from None
    if answer.type == REFUSED:
        raise ConfigurationError(answer.data["reason"])
    urls: dict[str, str] = answer.data["urls"]
    if not answer.data["same_host"] and any(map(is_loopback, urls.values())):
        raise ConfigurationError(
            "the scenario's bundled servers run beside the master, on its loopback, where this machine cannot "
            "reach them: start `streambench mock --host` where both can, and name its URLs in the scenario"
        )
    return Welcome(answer.data["name"], urls)


async def relate_clocks(questions: Questions) -> ClockRelation:
    """How the master's clock relates to ours; the quickest of several exchanges counts."""
    exchanges: list[tuple[int, int, dict[str, Any]]] = []
    for _ in range(CLOCK_EXCHANGES):
        answer = await questions.ask(CLOCK, {"asked_ns": _clock.now_ns()})
        if answer.type == CLOCK:
            exchanges.append((answer.data["asked_ns"], _clock.now_ns(), answer.data))
    return relation_of(exchanges)


def is_loopback(url: str) -> bool:
    """Whether the URL's host is this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
