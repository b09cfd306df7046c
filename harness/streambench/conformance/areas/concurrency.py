"""Many users at once: each gets their own reply, at the pace of the model."""

from __future__ import annotations

import asyncio

from streambench.conformance.case import Keyword, Need, case
from streambench.conformance.judging import check, streamed
from streambench.conformance.trial import Trial
from streambench.units import NS_PER_S

MUST, SHOULD, MAY = Keyword
BOTH = (Need.TWO_SIDED,)
USERS = 8
ORDER = {"tokens": 40, "profile": {"name": "fixed", "ttft_ms": 50, "gap_ms": 20}}


@case(
    "concurrent.own-text",
    MUST,
    "Concurrent users each get the reply to their own prompt.",
    source="a reply is only for the user who asked",
    remedy="Keep a reply's state in its own request, not in an object that requests share.",
    defect="mixes-replies",
    needs=BOTH,
    alone=True,
    repeats=3,
)
async def own_text(trial: Trial) -> None:
    """Let eight users ask at once, each for a different text.

    Each gets exactly their own.
    """
    texts = [f"{['one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight'][i]} " * 30 for i in range(USERS)]
    profile = {"name": "fixed", "ttft_ms": 20, "gap_ms": 10}
    replies = await asyncio.gather(*(trial.ask(plan={"text": text, "profile": profile}) for text in texts))
    for text, reply in zip(texts, replies, strict=True):
        streamed(reply)
        check(reply.text == text, "a user got a different text", expected=text[:60], got=reply.text[:60])


@case(
    "concurrent.side-by-side",
    MUST,
    "Replies to several users are streamed concurrently, not one after another.",
    source="the definition of streaming, for every user",
    remedy="Look for a lock, a single worker or a blocking call around the whole reply.",
    defect="one-at-a-time",
    needs=BOTH,
    alone=True,
    timed=True,
)
async def side_by_side(trial: Trial) -> None:
    """Let eight users ask at once for replies that take 0.85 s.

    All are complete within 5.5 s; one after another they would take 6.8 s.
    """
    replies = await asyncio.gather(*(trial.ask(plan=ORDER) for _ in range(USERS)))
    for reply in replies:
        streamed(reply)
        check(reply.complete and not reply.interrupted, "a reply was cut off", got=reply.error or "")
    took_s = max(reply.exchange.ended_ns for reply in replies) - min(reply.exchange.started_ns for reply in replies)
    check(
        took_s < 5.5 * NS_PER_S, "the replies wait for each other", expected="5.5 s", got=f"{took_s / NS_PER_S:.1f} s"
    )


@case(
    "concurrent.own-conversation",
    MUST,
    "Concurrent replies are each stored in their own conversation.",
    source="the owner of the conversation",
    remedy="Carry the conversation's id with the request: in a shared object, the last request to write it wins.",
    defect="stores-in-newest",
    needs=(Need.TWO_SIDED, Need.STORED),
    alone=True,
    repeats=3,
)
async def own_conversation(trial: Trial) -> None:
    """Ask in four conversations at once, each for a different text.

    Each conversation contains its own reply and no other.
    """
    texts = [f"{word} " * 20 for word in ("alpha", "beta", "gamma", "delta")]
    conversations = [await trial.conversations.new() for _ in texts]
    await asyncio.gather(
        *(
            trial.ask(plan={"text": text, "profile": {"name": "fixed", "ttft_ms": 20, "gap_ms": 8}}, conversation=one)
            for text, one in zip(texts, conversations, strict=True)
        )
    )
    for text, one in zip(texts, conversations, strict=True):
        stored = await trial.conversations.replies(one)
        check(stored == [text], "a conversation has a different reply", expected=text[:40], got=str(stored)[:80])
