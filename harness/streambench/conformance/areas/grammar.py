"""Order and form of events, as the dialect describes them."""

from __future__ import annotations

from streambench.conformance.case import Keyword, Need, Untestable, case
from streambench.conformance.judging import check, clean, streamed
from streambench.conformance.trial import Trial

MUST, SHOULD, MAY = Keyword
DIALECT = "the dialect"
QUIET = {"profile": {"name": "fixed", "ttft_ms": 1200, "gap_ms": 5}, "tokens": 8}


async def _rule(trial: Trial, *rules: str, prefix: str = "") -> None:
    reply = await trial.plain()
    streamed(reply)
    clean(reply.broken(*rules, prefix=prefix))


async def _check(trial: Trial, kind: str) -> None:
    """A check across events that the dialect must have."""
    reply = await trial.plain()
    streamed(reply)
    findings = [finding for finding in reply.findings if finding.rule.endswith(f".{kind}")]
    clean(findings)
    names = {type(make()).__name__.lower() for make in trial.subject.dialect.checks}
    if kind.replace("_", "") not in names:
        raise Untestable(f"the dialect has no invariant `{kind}`", "such an invariant in the dialect")


@case(
    "grammar.order",
    MUST,
    "Events arrive in the order that the protocol requires.",
    source=DIALECT,
    remedy="Send each event only where the grammar allows it.",
    defect="events-out-of-order",
)
async def order(trial: Trial) -> None:
    """Ask an ordinary question.

    No event arrives where the grammar does not allow it.
    """
    await _rule(trial, "grammar.unexpected-event", "grammar.incomplete-slice")


@case(
    "grammar.known-events",
    MUST,
    "Every event is part of the protocol.",
    source=DIALECT,
    remedy="Do not send other events, or add them to the dialect.",
    defect="unknown-event",
)
async def known_events(trial: Trial) -> None:
    """Ask an ordinary question.

    The dialect lists every event.
    """
    await _rule(trial, "grammar.unknown-event")


@case(
    "grammar.terminal",
    MUST,
    "A reply ends with the event that completes it.",
    source=DIALECT,
    remedy="Send the terminal event before the response ends: without it nobody can tell a whole reply from a cut.",
    defect="no-terminal",
)
async def terminal(trial: Trial) -> None:
    """Ask an ordinary question.

    The response does not end before the reply is complete.
    """
    await _rule(trial, "grammar.premature-end", "termination.timeout", "termination.close-frame")


@case(
    "grammar.nothing-after-end",
    MUST,
    "Nothing follows the event that completes a reply.",
    source=DIALECT,
    remedy="End the response after the terminal event: clients have stopped reading by then.",
    defect="text-after-end",
)
async def nothing_after_end(trial: Trial) -> None:
    """Ask an ordinary question.

    No event arrives after the terminal one.
    """
    await _rule(trial, "grammar.after-terminal")


@case(
    "grammar.data-is-json",
    MUST,
    "The data of every event is JSON.",
    source="RFC 8259",
    remedy="Serialise every event with a JSON library; never assemble JSON by hand.",
    defect="broken-json",
)
async def data_is_json(trial: Trial) -> None:
    """Ask an ordinary question.

    The data of every event parses as JSON.
    """
    await _rule(trial, "data.not-json", prefix="socketio.")


@case(
    "grammar.schema",
    MUST,
    "Every event has the fields that the protocol requires, with the right types.",
    source=DIALECT,
    remedy="Send the named field with a value of the required type.",
    defect="wrong-shape",
)
async def schema(trial: Trial) -> None:
    """Ask an ordinary question.

    Every event is valid against its schema in the dialect.
    """
    await _rule(trial, prefix="schema.")


@case(
    "grammar.text-is-text",
    MUST,
    "The text field is a string.",
    source=DIALECT,
    remedy="Send the text as a JSON string, even if it looks like a number.",
    defect="text-as-object",
)
async def text_is_text(trial: Trial) -> None:
    """Ask an ordinary question.

    In every event with text, the text is a string.
    """
    await _rule(trial, "content.not-text")


@case(
    "grammar.repeated-text",
    MUST,
    "A field that repeats the text so far equals what was streamed.",
    source=DIALECT,
    remedy="Repeat exactly what was sent, or leave the field out.",
    defect="wrong-accumulated",
)
async def repeated_text(trial: Trial) -> None:
    """Ask an ordinary question.

    The concatenated pieces equal the field that repeats them.
    """
    reply = await trial.plain()
    streamed(reply)
    clean(reply.broken("content.concat", "content.snapshot"))
    await _check(trial, "concat")


@case(
    "grammar.clock-forward",
    MUST,
    "Timestamps and counters in events never decrease.",
    source=DIALECT,
    remedy="Timestamp events when they are sent, from a single clock.",
    defect="clock-goes-back",
)
async def clock_forward(trial: Trial) -> None:
    """Ask an ordinary question.

    No timestamp or counter is lower than that of an earlier event.
    """
    await _check(trial, "nondecreasing")


@case(
    "grammar.last-flag",
    MUST,
    "Only the last piece carries the flag for the last piece.",
    source=DIALECT,
    remedy="Set the flag only if no further piece follows.",
    defect="flag-too-early",
)
async def last_flag(trial: Trial) -> None:
    """Ask an ordinary question.

    The flag is true once, at the end.
    """
    await _check(trial, "last_only")


@case(
    "grammar.keep-alives-are-comments",
    MUST,
    "Keep-alives are not events.",
    source="WHATWG HTML, section 9.2.7",
    remedy="Send keep-alives as comment lines (`: ping`), never as data: clients parse data as JSON.",
    defect="keep-alive-as-data",
    needs=(Need.EVENT_STREAM, Need.TWO_SIDED),
)
async def keep_alives_are_comments(trial: Trial) -> None:
    """Ask while the upstream is silent for 1.2 s.

    Everything sent as data is an event of the protocol.
    """
    reply = await trial.planned("a quiet upstream", **QUIET)
    streamed(reply)
    clean(reply.broken("data.not-json", "grammar.unknown-event", "sse.no-data"))


@case(
    "grammar.short-reply",
    MUST,
    "A reply of one word has the same form as a long one.",
    source=DIALECT,
    remedy="Send the first, last and terminal events even if there is only one piece.",
    defect="no-terminal-for-short",
    needs=(Need.TWO_SIDED,),
)
async def short_reply(trial: Trial) -> None:
    """Ask while the upstream replies with one word.

    The reply is complete and breaks no rule.
    """
    reply = await trial.ask(plan={"text": "Yes."})
    streamed(reply)
    clean(reply.violations())
    check(reply.text == "Yes.", "the text differs", expected="Yes.", got=reply.text)
