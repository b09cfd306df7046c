"""Clients that read slowly: they get all of it, and hold up nobody else."""

from __future__ import annotations

import asyncio

from streambench.conformance.case import Keyword, Need, case
from streambench.conformance.trial import Trial
from streambench.units import NS_PER_S

MUST, SHOULD, MAY = Keyword
BOTH = (Need.TWO_SIDED, Need.EVENT_STREAM)
BIG = {"text": "A lot of text for a slow reader. " * 30_000, "profile": "instant"}
ALONE = True


@case(
    "slow.others",
    MUST,
    "A client that does not read holds up nobody else.",
    source="backpressure belongs to one connection",
    remedy="Write each stream from its own task, and await its own connection only.",
    defect="blocks-on-slow-reader",
    needs=BOTH,
    alone=ALONE,
)
async def others(trial: Trial) -> None:
    """Let one client ask for 1 MB and stop reading, and another one ask something short.

    The short reply is complete within 3 s.
    """
    slow = asyncio.ensure_future(trial.ask(plan=BIG, wait_s=0.8, reads_bytes=2048, deadline_s=6.0))
    await asyncio.sleep(1.0)
    reply = await trial.ask(plan={"tokens": 4, "profile": "instant"}, deadline_s=4.0)
    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)
    trial.streamed(reply)
    took_s = (reply.exchange.ended_ns - reply.exchange.started_ns) / NS_PER_S
    trial.check(reply.complete and took_s < 3, "the other client waits", expected="3 s", got=f"{took_s:.1f} s")


@case(
    "slow.whole",
    MUST,
    "A client that reads slowly gets all of the reply.",
    source="backpressure slows a stream down; it does not shorten it",
    remedy="Wait for the connection to drain; a bounded queue that drops text loses it for good.",
    defect="drops-for-slow-reader",
    needs=BOTH,
)
async def whole(trial: Trial) -> None:
    """Ask for 200 words, and read 256 bytes every 5 ms.

    All of the text comes.
    """
    reply = await trial.ask(plan={"tokens": 200, "profile": "instant"}, wait_s=0.005, reads_bytes=256, deadline_s=20.0)
    trial.streamed(reply)
    entries = await trial.upstream.settled(reply.mark)
    trial.check(bool(entries), "the question did not reach the upstream")
    wanted = entries[-1]["text"]
    trial.check(reply.text == wanted, "text is missing", expected=f"{len(wanted)} characters", got=f"{len(reply.text)}")
