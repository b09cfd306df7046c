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
        raise Untestable(f"the dialect asks for nothing of the kind `{kind}`", "an invariant in the dialect")


@case(
    "grammar.order",
    MUST,
    "Events come in the order of the protocol.",
    source=DIALECT,
    remedy="Send each event where the grammar has a place for it.",
    defect="events-out-of-order",
)
async def order(trial: Trial) -> None:
    """Ask an ordinary question.

    No event comes where the grammar expects another one.
    """
    await _rule(trial, "grammar.unexpected-event", "grammar.incomplete-slice")


@case(
    "grammar.known-events",
    MUST,
    "Every event is one that the protocol knows.",
    source=DIALECT,
    remedy="Send no other events, or describe them in the dialect.",
    defect="unknown-event",
)
async def known_events(trial: Trial) -> None:
    """Ask an ordinary question.

    The dialect can name every event.
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
    remedy="End the response after the terminal event: clients have stopped reading.",
    defect="text-after-end",
)
async def nothing_after_end(trial: Trial) -> None:
    """Ask an ordinary question.

    No event comes after the terminal one.
    """
    await _rule(trial, "grammar.after-terminal")


@case(
    "grammar.data-is-json",
    MUST,
    "The data of every event is JSON.",
    source="RFC 8259",
    remedy="Serialise each event with a JSON library; never assemble JSON by hand.",
    defect="broken-json",
)
async def data_is_json(trial: Trial) -> None:
    """Ask an ordinary question.

    The data of every event can be parsed.
    """
    await _rule(trial, "data.not-json", prefix="socketio.")


@case(
    "grammar.schema",
    MUST,
    "Every event has the fields of its kind, with values of their types.",
    source=DIALECT,
    remedy="Send the field that is named, with a value of that type.",
    defect="wrong-shape",
)
async def schema(trial: Trial) -> None:
    """Ask an ordinary question.

    Every event keeps the schema that the dialect has for it.
    """
    await _rule(trial, prefix="schema.")


@case(
    "grammar.text-is-text",
    MUST,
    "The field for the text holds text.",
    source=DIALECT,
    remedy="Send the text as a JSON string, also where it looks like a number.",
    defect="text-as-object",
)
async def text_is_text(trial: Trial) -> None:
    """Ask an ordinary question.

    The content of every event that has one is a string.
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

    The joined pieces equal the field that repeats them.
    """
    reply = await trial.plain()
    streamed(reply)
    clean(reply.broken("content.concat", "content.snapshot"))
    await _check(trial, "concat")


@case(
    "grammar.clock-forward",
    MUST,
    "Times and counters in events do not go back.",
    source=DIALECT,
    remedy="Stamp events when they are sent, from one clock.",
    defect="clock-goes-back",
)
async def clock_forward(trial: Trial) -> None:
    """Ask an ordinary question.

    No stamp is before the one of an earlier event.
    """
    await _check(trial, "nondecreasing")


@case(
    "grammar.last-flag",
    MUST,
    "The flag of the last piece is on the last piece, and on no other.",
    source=DIALECT,
    remedy="Set the flag only where no further piece follows.",
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
    "What a server sends to keep a connection alive is not an event.",
    source="WHATWG HTML, section 9.2.7",
    remedy="Send keep-alives as comment lines (`: ping`), never as data: clients parse data as JSON.",
    defect="keep-alive-as-data",
    needs=(Need.EVENT_STREAM, Need.TWO_SIDED),
)
async def keep_alives_are_comments(trial: Trial) -> None:
    """Ask while the upstream is silent for 1.2 s.

    Everything that comes as data is an event of the protocol.
    """
    reply = await trial.planned("a quiet upstream", **QUIET)
    streamed(reply)
    clean(reply.broken("data.not-json", "grammar.unknown-event", "sse.no-data"))


@case(
    "grammar.short-reply",
    MUST,
    "A reply of one word has the same form as a long one.",
    source=DIALECT,
    remedy="Send first, last and terminal events also where there is only one piece.",
    defect="no-terminal-for-short",
    needs=(Need.TWO_SIDED,),
)
async def short_reply(trial: Trial) -> None:
    """Ask while the upstream has one word to say.

    The reply is complete and breaks no rule.
    """
    reply = await trial.ask(plan={"text": "Yes."})
    streamed(reply)
    clean(reply.violations())
    check(reply.text == "Yes.", "the text is another", expected="Yes.", got=reply.text)
