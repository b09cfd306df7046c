"""Real streaming: text is forwarded as it arrives, neither held back nor slowed down."""

from __future__ import annotations

import itertools
from typing import Any

from streambench.conformance.case import Keyword, Need, case
from streambench.conformance.judging import check, streamed
from streambench.conformance.reply import Reply
from streambench.conformance.trial import Trial
from streambench.units import NS_PER_MS

MUST, SHOULD, MAY = Keyword
BOTH = (Need.TWO_SIDED,)
SPEC = "the definition of streaming: text is forwarded while the rest is being written"
STEADY: dict[str, Any] = {"profile": {"name": "fixed", "ttft_ms": 50, "gap_ms": 25}, "tokens": 40}
STALL_MS = 900
PAUSED: dict[str, Any] = {
    "profile": {"name": "fixed", "ttft_ms": 30, "gap_ms": 10},
    "tokens": 20,
    "faults": [{"fault": "stall", "ms": STALL_MS, "at": {"chunk": 10}}],
}


async def _steady(trial: Trial) -> tuple[Reply, dict[str, Any]]:
    """A reply that takes a second to write, and what the upstream says of it."""
    reply = await trial.planned("a steady upstream", **STEADY)
    streamed(reply)
    check(bool(reply.contents), "no text arrived")
    entries = await trial.upstream.settled(reply.mark)
    check(bool(entries), "the prompt did not reach the upstream", expected="a request with its mark")
    entry = entries[-1]
    check(bool(entry["stream"]), "the upstream was asked for a complete reply, not for a stream")
    return reply, entry


def _written_ms(trial: Trial, entry: dict[str, Any]) -> list[float]:
    return [trial.upstream.local(at_ns) / NS_PER_MS for at_ns in entry["chunks"]["written_ns"]]


@case(
    "stream.begins-early",
    MUST,
    "The first text reaches the client before the upstream has written the last.",
    source=SPEC,
    remedy="Forward chunks as they arrive; look for code, a proxy or middleware that collects the whole reply.",
    defect="buffers-reply",
    needs=BOTH,
    alone=True,
    timed=True,
)
async def begins_early(trial: Trial) -> None:
    """Ask for a reply that takes a second to write.

    The first text arrives before the upstream's last write.
    """
    reply, entry = await _steady(trial)
    first_ms, last_ms = reply.contents[0].at_ns / NS_PER_MS, _written_ms(trial, entry)[-1]
    check(
        first_ms < last_ms,
        f"the first text came {first_ms - last_ms:.0f} ms after the upstream had written its last",
        expected="while the upstream writes",
        got="the whole reply was held back",
    )


@case(
    "stream.asks-for-stream",
    MUST,
    "The upstream is asked for a stream.",
    source=SPEC,
    remedy="Set `stream: true` in the request to the model.",
    defect="asks-unstreamed",
    needs=BOTH,
    alone=True,
    timed=True,
)
async def asks_for_stream(trial: Trial) -> None:
    """Ask for a reply that takes a second to write.

    The request that reached the upstream has `stream: true`.
    """
    await _steady(trial)


@case(
    "stream.not-typed-out",
    MUST,
    "Text follows the upstream's own rhythm; it is not slowed down to look typed.",
    source=SPEC,
    remedy="Remove the pause between chunks: it delays every word.",
    defect="paces-reply",
    needs=BOTH,
    alone=True,
    timed=True,
)
async def not_typed_out(trial: Trial) -> None:
    """Ask for a reply that takes a second to write.

    The last text arrives within 400 ms of the upstream's last write.
    """
    reply, entry = await _steady(trial)
    late_ms = reply.contents[-1].at_ns / NS_PER_MS - _written_ms(trial, entry)[-1]
    check(
        late_ms < 400, "text keeps arriving after the upstream's last write", expected="400 ms", got=f"{late_ms:.0f} ms"
    )


@case(
    "stream.chunk-by-chunk",
    SHOULD,
    "Text arrives in about as many pieces as the upstream writes.",
    source=SPEC,
    remedy="Flush after every chunk; look for a buffer that is sent only when full, or at the end of a sentence.",
    defect="batches-reply",
    needs=BOTH,
    alone=True,
    timed=True,
)
async def chunk_by_chunk(trial: Trial) -> None:
    """Ask for a reply of 40 chunks, 25 ms apart.

    It arrives at 10 or more different times.
    """
    reply, entry = await _steady(trial)
    moments = len({event.at_ns for event in reply.contents})
    wrote = len(entry["chunks"]["written_ns"])
    check(moments * 4 >= wrote, "text arrives in batches", expected=f"{wrote // 4} moments", got=f"{moments}")


@case(
    "stream.first-text-soon",
    SHOULD,
    "The first text is forwarded within 250 ms.",
    source=SPEC,
    remedy="Do nothing slow between the upstream's first chunk and the client: do not wait for more text, "
    "or store it first.",
    defect="delays-first",
    needs=BOTH,
    alone=True,
    timed=True,
)
async def first_text_soon(trial: Trial) -> None:
    """Ask for a reply that takes a second to write.

    The first text arrives within 250 ms of the upstream's first write.
    """
    reply, entry = await _steady(trial)
    late_ms = reply.contents[0].at_ns / NS_PER_MS - _written_ms(trial, entry)[0]
    check(late_ms < 250, "the first text is held back", expected="250 ms", got=f"{late_ms:.0f} ms")


@case(
    "stream.nothing-held-back",
    MUST,
    "While the upstream pauses, the client has all text written before the pause.",
    source=SPEC,
    remedy="Send each chunk when it arrives, not with the next one.",
    defect="holds-last-chunk",
    needs=BOTH,
    alone=True,
    timed=True,
)
async def nothing_held_back(trial: Trial) -> None:
    """Ask for a reply during which the upstream pauses for 900 ms.

    Halfway through the pause, the client has every character written before it.
    """
    reply = await trial.planned("a pause", **PAUSED)
    streamed(reply)
    entries = await trial.upstream.settled(reply.mark)
    check(bool(entries), "the prompt did not reach the upstream")
    chunks = entries[-1]["chunks"]
    written_ms, offsets = _written_ms(trial, entries[-1]), chunks["offset"]
    gaps = [after - before for before, after in itertools.pairwise(written_ms)]
    check(bool(gaps), "the upstream wrote nothing")
    pause = max(range(len(gaps)), key=gaps.__getitem__)
    middle_ms = written_ms[pause] + gaps[pause] / 2
    there = sum(len(event.content) for event in reply.events if event.at_ns / NS_PER_MS <= middle_ms)
    check(
        there >= offsets[pause],
        "text was held back while the upstream paused",
        expected=f"{offsets[pause]} characters",
        got=f"{there}",
    )
