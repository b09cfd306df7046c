"""Faults of the upstream: each is reported to the user in time, and a partial reply is never presented as complete."""

from __future__ import annotations

from typing import Any

from streambench.conformance.case import Keyword, Need, case
from streambench.conformance.judging import check, describe, streamed
from streambench.conformance.reply import Reply
from streambench.conformance.trial import CUT, Trial

MUST, SHOULD, MAY = Keyword
BOTH = (Need.TWO_SIDED,)
TELL = "the dialect's interrupt; RFC 9110, section 15.6"
UNIQUE = "every word of this reply comes once and only one time so that two would be seen at first glance"
REMEDY = "Catch the failure and send the error event or, before the stream has begun, a status of 500 or more."


async def _told(trial: Trial, fault: Any, *, attempts: bool = False) -> Reply:
    """The user learns of a fault: by a status before the stream, or by an event in it."""
    order = {"attempts": [{"faults": [fault]}]} if attempts else {"faults": [fault]}
    reply = await trial.ask(plan={**order, "profile": {"name": "fixed", "ttft_ms": 10, "gap_ms": 5}}, deadline_s=20.0)
    _is_told(trial, reply)
    return reply


def _is_told(trial: Trial, reply: Reply) -> None:
    if reply.is_refusal:
        return
    streamed(reply)
    check(reply.exchange.ending != "timeout", "nothing more arrived, not even an error", expected="an error event")
    completing = [event.name for event in reply.events if event.name in trial.subject.dialect.terminal]
    check(
        reply.error is not None and not completing,
        "the failure is not reported" + (": the reply ends as if it were complete" if completing else ""),
        expected="an error event",
        got=" ".join(event.name for event in reply.events[-3:]) or describe(reply),
    )


def _told_case(name: str, requirement: str, fault: Any, defect: str, keyword: Keyword = MUST) -> None:
    """A case for a fault of which the user must learn."""

    async def judge(trial: Trial) -> None:
        await _told(trial, fault)

    ordered = fault if isinstance(fault, str) else fault["fault"]
    judge.__doc__ = f"""Ask while the upstream injects the fault `{ordered}`.

    There is an error event, or a status of 400 or more, and no event that completes the reply.
    """
    case(f"upstream.{name}", keyword, requirement, source=TELL, remedy=REMEDY, defect=defect, needs=BOTH)(judge)


_told_case(
    "refuses",
    "A status 500 from the upstream is reported to the client.",
    {"fault": "status", "status": 500},
    "hides-refusals",
)
_told_case(
    "denies",
    "A status 401 from the upstream is reported to the client.",
    {"fault": "status", "status": 401},
    "hides-refusals",
)
_told_case(
    "is-limited",
    "A rate limit of the upstream (429) is reported to the client.",
    {"fault": "rate-limit", "after_ms": 50},
    "hides-refusals",
)
_told_case("resets-at-once", "A connection reset by the upstream is reported to the client.", "reset", "hides-refusals")
_told_case("is-a-page", "An HTML page from the upstream is reported as a failure.", "html", "hides-refusals")
_told_case(
    "cut-by-end", "A reply that the upstream ends early is not presented as complete.", "cut-end", "silent-truncation"
)
_told_case(
    "cut-by-fin",
    "A reply cut off when the upstream closes the connection is not presented as complete.",
    "cut-fin",
    "silent-truncation",
)
_told_case(
    "cut-by-reset",
    "A reply cut off when the upstream resets the connection is not presented as complete.",
    "cut-rst",
    "silent-truncation",
)
_told_case(
    "errs-in-stream",
    "An error in the middle of the upstream's stream is reported to the client.",
    "error",
    "silent-truncation",
)
_told_case(
    "malformed",
    "A chunk from the upstream that is not valid JSON is not silently skipped.",
    "malformed-json",
    "silent-truncation",
)


@case(
    "upstream.stalls",
    MUST,
    "An upstream that goes silent times out, and the client gets an error.",
    source="the target's profile",
    remedy="Set a timeout for the next chunk, and send the error event when it expires.",
    defect="no-caps",
    needs=(*BOTH, Need.IDLE_CAP),
    patient=True,
)
async def stalls(trial: Trial) -> None:
    """Ask while the upstream stops in the middle and keeps the connection open.

    There is an error event within the declared time plus 3 s.
    """
    assert trial.subject.profile.idle_s is not None
    reply = await trial.ask(
        plan={"faults": [{"fault": "stall-forever", "at": {"chunk": 5}}]}, deadline_s=trial.subject.profile.idle_s + 3
    )
    streamed(reply)
    check(reply.error is not None, "the user waits forever", expected="an error event", got=f"{reply.exchange.ending}")


