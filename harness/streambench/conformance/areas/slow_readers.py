"""Clients that read slowly: they get the complete reply, and delay nobody else."""

from __future__ import annotations

import asyncio
from typing import Any

from streambench.conformance.case import Keyword, Need, Untestable, case
from streambench.conformance.judging import check, streamed
from streambench.conformance.subject import Subject
from streambench.conformance.trial import Trial
from streambench.dialects.checks.texts import Concat
from streambench.units import NS_PER_S

MUST, SHOULD, MAY = Keyword
BOTH = (Need.TWO_SIDED,)
LETTERS = "𝄞𝄢𝄡𝄫𝄪𝄐𝄑𝄒𝄓𝄔"  # of 4 bytes each
PAUSE_S = 4.0
ESCAPED = "\x01\x02\x03\x04\x05\x06\x07\x0e\x0f\x10"  # of 6 bytes each in JSON, whoever writes it


def _words(subject: Subject) -> list[str]:
    """Words that, each sent twice, are more than the buffers of both kernels hold.

    A protocol that repeats the text so far in every event makes as much of much less; on a WebSocket no framing adds
    to it.
    """
    repeats = any(isinstance(make(), Concat) for make in subject.dialect.checks)
    if not subject.on_socket:
        words, letters, alphabet = 10, 90_000, LETTERS
    elif repeats:
        words, letters, alphabet = 40, 2_000, LETTERS
    else:
        words, letters, alphabet = 11, 90_000, ESCAPED
    return [f"{' ' if i else ''}{alphabet[i % 10] * letters}" for i in range(words)]


def _big(words: list[str]) -> dict[str, Any]:
    twice = [{"fault": "duplicate-chunk", "at": {"probability": 1}}]
    return {"text": "".join(words), "profile": "instant", "faults": twice}


@case(
    "slow.others",
    MUST,
    "A client that does not read does not delay others.",
    source="backpressure belongs to one connection",
    remedy="Write each stream from its own task, and await only its own connection.",
    defect="blocks-on-slow-reader",
    needs=BOTH,
    alone=True,
)
async def others(trial: Trial) -> None:
    """Let one client ask for 7 MB without reading them, and another one ask a short question.

    The short reply is complete within 3 s.
    """
    slow = asyncio.ensure_future(trial.ask(plan=_big(_words(trial.subject)), pause_s=8.0, deadline_s=8.0))
    await asyncio.sleep(2.5)  # by then the target has more to write than the connection takes
    reply = await trial.ask(plan={"tokens": 4, "profile": "instant"}, deadline_s=4.0)
    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)
    streamed(reply)
    took_s = (reply.exchange.ended_ns - reply.exchange.started_ns) / NS_PER_S
    holds = reply.complete and not reply.interrupted and took_s < 3
    check(holds, "the other client waits", expected="3 s", got=f"{took_s:.1f} s")


@case(
    "slow.whole",
    MUST,
    "A client that reads slowly gets the complete reply.",
    source="backpressure slows a stream down; it does not shorten it",
    remedy="Wait for the connection to drain: a bounded queue that drops text loses it for good.",
    defect="drops-for-slow-reader",
    needs=BOTH,
    alone=True,
)
async def whole(trial: Trial) -> None:
    """Ask for 7 MB, and start reading after 4 s.

    All of the text arrives.
    """
    heartbeat_s = trial.subject.profile.heartbeat_s
    if heartbeat_s is not None and heartbeat_s <= PAUSE_S:
        raise Untestable("the server disconnects clients that read nothing for 4 s", "a longer heartbeat interval")
    words = _words(trial.subject)
    reply = await trial.ask(plan=_big(words), pause_s=PAUSE_S, deadline_s=30.0)
    streamed(reply)
    wanted = "".join(word * 2 for word in words)
    check(reply.text == wanted, "text is missing", expected=f"{len(wanted)} characters", got=f"{len(reply.text)}")
