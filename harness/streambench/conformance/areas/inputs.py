"""Validation of what users send: refused before a stream begins, with a status and a reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from streambench.conformance.case import Keyword, Need, case
from streambench.conformance.judging import check, describe, refused, streamed
from streambench.conformance.subject import with_value
from streambench.conformance.trial import Trial
from streambench.endings import Ending

MUST, SHOULD, MAY = Keyword
JSON = (Need.JSON_PROMPT,)
TEXT = (*JSON, Need.TEXT_BODY)
STATUS = "RFC 9110, section 15.5.1"
BAD = (400, 413, 415, 422)


async def _refuses_value(trial: Trial, value: Any) -> None:
    """The prompt has another value in the question's JSON; `...` leaves it out."""
    path = trial.subject.prompt_path
    assert path is not None
    refused(await trial.ask(body=with_value(trial.subject.body, path, value)), *BAD)


async def _refuses_text(trial: Trial, text: str) -> None:
    refused(await trial.ask_text(lambda _: text), *BAD)


@case(
    "input.empty",
    MUST,
    "An empty message is refused.",
    source=STATUS,
    remedy="Answer 400 or 422 before the stream begins.",
    defect="accepts-empty",
    needs=(*JSON, Need.REFUSES_EMPTY),
)
async def empty(trial: Trial) -> None:
    """Send an empty text.

    400 or 422.
    """
    await _refuses_value(trial, "")


@case(
    "input.blank",
    MUST,
    "A message of only white space is refused.",
    source=STATUS,
    remedy="Strip the message before you check whether it is empty.",
    defect="accepts-blank",
    needs=(*JSON, Need.REFUSES_EMPTY),
)
async def blank(trial: Trial) -> None:
    """Send spaces and line breaks.

    400 or 422.
    """
    await _refuses_value(trial, "  \n\t ")


@case(
    "input.missing",
    MUST,
    "A request without a message is refused.",
    source=STATUS,
    remedy="Require the field: with a default of your own, you would ask the model something the user did not.",
    defect="accepts-missing",
    needs=JSON,
)
async def missing(trial: Trial) -> None:
    """Leave the field out.

    400 or 422.
    """
    await _refuses_value(trial, ...)


@case(
    "input.null",
    MUST,
    "A null message is refused.",
    source=STATUS,
    remedy="Check the field's type, not only its presence.",
    defect="accepts-null",
    needs=JSON,
)
async def null(trial: Trial) -> None:
    """Send null instead of the text.

    400 or 422.
    """
    await _refuses_value(trial, None)


@case(
    "input.number",
    MUST,
    "A message that is a number is refused.",
    source=STATUS,
    remedy="Check the type: converting a number to text hides a bug in the client.",
    defect="accepts-number",
    needs=JSON,
)
async def number(trial: Trial) -> None:
    """Send a number instead of the text.

    400 or 422.
    """
    await _refuses_value(trial, 42)


@case(
    "input.object",
    MUST,
    "A message that is an object is refused.",
    source=STATUS,
    remedy="Check the type: an object can inject operators into a database query and fields into a prompt.",
    defect="accepts-object",
    needs=JSON,
)
async def an_object(trial: Trial) -> None:
    """Send an object instead of the text.

    400 or 422.
    """
    await _refuses_value(trial, {"$gt": ""})


@case(
    "input.too-long",
    MUST,
    "A message over the allowed length is refused.",
    source="the target's profile; RFC 9110, section 15.5.14",
    remedy="Count the characters, and answer 400, 413 or 422.",
    defect="accepts-long",
    needs=(*JSON, Need.MAX_CHARS),
)
async def too_long(trial: Trial) -> None:
    """Send a message that is one character too long.

    400, 413 or 422.
    """
    assert trial.subject.profile.max_chars is not None
    await _refuses_value(trial, "x" * (trial.subject.profile.max_chars + 1))


