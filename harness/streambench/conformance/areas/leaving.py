"""Clients that disconnect: the work for them ends, and nobody else is affected."""

from __future__ import annotations

import asyncio

from streambench.conformance.case import Keyword, Need, case
from streambench.conformance.judging import check, describe, streamed
from streambench.conformance.trial import Trial
from streambench.units import NS_PER_MS

MUST, SHOULD, MAY = Keyword
BOTH = (Need.TWO_SIDED,)
COST = "nobody reads the rest, and every token of it is paid for"
SLOWLY = {"name": "fixed", "ttft_ms": 50, "gap_ms": 50}
CANCELLED_WITHIN_MS = 1500


@case(
    "leave.cancels",
    MUST,
    "When the client disconnects, the request to the model is cancelled.",
    source=COST,
    remedy="Detect the disconnect, and close the upstream's response.",
    defect="no-cancel",
    needs=BOTH,
    timed=True,
)
async def cancels(trial: Trial) -> None:
    """Ask for a reply that takes 5 s, and disconnect after the first words.

    The upstream sees its client disconnect within 1.5 s.
    """
    reply = await trial.ask(plan={"tokens": 100, "profile": SLOWLY}, leave=lambda reply: len(reply.contents) >= 3)
    await _cancelled(trial, reply.mark, reply.exchange.ended_ns, describe(reply))


@case(
    "leave.cancels-early",
    MUST,
    "When the client disconnects before the first word, the request to the model is cancelled.",
    source=COST,
    remedy="Watch the connection even before the upstream has sent anything.",
    defect="no-cancel",
    needs=BOTH,
    timed=True,
)
async def cancels_early(trial: Trial) -> None:
    """Ask for a reply whose first word takes 5 s, and disconnect once the upstream has the request.

    The upstream sees its client disconnect within 1.5 s.
    """
    mark = await trial.upstream.plan(tokens=20, profile={"name": "fixed", "ttft_ms": 5000, "gap_ms": 20})
    gone = asyncio.Event()
    asking = asyncio.ensure_future(trial.ask(f"Tell me. [[sb:{mark}]]", gone=gone, deadline_s=15.0))
    await trial.upstream.reached(mark)
    gone.set()
    reply = await asking
    await _cancelled(trial, mark, reply.exchange.ended_ns, describe(reply))


async def _cancelled(trial: Trial, mark: str, left_ns: int, said: str) -> None:
    entries = await trial.upstream.settled(mark, 3.0)
    check(bool(entries), "the prompt did not reach the upstream", got=said)
    entry = entries[-1]
    check(
        entry["ended"] == "cancelled", "the upstream's stream continues", expected="cancelled", got=str(entry["ended"])
    )
    late_ms = (trial.upstream.local(entry["cancelled_ns"]) - left_ns) / NS_PER_MS
    check(
        late_ms < CANCELLED_WITHIN_MS,
        "the upstream's stream is cancelled late",
        expected=f"{CANCELLED_WITHIN_MS} ms",
        got=f"{late_ms:.0f} ms",
    )


@case(
    "leave.gives-back",
    MUST,
    "When the client disconnects, the resources of its stream are released.",
    source="the target's profile",
    remedy="Release resources and decrement counters in a finally block of the stream's task.",
    defect="leaks-streams",
    needs=(*BOTH, Need.HEALTH),
    alone=True,
)
async def gives_back(trial: Trial) -> None:
    """Ask five times, and disconnect after the first words.

    Within 3 s the target reports as many open streams as before.
    """
    before = await trial.open_streams()
    for _ in range(5):
        await trial.ask(plan={"tokens": 100, "profile": SLOWLY}, leave=lambda reply: bool(reply.contents))
    after = before + 5
    for _ in range(30):
        after = await trial.open_streams()
        if after <= before:
            return
        await asyncio.sleep(0.1)
    check(after <= before, "streams stay open", expected=f"{before}", got=f"{after}")


@case(
    "leave.others-go-on",
    MUST,
    "When one client disconnects, the replies to others continue.",
    source="one user's disconnect does not affect others",
    remedy="Cancel only this stream's task, and nothing that is shared.",
    defect="cancels-everybody",
    needs=BOTH,
    alone=True,
    repeats=2,
)
async def others_go_on(trial: Trial) -> None:
    """Let two users ask, and one of them disconnect.

    The other user's reply is complete.
    """
    # Long enough for a server on a loaded machine to notice that the other one has gone.
    order = {"tokens": 60, "profile": SLOWLY}
    stays = asyncio.ensure_future(trial.ask(plan=order))
    await trial.ask(plan=order, leave=lambda reply: bool(reply.contents))
    reply = await stays
    streamed(reply)
    check(reply.complete and not reply.interrupted, "the other reply was cut off", got=reply.error or reply.text[-40:])
