"""How a stream ends: completely, at once, and in an orderly way."""

from __future__ import annotations

from streambench.conformance.case import Keyword, Need, case
from streambench.conformance.judging import check, clean, streamed
from streambench.conformance.trial import Trial
from streambench.units import NS_PER_MS

MUST, SHOULD, MAY = Keyword
HTTP = (Need.EVENT_STREAM,)


@case(
    "end.promptly",
    MUST,
    "The response ends within a second of the event that completes the reply.",
    source="the dialect's terminal event",
    remedy="End the response after the terminal event, and do what is left to do elsewhere.",
    defect="holds-open",
    needs=HTTP,
    timed=True,
)
async def promptly(trial: Trial) -> None:
    """Ask an ordinary question.

    The response ends no later than a second after its last event.
    """
    reply = await trial.plain()
    streamed(reply)
    check(reply.exchange.ending != "timeout", "the response did not end", expected="the end of the response")
    late_ms = (reply.exchange.ended_ns - reply.events[-1].at_ns) / NS_PER_MS if reply.events else 0.0
    check(late_ms < 1000, "the response stays open after its last event", expected="1 s", got=f"{late_ms:.0f} ms")


@case(
    "end.in-order",
    MUST,
    "A whole reply ends as HTTP ends a body, and not with the connection.",
    source="RFC 9112, section 8",
    remedy="Write the last chunk of the chunked coding; a reset makes clients drop what they have not read yet.",
    defect="resets-at-end",
    needs=HTTP,
)
async def in_order(trial: Trial) -> None:
    """Ask an ordinary question.

    The body ends as its transfer coding says.
    """
    reply = await trial.plain()
    streamed(reply)
    ending = reply.exchange.ending
    check(ending == "response_end", "the body was broken off", expected="its last chunk", got=ending)


@case(
    "end.after-error",
    MUST,
    "After an error nothing of the reply follows.",
    source="the dialect's interrupt",
    remedy="End the stream after the error event: what follows would be taken for a whole reply.",
    defect="goes-on-after-error",
    needs=(Need.TWO_SIDED,),
)
async def after_error(trial: Trial) -> None:
    """Ask while the upstream breaks off in the middle.

    After the error event comes nothing that belongs to a reply.
    """
    reply = await trial.cut_short()
    streamed(reply)
    clean(reply.broken("grammar.after-interrupt"))


@case(
    "end.error-is-final",
    MUST,
    "A reply that failed is not reported as complete.",
    source="the dialect's interrupt",
    remedy="Send either the error event or the terminal one, never both.",
    defect="done-after-error",
    needs=(Need.TWO_SIDED,),
)
async def error_is_final(trial: Trial) -> None:
    """Ask while the upstream breaks off in the middle.

    The event that completes a reply does not come.
    """
    reply = await trial.cut_short()
    streamed(reply)
    completing = [event for event in reply.events if event.name in trial.subject.dialect.terminal]
    check(
        not completing,
        "the reply is said to be complete",
        expected="an error only",
        got=" ".join(event.name for event in completing),
    )