@case(
    "input.longest",
    MUST,
    "A message of exactly the allowed length is accepted.",
    source="the target's profile",
    remedy="Compare with <=, and count characters, not bytes.",
    defect="counts-bytes",
    needs=(*JSON, Need.MAX_CHARS),
)
async def longest(trial: Trial) -> None:
    """Send a message of exactly the allowed length, in letters of two bytes each.

    A stream begins.
    """
    assert trial.subject.profile.max_chars is not None
    room = trial.subject.profile.max_chars - len(" [[sb:00000000-0000]]") - 8
    plan = {"tokens": 2} if trial.subject.upstream is not None else None
    prompt = "ö" * (room if plan else trial.subject.profile.max_chars)
    reply = await trial.ask(prompt, plan=plan, leave=lambda reply: bool(reply.events))
    streamed(reply)


@case(
    "input.not-json",
    MUST,
    "A body that is not JSON is refused, and causes no server error.",
    source=STATUS,
    remedy="Answer 400 if the body cannot be parsed.",
    defect="fails-on-bad-json",
    needs=TEXT,
)
async def not_json(trial: Trial) -> None:
    """Send truncated JSON.

    400, 415 or 422.
    """
    await _refuses_text(trial, '{"message": "He')


@case(
    "input.no-body",
    MUST,
    "A request without a body is refused.",
    source=STATUS,
    remedy="Answer 400 if there is no body.",
    defect="fails-on-no-body",
    needs=TEXT,
)
async def no_body(trial: Trial) -> None:
    """Send an empty body.

    400, 415 or 422.
    """
    await _refuses_text(trial, "")


@case(
    "input.not-an-object",
    MUST,
    "A body that is JSON but not an object is refused, and causes no server error.",
    source=STATUS,
    remedy="Check that the body is an object before you access its fields.",
    defect="fails-on-array",
    needs=TEXT,
)
async def not_an_object(trial: Trial) -> None:
    """Send an array.

    400 or 422.
    """
    await _refuses_text(trial, '["Hello"]')


@case(
    "input.half-a-character",
    MUST,
    "A message with half a surrogate pair is refused, and causes no server error.",
    source="RFC 8259, section 8.2",
    remedy="Check that the text can be encoded as UTF-8 before you store or forward it.",
    defect="fails-on-surrogate",
    needs=TEXT,
)
async def half_a_character(trial: Trial) -> None:
    r"""Send a message with the escape \ud800.

    400 or 422.
    """
    path = trial.subject.prompt_path
    assert path is not None

    def question(variables: Mapping[str, str]) -> str:
        return json.dumps(with_value(trial.subject.json_body(variables), path, "half a character: \ud800"))

    refused(await trial.ask_text(question), *BAD)


@case(
    "input.deep",
    MUST,
    "A body nested 20,000 levels deep is refused, and causes no server error.",
    source="RFC 8259, section 9",
    remedy="Catch the parser's recursion error and answer 400.",
    defect="fails-on-deep-json",
    needs=TEXT,
)
async def deep(trial: Trial) -> None:
    """Send nested brackets.

    400, 413 or 422.
    """
    await _refuses_text(trial, "[" * 20_000 + "]" * 20_000)


@case(
    "input.large-body",
    MUST,
    "A body over the allowed size is refused.",
    source="RFC 9110, section 15.5.14",
    remedy="Limit the body's size before it is read into memory, and answer 413.",
    defect="accepts-large-body",
    needs=(*TEXT, Need.MAX_BODY),
)
async def large_body(trial: Trial) -> None:
    """Send a prompt, padded with white space beyond the limit.

    413 or 400.
    """
    most = trial.subject.profile.max_body
    assert most is not None
    reply = await trial.ask_text(lambda variables: json.dumps(trial.subject.json_body(variables)) + " " * most)
    if reply.on_socket and not reply.events:
        check(reply.exchange.ending != Ending.TIMEOUT, "it is not refused", expected="a close", got="nothing")
    else:
        refused(reply, *BAD)