@case(
    "upstream.keeps-text",
    MUST,
    "Text that arrived before a fault reaches the user.",
    source="the definition of streaming: text is forwarded while the rest is being written",
    remedy="Forward chunks as they arrive, before you know how the reply ends.",
    defect="buffers-reply",
    needs=BOTH,
)
async def keeps_text(trial: Trial) -> None:
    """Ask while the upstream cuts the reply off after eight words.

    The user has text when the error arrives.
    """
    reply = await trial.cut_short()
    streamed(reply)
    check(bool(reply.text.strip()), "what was written before the fault is lost", expected="text", got=describe(reply))


@case(
    "upstream.nothing-twice",
    MUST,
    "After a fault, no text is sent twice.",
    source="what the user has read cannot be taken back",
    remedy="Retry, or try another provider, only while the user has no text.",
    defect="double-text-on-fallback",
    needs=BOTH,
)
async def nothing_twice(trial: Trial) -> None:
    """Ask while the upstream cuts the reply off after eight words, but replies in full to a second request.

    No word arrives twice.
    """
    cut = {"faults": [{"fault": CUT, "at": {"chunk": 8}}]}
    reply = await trial.ask(plan={"text": UNIQUE, "attempts": [cut]})
    streamed(reply)
    words = reply.text.split()
    twice = sorted({word for word in words if words.count(word) > 1})
    check(not twice, "text arrived twice", expected="each word once", got=" ".join(twice[:5]))


@case(
    "upstream.next-provider",
    MUST,
    "If the first provider gives no reply, the next one is asked.",
    source="the target's profile",
    remedy="Fall back while the user has no text.",
    defect="no-fallback",
    needs=(*BOTH, Need.FALLBACK),
)
async def next_provider(trial: Trial) -> None:
    """Ask while the first two requests to the upstream are refused.

    The reply is complete and has text.
    """
    fails = {"faults": [{"fault": "status", "status": 500, "should_retry": "false"}]}
    reply = await trial.ask(plan={"tokens": 10, "attempts": [fails]})
    streamed(reply)
    check(reply.complete and not reply.interrupted and bool(reply.text), "there is no reply", got=reply.error or "")


@case(
    "upstream.once-more",
    SHOULD,
    "A request that the upstream temporarily refuses is retried.",
    source="OpenAI API reference, error codes: retry on 429 and 503",
    remedy="Let the SDK retry, or retry yourself until the first text arrives.",
    defect="no-retry",
    needs=BOTH,
)
async def once_more(trial: Trial) -> None:
    """Ask while the upstream answers 429 for 100 ms.

    The reply is complete.
    """
    busy = {"faults": [{"fault": "rate-limit", "retry": "retry-after-ms", "after_ms": 100}]}
    reply = await trial.ask(plan={"tokens": 6, "attempts": [busy]})
    streamed(reply)
    check(reply.complete and not reply.interrupted, "the request was not retried", got=reply.error or describe(reply))


@case(
    "upstream.keeps-secrets",
    MUST,
    "The upstream's error message is not shown to the user.",
    source="OWASP, Improper Error Handling",
    remedy="Log the upstream's error, and send the user a message of your own.",
    defect="leaks-upstream-error",
    needs=BOTH,
)
async def keeps_secrets(trial: Trial) -> None:
    """Ask while the upstream fails with a message that contains a key and an address.

    The response contains neither.
    """
    leak = "sk-conform-9f8e7d at http://10.0.0.7:8080/internal"
    reply = await trial.ask(plan={"faults": [{"fault": "status", "status": 500, "message": leak}]})
    said = reply.exchange.body.decode("utf-8", "replace")
    check("sk-conform" not in said and "10.0.0.7" not in said, "the upstream's message is shown", got=said[-150:])


@case(
    "upstream.still-serving",
    MUST,
    "After a fault, the next prompt is answered.",
    source="one user's failure does not affect others",
    remedy="Release what a failed stream held: connections, locks, slots.",
    defect="dies-after-fault",
    needs=BOTH,
    alone=True,
)
async def still_serving(trial: Trial) -> None:
    """Ask while the upstream cuts the reply off, then ask an ordinary question.

    The second reply is complete.
    """
    await trial.ask(plan={"tokens": 10, "faults": [{"fault": CUT, "at": {"chunk": 3}}]})
    reply = await trial.ask(plan={"tokens": 4})
    streamed(reply)
    check(reply.complete and not reply.interrupted, "the next reply fails", got=reply.error or describe(reply))
