"""How a case reports that a requirement is not met, and what it found instead."""

from __future__ import annotations

from streambench.conformance.case import Broken
from streambench.conformance.reply import Reply
from streambench.endings import Ending
from streambench.findings import Finding

MAX_EXCERPT = 200


def check(holds: bool, message: str, *, expected: str = "", got: str = "", place: str = "") -> None:
    """The requirement does not hold unless `holds`. Raises Broken."""
    if not holds:
        raise Broken(message, expected=expected, got=_excerpt(got), place=place)


def clean(findings: list[Finding]) -> None:
    """The requirement does not hold where there is a finding. Raises Broken."""
    for finding in findings[:1]:
        raise Broken(
            f"{finding.rule}: {finding.message}",
            expected=" | ".join(finding.expected),
            got=finding.got or "",
            place=finding.place,
        )


def streamed(reply: Reply) -> None:
    """A precondition: the target has begun a stream. Raises Broken."""
    if not reply.is_stream:
        expected = "a reply" if reply.on_socket else "200 and an event stream"
        raise Broken("there is no stream", expected=expected, got=describe(reply))


def refused(reply: Reply, *statuses: int) -> None:
    """The target has said no before any stream began, with one of the statuses; on a socket it may say so by an
    error, or not let the client in. Raises Broken.
    """
    if reply.on_socket and (reply.status < 400 or not reply.exchange.refused):
        expected = "an error in place of a reply"
        check(reply.is_refusal, "the message is not refused", expected=expected, got=describe(reply))
        return
    check(
        reply.status in statuses,
        "the request is not refused" if reply.status < 400 else "the request is refused with another status",
        expected=" or ".join(map(str, statuses)),
        got=describe(reply),
    )


def describe(reply: Reply) -> str:
    """A reply in a line: its status, its type, the beginning of its body."""
    done = reply.exchange
    if reply.on_socket and done.ending != Ending.NOT_CONNECTED:
        said = [f"{event.name}: {event.error}" if event.error else event.name for event in reply.events[-3:]]
        return f"{' '.join(said) or 'no event'} ({done.ending})"
    if done.refused or not done.status:
        return f"no response ({done.refused or done.ending})"
    body = done.body[:MAX_EXCERPT].decode("utf-8", "replace")
    return f"{done.status} {reply.content_type or 'without a content type'}, {' '.join(body.split())}"


def _excerpt(text: str) -> str:
    return text if len(text) <= MAX_EXCERPT else f"{text[: MAX_EXCERPT - 1]}…"
