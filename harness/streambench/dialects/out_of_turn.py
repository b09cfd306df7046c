"""Socket events that belong to no current reply: a greeting before the first prompt, a repeated terminal event.

Whether they arrive just before the prompt is sent or just after it is chance. They are judged the same either way.
"""

from __future__ import annotations

from streambench.dialects import rules
from streambench.dialects.dialect import UNKNOWN, Dialect
from streambench.dialects.stream import EXCERPT_CHARS, GREETING
from streambench.findings import Finding, Severity
from streambench.grammar.deviations import AFTER_TERMINAL, UNEXPECTED_EVENT
from streambench.wire.message import WireMessage


def early_event(dialect: Dialect, message: WireMessage) -> Finding | None:
    """The finding for an event that came after the setup and before the first prompt; None for one that may come."""
    name, _ = dialect.identify(message)
    rule = dialect.events.get(name)
    if rule is not None and rule.anywhere:
        return None
    if name == UNKNOWN:
        return rules.UNKNOWN_EVENT.found(
            f"An event that the dialect does not know came before the first prompt. {GREETING}",
            severity=Severity.VIOLATION if dialect.unknown_is_violation else Severity.INFO,
            got=message.data[:EXCERPT_CHARS],
        )
    return UNEXPECTED_EVENT.found(f"`{name}` came before the first prompt. {GREETING}", got=name)


def is_end(dialect: Dialect, message: WireMessage) -> bool:
    """Whether a message ends a reply and cannot begin one."""
    name, _ = dialect.identify(message)
    rule = dialect.events.get(name)
    return rule is not None and rule.terminal and name not in dialect.automaton.first_names()


def late_end(dialect: Dialect, message: WireMessage, stream_id: str) -> Finding:
    """The finding for an end that came when the reply `stream_id` had ended, the one before on its connection."""
    name, _ = dialect.identify(message)
    return AFTER_TERMINAL.found(
        f"`{name}` came after {stream_id} had ended, the reply before this one on the connection; nothing may follow.",
        got=name,
        expected=("end of stream",),
    )
