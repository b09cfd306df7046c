"""How a stream ends: completely, promptly and cleanly."""

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
    "The response ends within one second of the event that completes the reply.",
    source="the dialect's terminal event",
    remedy="End the response right after the terminal event, and do any remaining work elsewhere.",
    defect="holds-open",
    needs=HTTP,
    timed=True,
)
async def promptly(trial: Trial) -> None:
    """Ask an ordinary question.

    The response ends at most one second after its last event.
    """
    reply = await trial.plain()
    streamed(reply)
    check(reply.exchange.ending != "timeout", "the response did not end", expected="the end of the response")
    late_ms = (reply.exchange.ended_ns - reply.events[-1].at_ns) / NS_PER_MS if reply.events else 0.0
    check(late_ms < 1000, "the response stays open after its last event", expected="1 s", got=f"{late_ms:.0f} ms")


@case(
    "end.in-order",
    MUST,
    "A complete reply ends the body properly instead of breaking the connection.",
    source="RFC 9112, section 8",
    remedy="Write the last chunk of the chunked coding: a reset makes clients discard what they have not read yet.",
    defect="resets-at-end",
    needs=HTTP,
)
async def in_order(trial: Trial) -> None:
    """Ask an ordinary question.

    The body ends as its transfer coding requires.
    """
    reply = await trial.plain()
    streamed(reply)
    ending = reply.exchange.ending
    check(ending == "response_end", "the body was cut off", expected="its last chunk", got=ending)


@case(
    "end.after-error",
    MUST,
    "Nothing of the reply follows an error.",
    source="the dialect's interrupt",
    remedy="End the stream after the error event: otherwise the reply looks complete.",
    defect="goes-on-after-error",
    needs=(Need.TWO_SIDED,),
)
async def after_error(trial: Trial) -> None:
    """Ask while the upstream cuts the reply off in the middle.

    No event of a reply follows the error event.
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
    """Ask while the upstream cuts the reply off in the middle.

    The event that completes a reply is not sent.
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