@case(
    "input.unknown-field",
    SHOULD,
    "An unknown field is ignored.",
    source="RFC 9413, section 4",
    remedy="Ignore unknown fields so that newer clients work with older servers.",
    defect="refuses-unknown-fields",
    needs=JSON,
)
async def unknown_field(trial: Trial) -> None:
    """Ask with an additional field.

    A stream begins.
    """
    body = {**trial.subject.body, "streambench_unknown": True}
    reply = await trial.ask(body=body, leave=lambda reply: bool(reply.events))
    streamed(reply)


@case(
    "input.refused-before-stream",
    MUST,
    "A refused request gets an error status, not a stream.",
    source="RFC 9110, section 15",
    remedy="Validate before you send the headers: clients do not look for errors in a stream with status 200.",
    defect="errors-as-stream",
    needs=(*JSON, Need.EVENT_STREAM, Need.REFUSES_EMPTY),
)
async def refused_before_stream(trial: Trial) -> None:
    """Send an empty text.

    The status is not 200.
    """
    body = with_value(trial.subject.body, trial.subject.prompt_path or (), "")
    reply = await trial.ask(body=body)
    check(
        reply.status != 200,
        "the request is refused with a stream and status 200",
        expected="400 or 422",
        got=describe(reply),
    )


@case(
    "input.refused-says-why",
    SHOULD,
    "A refusal says what is wrong.",
    source="RFC 9457, section 3.1",
    remedy="Put a sentence for developers in the error body.",
    defect="silent-refusals",
    needs=(*JSON, Need.REFUSES_EMPTY),
)
async def refused_says_why(trial: Trial) -> None:
    """Send an empty text.

    The response body contains a text of ten letters or more.
    """
    body = with_value(trial.subject.body, trial.subject.prompt_path or (), "")
    reply = await trial.ask(body=body)
    check(reply.is_refusal, "it was not refused", got=describe(reply))
    said = reply.json() if not reply.on_socket else reply.error
    texts = [text for text in _texts(said) if len(text) >= 10]
    check(bool(texts), "the refusal gives no reason", expected="a sentence", got=describe(reply))


@case(
    "input.refused-costs-nothing",
    MUST,
    "A refused request never reaches the model.",
    source="the order of checks: first the request, then the model",
    remedy="Validate before you call the upstream.",
    defect="asks-before-checking",
    needs=(*JSON, Need.TWO_SIDED, Need.MAX_CHARS),
)
async def refused_costs_nothing(trial: Trial) -> None:
    """Send a message that is too long, with a mark in it.

    The upstream has seen no request with the mark.
    """
    assert trial.subject.profile.max_chars is not None
    reply = await trial.ask("x" * (trial.subject.profile.max_chars + 1), plan={"tokens": 2})
    check(reply.is_refusal, "it was not refused", expected="400, 413 or 422", got=describe(reply))
    await trial.never_reached_upstream(reply.mark, "the request was refused")


@case(
    "input.prompt-unchanged",
    MUST,
    "The upstream gets the message exactly as the user wrote it.",
    source="the user's message",
    remedy="Do not normalise, escape or translate the user's message.",
    defect="garbles-prompt",
    needs=(*JSON, Need.TWO_SIDED),
)
async def prompt_unchanged(trial: Trial) -> None:
    """Ask with quotes, umlauts, emoji and line breaks.

    The request to the upstream has exactly this text.
    """
    prompt = 'Größe "x" \\ <b>&amp;</b>\n\tund 👋🏽?'
    reply = await trial.ask(prompt, plan={"tokens": 2})
    entries = await trial.upstream.settled(reply.mark)
    check(bool(entries), "the prompt did not reach the upstream", got=describe(reply))
    got = json.dumps(entries[0]["request"], ensure_ascii=False)
    wanted = json.dumps(prompt, ensure_ascii=False)[1:-1]
    check(wanted in got, "the upstream got a different text", expected=wanted, got=got)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in items for text in _texts(item)]
