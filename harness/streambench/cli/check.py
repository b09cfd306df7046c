"""`streambench check`: lints a captured stream, offline."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

import click

from streambench.errors import ConfigurationError, ExitCode
from streambench.findings import Finding, Severity

WIRES = ("sse", "ndjson", "websocket", "socketio")
BLOCK_BYTES = 1 << 16
KEPT_FINDINGS = 50


@dataclass(slots=True)
class CheckResult:
    """What a capture held. `kept` are the first findings, `counts` all of them by rule."""

    dialect: str | None
    events: int = 0
    characters: int = 0
    names: Counter[str] = field(default_factory=Counter)
    kept: list[Finding] = field(default_factory=list)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self.counts[finding.severity, finding.rule] += 1
            if len(self.kept) < KEPT_FINDINGS:
                self.kept.append(finding)

    @property
    def violations(self) -> int:
        return sum(count for (severity, _), count in self.counts.items() if severity == Severity.VIOLATION)

    def to_json(self) -> dict[str, Any]:
        return {
            "verdict": "failed" if self.violations else "passed",
            "dialect": self.dialect,
            "events": self.events,
            "characters": self.characters,
            "names": dict(self.names),
            "violations": self.violations,
            "findings": [finding.to_json() for finding in self.kept],
        }


@click.command("check")
@click.argument("file", type=click.File("rb"))
@click.option("--dialect", "-d", metavar="NAME|FILE", help="The protocol: a bundled dialect or a dialect file.")
@click.option("--wire", type=click.Choice(WIRES), help="The framing, where no dialect says it.")
@click.option("--events", "show_events", is_flag=True, help="Print the decoded events as JSON lines.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def command(file: IO[bytes], dialect: str | None, wire: str | None, show_events: bool, as_json: bool) -> int:
    """Check FILE, a captured stream, against its protocol; `-` reads standard input.

    \b
    Example:
      curl -sN -d '{"message": "Hello"}' http://localhost:4000/api/chat/stream > reply.sse
      streambench check reply.sse --dialect chat-stream
    """
    if dialect is None and not (wire and show_events):
        raise click.UsageError(
            "name the protocol with --dialect, or print what is on the wire with --wire and --events"
        )
    result = check_capture(
        iter(lambda: file.read(BLOCK_BYTES), b""), dialect_name=dialect, wire=wire, show_events=show_events
    )
    if as_json:
        click.echo(json.dumps(result.to_json(), ensure_ascii=False), err=show_events)
    elif dialect is not None:
        click.echo(describe(result, file.name), err=show_events, nl=False)
    return ExitCode.CONFORMANCE if result.violations else ExitCode.PASSED


def check_capture(
    blocks: Iterator[bytes], *, dialect_name: str | None, wire: str | None, show_events: bool
) -> CheckResult:
    """Decode `blocks` and check them, in constant memory whatever the capture's length.

    Raises ConfigurationError where the dialect is unknown or its wire is not the one named.
    """
    from streambench.dialects import load_dialect
    from streambench.wire.captures import capture_decoder
    from streambench.wire.limits import WireError

    dialect = load_dialect(dialect_name) if dialect_name is not None else None
    if dialect is not None and wire is not None and wire != dialect.transport:
        raise ConfigurationError(
            f"dialect {dialect.name!r} speaks {dialect.transport}, not {wire}: leave --wire out", text=wire
        )
    chosen_wire = dialect.transport if dialect is not None else wire
    assert chosen_wire is not None
    decoder = capture_decoder(chosen_wire)
    stream = dialect.open() if dialect is not None else None
    result = CheckResult(dialect_name)

    def take(messages: Iterable[Any]) -> None:
        for message in messages:
            event = None
            if stream is not None and message.dispatched:
                event = stream.feed(message)
                result.characters += len(event.content)
                result.names[event.name] += 1
                result.add(event.findings)
            result.events += message.dispatched
            if show_events:
                click.echo(json.dumps(event_line(message, event), ensure_ascii=False))

    try:
        for block in blocks:
            take(decoder.feed(block))
            result.add(decoder.take_findings())
        take(decoder.finish())
    except WireError as error:
        result.add([error.finding])
    result.add(decoder.take_findings())
    if stream is not None:
        result.add(stream.finish("response_end"))
    return result


def event_line(message: Any, event: Any) -> dict[str, Any]:
    """One decoded event as `--events` prints it; the names are those of the event-stream specification."""
    line: dict[str, Any] = {
        "type": message.event or "message",
        "data": message.data,
        "last_event_id": message.last_event_id,
        "offset": message.offset,
        "dispatched": message.dispatched,
    }
    if message.retry_ms is not None:
        line["retry"] = message.retry_ms
    if event is not None:
        line["name"] = event.name
        line["content"] = event.content
    return line


def describe(result: CheckResult, filename: str) -> str:
    """The result for a terminal: the verdict first, then each finding with what came and what was expected."""
    source = "standard input" if filename in ("-", "<stdin>") else filename
    events = f"{result.events} event{'' if result.events == 1 else 's'}, {result.characters} characters of text"
    if not result.violations:
        lines = [f"PASSED  {source} speaks {result.dialect}: {events}."]
    else:
        plural = "" if result.violations == 1 else "s"
        lines = [f"FAILED  {source} breaks {result.dialect} in {result.violations} place{plural}: {events}."]
    for finding in result.kept:
        where = "whole stream" if finding.event_index is None else f"event {finding.event_index}"
        if finding.offset is not None:
            where += f", byte {finding.offset}"
        label = "" if finding.severity is Severity.VIOLATION else f"  ({finding.severity})"
        lines += ["", f"  {where}  {finding.axis}  {finding.rule}{label}", f"    {finding.message}"]
        if finding.got is not None:
            lines.append(f"    came      {finding.got}")
        if finding.expected:
            lines.append(f"    expected  {' | '.join(finding.expected)}")
    left_out = sum(result.counts.values()) - len(result.kept)
    if left_out:
        lines += ["", f"  {left_out} more findings are not shown; by rule:"]
        lines += [f"    {count:>6}  {rule}" for (_, rule), count in result.counts.most_common()]
    return "\n".join(lines) + "\n"
