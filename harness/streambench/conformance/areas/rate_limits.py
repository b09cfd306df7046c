"""Rate limits: excess prompts are refused so that a client knows what to do, and other users are not affected."""

from __future__ import annotations

import asyncio

from streambench.conformance.case import Keyword, Need, Untestable, case
from streambench.conformance.client import FIRST, SECOND
from streambench.conformance.judging import check, describe
from streambench.conformance.reply import Reply
from streambench.conformance.trial import Trial

MUST, SHOULD, MAY = Keyword
LIMITED = (Need.RATE_LIMIT, Need.SECOND_USER)
STATUS = "RFC 6585, section 4"
MOST_WAITED_S = 10.0
LITTLE = {"tokens": 2, "profile": "instant"}


def _known(trial: Trial) -> tuple[int, float]:
    """How many questions a user may ask at once, and after how many seconds one more."""
    known = trial.subject.profile.rate_limit
    assert known is not None
    return int(known["burst"]), float(known.get("recovers_s", 1.0))


async def _conversation(trial: Trial, user: str) -> str | None:
    """A conversation, where questions need one; making it may count as well, and is waited off."""
    variables = await trial.conversations.variables(None, user)
    if variables:
        await _recovered(trial)
    return variables.get("conversation_id")


async def _ask(trial: Trial, user: str, conversation: str | None) -> Reply:
    plan = LITTLE if trial.subject.upstream is not None else None
    return await trial.ask(user=user, plan=plan, conversation=conversation)


async def _refused(trial: Trial, conversation: str | None = None) -> Reply:
    """Ask more at once than the second user may; one of the refusals."""
    burst, _ = _known(trial)
    conversation = conversation or await _conversation(trial, SECOND)
    replies = await asyncio.gather(*(_ask(trial, SECOND, conversation) for _ in range(burst + 3)))
    turned_away = [reply for reply in replies if not reply.is_stream]
    check(bool(turned_away), f"{burst + 3} prompts at once are all answered", expected="a refusal", got="no limit")
    return turned_away[0]


async def _recovered(trial: Trial) -> None:
    """Wait until the users may ask again, so that the next case finds the limit untouched."""
    burst, recovers_s = _known(trial)
    await asyncio.sleep(min(MOST_WAITED_S, burst * recovers_s))


@case(
    "rate.refused",
    MUST,
    "A user over the rate limit is refused with 429.",
    source=STATUS,
    remedy="Answer 429 before the stream begins: 403 and 503 make clients give up or retry at once.",
    defect="limit-as-503",
    needs=(*LIMITED, Need.EVENT_STREAM),
    alone=True,
)
async def refused(trial: Trial) -> None:
    """Send more prompts at once than the profile allows.

    The refusal has status 429.
    """
    reply = await _refused(trial)
    await _recovered(trial)
    check(reply.status == 429, "wrong status", expected="429", got=describe(reply))


@case(
    "rate.is-told",
    MUST,
    "On a socket, a user over the rate limit gets an error and keeps the connection.",
    source="the dialect's interrupt",
    remedy="Send the error event for this prompt: a client that loses its connection reconnects and retries at once.",
    defect="limit-closes",
    needs=(*LIMITED, Need.SOCKET),
    alone=True,
)
async def is_told(trial: Trial) -> None:
    """Send more prompts at once than the profile allows.

    The refusal is an error event, and the connection stays open.
    """
    reply = await _refused(trial)
    await _recovered(trial)
    check(reply.error is not None, "no error event reports the limit", expected="an error event", got=describe(reply))


@case(
    "rate.retry-after",
    SHOULD,
    "A 429 response says when to retry.",
    source="RFC 9110, section 10.2.3",
    remedy="Send Retry-After with whole seconds or a date: without it, clients guess, and all retry at once.",
    defect="no-retry-after",
    needs=(*LIMITED, Need.EVENT_STREAM),
    alone=True,
)
async def retry_after(trial: Trial) -> None:
    """Send more prompts at once than the profile allows.

    Retry-After is a date or a whole number of seconds, at least 1.
    """
    reply = await _refused(trial)
    await _recovered(trial)
    given = reply.exchange.headers.get("retry-after", "")
    is_date = given[:3] in ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun") and given.endswith("GMT")
    is_time = given.isdecimal() and int(given) >= 1
    check(is_time or is_date, "no valid Retry-After", expected="Retry-After: 1", got=given or describe(reply))


@case(
    "rate.says-why",
    SHOULD,
    "The refusal says that a limit was reached.",
    source=STATUS,
    remedy="Put a sentence that names the limit in the body or the error event.",
    defect="silent-refusals",
    needs=LIMITED,
    alone=True,
)
async def says_why(trial: Trial) -> None:
    """Send more prompts at once than the profile allows.

    The refusal contains a text of ten letters or more.
    """
    reply = await _refused(trial)
    await _recovered(trial)
    said = reply.error or "" if reply.on_socket else reply.exchange.body.decode("utf-8", "replace")
    letters = sum(character.isalpha() for character in said)
    check(letters >= 10, "the refusal gives no reason", expected="a sentence", got=describe(reply))


@case(
    "rate.per-user",
    MUST,
    "One user's rate limit does not affect other users.",
    source="the target's profile",
    remedy="Count per user, not per address or for the whole service: otherwise one busy client locks everyone out.",
    defect="limit-for-all",
    needs=LIMITED,
    alone=True,
)
async def per_user(trial: Trial) -> None:
    """Let one user send prompts until one is refused, then let another user send one.

    The other user gets a reply.
    """
    conversation = await _conversation(trial, FIRST)
    await _refused(trial)
    reply = await _ask(trial, FIRST, conversation)
    await _recovered(trial)
    check(not reply.is_refusal, "another user is refused too", expected="a reply", got=describe(reply))


@case(
    "rate.recovers",
    MUST,
    "A refused user is served again after the time given in the profile.",
    source="the target's profile",
    remedy="Refill the allowance over time; a refused prompt must not use any of it up.",
    defect="limit-for-good",
    needs=LIMITED,
    alone=True,
)
async def recovers(trial: Trial) -> None:
    """Send prompts until one is refused, wait as long as the profile says, then send another.

    The user gets a reply.
    """
    _, wait_s = _known(trial)
    if wait_s > MOST_WAITED_S:
        raise Untestable(
            f"the limit allows one more prompt only after {wait_s:g} s", "a limit that recovers within 10 s"
        )
    conversation = await _conversation(trial, SECOND)
    await _refused(trial, conversation)
    await asyncio.sleep(wait_s * 1.5)
    reply = await _ask(trial, SECOND, conversation)
    await _recovered(trial)
    check(not reply.is_refusal, "the user is still refused", expected="a reply", got=describe(reply))


@case(
    "rate.costs-nothing",
    MUST,
    "A prompt refused by the rate limit never reaches the model.",
    source="the order of checks: the limit first, then the model",
    remedy="Check the limit before you call the upstream.",
    defect="asks-before-checking",
    needs=(*LIMITED, Need.TWO_SIDED),
    alone=True,
)
async def costs_nothing(trial: Trial) -> None:
    """Send more prompts at once than the profile allows.

    The upstream has seen no request with the refused prompt's mark.
    """
    reply = await _refused(trial)
    await _recovered(trial)
    await trial.never_reached_upstream(reply.mark, "the limit refused the prompt")
