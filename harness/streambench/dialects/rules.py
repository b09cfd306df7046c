"""The rules that apply to every dialect: requirements on a reply's events, its text and its end."""

from __future__ import annotations

from typing import Final

from streambench.findings import Axis, Severity
from streambench.rules import Rule, declare, declare_note

_EVENTS: Final = "the dialect's `events`"
_TEXT: Final = "the dialect's `content`"
_END: Final = "the dialect's `grammar` and `terminal` event"

NOT_JSON: Final = declare(Rule("data.not-json", Axis.GRAMMAR, "An event's data is JSON.", "RFC 8259"))
UNKNOWN_EVENT: Final = declare(
    Rule(
        "grammar.unknown-event",
        Axis.GRAMMAR,
        "Every event is listed in the dialect; information if the dialect says `unknown: info`.",
        _EVENTS,
        may_inform=True,
    )
)
SCHEMA: Final = declare(
    Rule("schema.EVENT", Axis.GRAMMAR, "The event's data matches its JSON Schema.", "the event's `schema`")
)

NOT_TEXT: Final = declare(
    Rule("content.not-text", Axis.CONTENT, "The text field is a string.", "the event's `content`")
)
SNAPSHOT: Final = declare(
    Rule(
        "content.snapshot",
        Axis.CONTENT,
        "Each snapshot of the text extends the one before it.",
        "the event's `snapshot`",
    )
)
LONE_SURROGATE: Final = declare(
    Rule(
        "content.lone-surrogate",
        Axis.CONTENT,
        "The text has no unpaired UTF-16 surrogate.",
        "The Unicode Standard, section 3.9, D91",
    )
)
SPLIT_PAIR: Final = declare_note(
    "content.split-pair",
    "A character is not split across events: only JavaScript clients rejoin the halves.",
    "RFC 8259, section 8.2",
)

PREMATURE_END: Final = declare(
    Rule(
        "grammar.premature-end",
        Axis.TERMINATION,
        "Neither the response nor the connection ends before the reply is complete; the finding gives "
        "the shortest completion.",
        _END,
    )
)
RESET: Final = declare(
    Rule("termination.reset", Axis.TERMINATION, "The connection is not reset before the reply is complete.", _END)
)
TIMEOUT: Final = declare(
    Rule("termination.timeout", Axis.TERMINATION, "The reply completes before a timeout.", "the target's `timeouts`")
)
CLOSE_FRAME: Final = declare(
    Rule(
        "termination.close-frame",
        Axis.TERMINATION,
        "The server does not close the socket before the reply is complete.",
        _END,
    )
)
RESET_AFTER_END: Final = declare(
    Rule(
        "termination.reset-after-end",
        Axis.TERMINATION,
        "The connection of a complete reply is closed, not reset.",
        "RFC 9112, section 9.6",
        Severity.INFO,
    )
)
TIMEOUT_AFTER_END: Final = declare(
    Rule(
        "termination.timeout-after-end",
        Axis.TERMINATION,
        "The server ends the response once the reply is complete.",
        "the target's `timeouts`",
        Severity.INFO,
    )
)
