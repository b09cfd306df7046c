"""Compares the number of tokens that a protocol reports with what was really written, and with what is possible."""

from __future__ import annotations

from streambench.findings import Axis, Finding, Severity
from streambench.record.model import StreamRecord
from streambench.rules import Rule, declare

MOST_OF_THE_TRUTH = 1.5
USAGE = declare(
    Rule(
        "content.usage",
        Axis.CONTENT,
        "The reported number of tokens matches the text.",
        "the tokens that the upstream wrote, one per word; without an upstream, a token has at least one character",
        may_inform=True,
    )
)


def check_usage(record: StreamRecord) -> list[Finding]:
    """What is wrong with `tokens`, as the protocol reported them.

    With an upstream: they are half as many again as all that it wrote for this stream, in whichever request. From one
    side only, as information: they are more than the text has characters.
    """
    tokens = record.tokens
    called_tools = any(exchange.finish == "tool_calls" for exchange in record.upstream)
    if tokens is None or not record.terminal_event or called_tools:  # the tokens of a call are in no text
        return []
    written = sum(len(exchange.sent_text.split()) for exchange in record.upstream)
    if written:
        if tokens <= MOST_OF_THE_TRUTH * written:
            return []
        message = f"The protocol reports {tokens:,} tokens, and the upstream wrote {written:,} for this stream."
        return [USAGE.found(message, got=str(tokens), expected=(str(written),))]
    chars = sum(record.events.chars)
    if chars and tokens > chars:
        message = f"The protocol reports {tokens:,} tokens for {chars:,} characters of text."
        return [USAGE.found(message, severity=Severity.INFO, got=str(tokens))]
    return []
