"""`streambench check`: lints a captured stream, offline."""

from __future__ import annotations

import io
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from streambench.cli.options import DIALECT
from streambench.cli.output import say, say_json
from streambench.cli.transcripts import BEGINNING, is_transcript, read_transcript
from streambench.errors import ConfigurationError, ExitCode
from streambench.files import read_all
from streambench.findings import Axis, Finding, Severity
from streambench.wire.framings import FRAMINGS

if TYPE_CHECKING:
    from streambench.cli.har import HarStream
    from streambench.dialects import Dialect, DialectStream, Event
    from streambench.dialects.dialect import EventRule
    from streambench.wire.message import WireMessage

BLOCK_BYTES = 1 << 16
KEPT_FINDINGS = 50
MAX_FIELDS = 20
MAX_NAMED = 3
MAX_TRIED_BYTES = 1 << 20  # of a capture that other dialects are tried on
SPEAKS_ANYTHING = ("plain-text",)
KEPT_A_RULE = 5  # a dialect that does not fit breaks one rule at every event


@dataclass(slots=True)
class CheckResult:
    """What a capture held. `kept` are the first findings of each rule, `counts` all of them by severity, axis and rule.

    `times` are the figures that a capture with times gives, in milliseconds. `missing` are the paths at which text was
    looked for before any was found, each with an event that lacks it and the fields that this event has. `milestones`
    are those of the dialect: in how many replies each was reached, and by which event in the first of them. `fits`
    are bundled dialects that the capture does not break, where it breaks its own.
    """

    dialect: str | None
    url: str | None = None
    replies: int = 0
    events: int = 0
    characters: int = 0
    names: Counter[str] = field(default_factory=Counter)
    kept: list[Finding] = field(default_factory=list)
    counts: Counter[tuple[Severity, Axis, str]] = field(default_factory=Counter)
    times: dict[str, float] = field(default_factory=dict)
    missing: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    milestones: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    fits: list[str] = field(default_factory=list)

    def note_milestone(self, name: str, event_index: int | None) -> None:
        """A reply has ended: the event with which it came to a milestone, None where it did not."""
        replies, first = self.milestones.get(name, (0, None))
        reached = event_index is not None
        self.milestones[name] = replies + reached, event_index if first is None else first

    def add(self, findings: Iterable[Finding]) -> None:
        """Counts all of them, and keeps the first few of each rule."""
        for finding in findings:
            key = (finding.severity, finding.axis, finding.rule)
            self.counts[key] += 1
            if self.counts[key] <= KEPT_A_RULE and len(self.kept) < KEPT_FINDINGS:
                self.kept.append(finding)

    @property
    def violations(self) -> int:
        """How many there were, kept or not."""
        return sum(count for (severity, _, _), count in self.counts.items() if severity is Severity.VIOLATION)

    def by_axis(self) -> dict[str, int]:
        """The violations on each of the four axes."""
        axes = {axis.value: 0 for axis in Axis if axis is not Axis.INTEROP}
        for (severity, axis, _), count in self.counts.items():
            if severity is Severity.VIOLATION:
                axes[axis] = axes.get(axis, 0) + count
        return axes

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        out: dict[str, Any] = {"verdict": "failed" if self.violations else "passed", "dialect": self.dialect}
        if self.url is not None:
            out["url"] = self.url
        out |= {
            "replies": self.replies,
            "events": self.events,
            "characters": self.characters,
            "names": dict(self.names),
            "violations": self.violations,
            "axes": self.by_axis(),
            "findings": [finding.to_json() for finding in self.kept],
        }
        if self.milestones:
            out["milestones"] = {
                name: {"replies": replies, "event_index": event_index}
                for name, (replies, event_index) in self.milestones.items()
            }
        if self.fits:
            out["fits"] = self.fits
        if self.times:
            out["times_ms"] = {name: round(value, 3) for name, value in self.times.items()}
        return out


@click.command("check")
@click.argument("file", type=click.File("rb"))
@click.option(
    "--dialect", "-d", type=DIALECT, metavar="NAME|FILE", help="The protocol: a bundled dialect or a dialect file."
)
@click.option("--wire", type=click.Choice(list(FRAMINGS)), help="The framing, if no dialect is given.")
@click.option("--events", "show_events", is_flag=True, help="Print the decoded events as JSON lines.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.option("--har", is_flag=True, help="FILE is a HAR file; every stream in it is checked.")
@click.option("--session", is_flag=True, help="FILE holds several replies of one socket, one after another.")
def command(
    file: IO[bytes],
    dialect: str | None,
    wire: str | None,
    show_events: bool,
    as_json: bool,
    har: bool,
    session: bool,
) -> int:
    """Check FILE, a captured stream, against its protocol; `-` reads standard input.

    A transcript kept by `run` or `probe --save` names its own protocol.

    \b
    Example:
      curl -sN -d '{"message": "Hello"}' http://localhost:4000/api/chat/stream > reply.sse
      streambench check reply.sse --dialect chat-stream
      streambench check browser.har --har --dialect ai-sdk-ui
      streambench check reports/chat/latest/streams/real-17.jsonl
    """
    if isinstance(file, io.BufferedReader) and is_transcript(file.peek(len(BEGINNING))):
        return _check_transcript(file.name, dialect, as_json=as_json)
    if dialect is None and not (wire and show_events):
        raise click.UsageError(
            "name the protocol with --dialect, or print what is on the wire with --wire and --events"
        )
    if har:
        results = check_har(file, dialect_name=dialect, wire=wire, show_events=show_events)
    else:
        capture = _Kept(file)
        results = [check_capture(capture, dialect_name=dialect, wire=wire, show_events=show_events, session=session)]
        if results[0].violations and dialect is not None and not show_events:
            results[0].fits = fitting(capture.data, dialect)
    failed = any(result.violations for result in results)
    if as_json:
        found: dict[str, Any] = results[0].to_json()
        if har:
            found = {"verdict": "failed" if failed else "passed", "streams": [result.to_json() for result in results]}
        say_json(found, err=show_events)
    elif dialect is not None:
        source = "standard input" if file.name in ("-", "<stdin>") else file.name
        for result in results:
            say(describe(result, result.url or source), err=show_events, nl=False)
    return ExitCode.CONFORMANCE if failed else ExitCode.PASSED


def _check_transcript(path: str, dialect: str | None, *, as_json: bool) -> ExitCode:
    """Check one stream of a run again, and draw it."""
    from streambench.cli.waterfall import waterfall
    from streambench.dialects import load_dialect

    record = read_transcript(Path(path), dialect)
    milestones = load_dialect(dialect or record.dialect).milestones
    columns = shutil.get_terminal_size((100, 40)).columns
    result = CheckResult(
        dialect or record.dialect, events=len(record.events.at_ns), characters=sum(record.events.chars)
    )
    result.names.update(record.events.name)
    result.add(record.findings)
    if as_json:
        say_json(result.to_json())
    else:
        say(describe(result, path), nl=False)
        say("\n".join(["", *waterfall(record, columns=columns, milestones=milestones)]))
        if record.error is not None:
            say(f"\n  {record.error}: {record.error_message}")
    return ExitCode.CONFORMANCE if result.violations else ExitCode.PASSED


def check_capture(
    blocks: Iterable[bytes], *, dialect_name: str | None, wire: str | None, show_events: bool, session: bool = False
) -> CheckResult:
    """Decode `blocks` and check them, in constant memory whatever the capture's length.

    With `session` a reply that is complete may be followed by another one. Raises ConfigurationError where the dialect
    is unknown or its wire is not the one named.
    """
    dialect, chosen_wire = _protocol(dialect_name, wire)
    check = _Check(dialect, dialect_name, chosen_wire, show_events=show_events)
    for block in blocks:
        if not check.feed(block, session=session):
            break
    return check.finish()


def check_har(file: IO[bytes], *, dialect_name: str | None, wire: str | None, show_events: bool) -> list[CheckResult]:
    """Check every stream of a HAR file that came over the dialect's wire.

    Raises ConfigurationError where it is no HAR file or holds no such stream.
    """
    from streambench.cli.har import MAX_FILE_BYTES, read_har

    dialect, chosen_wire = _protocol(dialect_name, wire)
    data = read_all(file, MAX_FILE_BYTES)
    return [
        _check_har_stream(stream, _Check(dialect, dialect_name, chosen_wire, show_events=show_events))
        for stream in read_har(data, file.name, chosen_wire)
    ]


def _check_har_stream(stream: HarStream, check: _Check) -> CheckResult:
    check.result.url = stream.url
    if stream.ttfb_ms is not None:
        check.result.times["ttfb"] = stream.ttfb_ms
    if stream.duration_ms is not None:
        check.result.times["duration"] = stream.duration_ms
    if stream.problem is not None:
        from streambench.wire.captures import NO_BODY

        check.result.add([NO_BODY.found(f"Not checked: {stream.problem}.")])
        return check.result
    for piece in stream.pieces:
        if piece.sent:
            check.prompted(piece.at_ms)
        elif not check.feed(piece.data, at_ms=piece.at_ms):
            break
    return check.finish()


def _protocol(dialect_name: str | None, wire: str | None) -> tuple[Dialect | None, str]:
    from streambench.dialects import load_dialect

    dialect = load_dialect(dialect_name) if dialect_name is not None else None
    if dialect is not None and wire is not None and wire != dialect.transport:
        raise ConfigurationError(
            f"dialect {dialect.name!r} speaks {dialect.transport}, not {wire}: leave --wire out", text=wire
        )
    chosen = dialect.transport if dialect is not None else wire
    assert chosen is not None
    return dialect, chosen


class _Kept:
    """A capture's blocks, which keep the bytes until there are too many: then `data` is None."""

    def __init__(self, file: IO[bytes]) -> None:
        self.data: bytes | None = b""
        self._file = file

    def __iter__(self) -> Iterator[bytes]:
        while block := self._file.read(BLOCK_BYTES):
            if self.data is not None:
                self.data = self.data + block if len(self.data) + len(block) <= MAX_TRIED_BYTES else None
            yield block


def fitting(data: bytes | None, name: str) -> list[str]:
    """The bundled dialects, but for `name`, that a capture speaks: those that tell the most events apart come first."""
    from streambench.dialects import bundled_dialects

    if data is None:
        return []
    found: list[tuple[int, str]] = []
    for other in bundled_dialects():
        result = check_capture(iter([data]), dialect_name=other, wire=None, show_events=False)
        if other != name and result.characters and not result.violations and other not in SPEAKS_ANYTHING:
            found.append((-len(result.names), other))
    return [other for _, other in sorted(found)]


class _Check:
    """The check of one capture, fed with its bytes."""

    def __init__(self, dialect: Dialect | None, name: str | None, wire: str, *, show_events: bool) -> None:
        from streambench.dialects import DialectStream, bundled_dialects
        from streambench.dialects.milestone import Watch
        from streambench.wire.framings import capture_decoder

        self.result = CheckResult(name)
        self._dialect = dialect
        self._trusted = name in bundled_dialects()
        self._decoder = capture_decoder(wire)
        self._stream = DialectStream(dialect) if dialect is not None else None
        self._watch = Watch(() if dialect is None else dialect.milestones)
        self._show_events = show_events
        self._bytes = 0
        self._failed = False
        self._blank = True  # this reply has had no text that can be read
        self._begun = False  # this reply has had an event of its own
        self._prompt_ms: float | None = None
        self._content_ms: float | None = None  # when the last content came

    def feed(self, data: bytes, *, at_ms: float | None = None, session: bool = False) -> bool:
        """Take bytes that came at `at_ms`, where that is known; False where nothing more can be read."""
        from streambench.wire.limits import WireError

        self._bytes += len(data)
        try:
            self._take(self._decoder.feed(data), at_ms, session=session)
        except WireError as error:
            self._fail(error)
        self.result.add(self._decoder.take_findings())
        return not self._failed

    def prompted(self, at_ms: float | None) -> None:
        """The client sent something: after a complete reply, what follows is another one."""
        if self._stream is not None and self._stream.complete:
            self._next_reply()
        self._prompt_ms, self._content_ms = at_ms, None

    def finish(self) -> CheckResult:
        """The capture is over."""
        from streambench.wire.limits import WireError

        if not self._failed:
            try:
                self._take(self._decoder.finish(), None, session=False)
            except WireError as error:
                self._fail(error)
            self.result.add(self._decoder.take_findings())
        self._end_reply("client" if self._failed else "response_end")
        return self.result

    def _take(self, messages: Iterable[WireMessage], at_ms: float | None, *, session: bool) -> None:
        for message in messages:
            event = None
            if self._stream is not None:
                event = self._step(message, session=session)
                self._time(event, at_ms)
            self.result.events += message.dispatched or _is_event(event)
            if self._show_events:
                line = event_line(message, event)
                if at_ms is not None:
                    line["at_ms"] = round(at_ms, 3)
                say_json(line)

    def _step(self, message: WireMessage, *, session: bool) -> Event:
        assert self._stream is not None
        assert self._dialect is not None
        if session and self._stream.complete and self._dialect.identify(message)[0] not in self._dialect.anywhere:
            self._next_reply()
        event = self._stream.feed(message)
        if _is_event(event):
            self._watch.take(event.index, event.name, has_text=bool(event.content))
            self._begun = self._begun or event.name not in self._dialect.anywhere
            self.result.characters += len(event.content)
            self._blank = self._blank and not event.content.strip()
            self.result.names[event.name] += 1
            self.result.add(event.findings)
            if not self.result.characters:
                self._note_missing_text(self._dialect.events.get(event.name), event.data)
        return event

    def _note_missing_text(self, rule: EventRule | None, data: Any) -> None:
        """Keep where text was looked for and not found; it matters if none is found at all."""
        from streambench.dialects.infer import leaves
        from streambench.paths import MISSING

        # The paths of bundled dialects are right; a reply of tool calls alone has no text.
        if self._trusted or rule is None or rule.content is None or rule.content_path is None:
            return
        if rule.content_path in self.result.missing:
            return
        if rule.content(data) in (MISSING, []):
            self.result.missing[rule.content_path] = (rule.name, tuple(path for path, _ in leaves(data))[:MAX_FIELDS])

    def _time(self, event: Event, at_ms: float | None) -> None:
        """The first content after the prompt, and the longest wait for more of it; the worst of several replies."""
        if at_ms is None or not event.content:
            return
        times = self.result.times
        if self._content_ms is None:
            if self._prompt_ms is not None:
                times["ttfc"] = max(times.get("ttfc", 0.0), at_ms - self._prompt_ms)
        else:
            times["gap_max"] = max(times.get("gap_max", 0.0), at_ms - self._content_ms)
        self._content_ms = at_ms

    def _next_reply(self) -> None:
        from streambench.dialects import DialectStream

        self._end_reply("response_end")
        assert self._dialect is not None
        self._stream = DialectStream(self._dialect)
        self._begun = False

    def _end_reply(self, ending: str) -> None:
        """What is wrong with the reply as a whole. A connection may end after a reply before the next has begun."""
        if self._stream is not None and (self._begun or self.result.replies == 0):
            self.result.replies += 1
            self.result.add(self._stream.finish(ending, at_offset=self._bytes))
            self._check_text(self._stream)
            self._note_milestones()
        self._blank = True

    def _note_milestones(self) -> None:
        from streambench.dialects.milestone import Watch

        assert self._dialect is not None
        for milestone in self._dialect.milestones:
            self.result.note_milestone(milestone.name, self._watch.reached.get(milestone.name))
        self._watch = Watch(self._dialect.milestones)

    def _check_text(self, stream: DialectStream) -> None:
        """A complete reply has text, unless the paths are known to be right: a reply of tool calls has none."""
        from streambench.record.recorder import empty_reply

        assert self._dialect is not None
        if self._blank and self.result.missing and stream.complete and not stream.interrupted:
            self.result.add([empty_reply(self._dialect)])

    def _fail(self, error: Any) -> None:
        self._failed = True
        self.result.add([error.finding])


def _is_event(event: Event | None) -> bool:
    """Whether the dialect took a message for an event; a block that is not dispatched mostly is none."""
    from streambench.dialects.stream import UNDISPATCHED

    return event is not None and event.name != UNDISPATCHED


def event_line(message: WireMessage, event: Event | None) -> dict[str, Any]:
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
    if event is not None and _is_event(event):
        line["name"] = event.name
        line["content"] = event.content
    return line


def describe(result: CheckResult, source: str) -> str:
    """The result for a terminal: the verdict first, then each finding with what came and what was expected."""
    events = f"{_count(result.events, 'event')}, {_count(result.characters, 'character')} of text"
    if result.replies > 1:
        events = f"{result.replies} replies, {events}"
    if not result.violations:
        lines = [f"PASSED  {source} speaks {result.dialect}: {events}."]
    else:
        places = _count(result.violations, "place")
        axes = ", ".join(f"{axis} {count}" for axis, count in result.by_axis().items() if count)
        lines = [f"FAILED  {source} breaks {result.dialect} in {places} ({axes}): {events}."]
    if not result.characters:
        lines += [_no_text(path, *result.missing[path]) for path in result.missing]
    if result.times:
        lines.append("        " + ", ".join(f"{name} {value:.1f} ms" for name, value in result.times.items()))
    lines += [_milestone(name, *told, result.replies) for name, told in result.milestones.items()]
    if result.fits:
        named = " or ".join(f"--dialect {name}" for name in result.fits[:MAX_NAMED])
        lines.append(f"        This is not {result.dialect}. The same bytes are valid with {named}.")
    elif not result.events:
        lines.append("        No event was found. Is the capture in the framing of this dialect?")
    grouped = _grouped(result.kept)
    if result.fits:  # the rest says the same in other words
        grouped = grouped[:1]
    for finding, again in grouped:
        where = finding.place or "whole stream"
        label = "" if finding.severity is Severity.VIOLATION else f"  ({finding.severity})"
        lines += ["", f"  {where}  {finding.axis}  {finding.rule}{label}", f"    {finding.message}"]
        got, expected = finding.untold
        if got is not None:
            lines.append(f"    got       {got}")
        if expected:
            lines.append(f"    expected  {' | '.join(expected)}")
        if again:
            lines.append(f"    also at   {'; '.join(one.place for one in again)}")
    left_out = sum(result.counts.values()) - len(result.kept)
    if left_out and not result.fits:
        lines += ["", f"  {_count(left_out, 'more finding')} not shown. By rule:"]
        lines += [f"    {count:>6}  {rule}" for (_, _, rule), count in result.counts.most_common()]
    return "\n".join(lines) + "\n"


def _grouped(findings: Iterable[Finding]) -> list[tuple[Finding, list[Finding]]]:
    """Each finding with those that say the same of other places."""
    groups: dict[tuple[str, str, tuple[str, ...]], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.rule, finding.message, finding.expected), []).append(finding)
    return [(first, rest) for first, *rest in groups.values()]


def _no_text(path: str, event: str, fields: tuple[str, ...]) -> str:
    meant = next(iter(get_close_matches(path, fields, n=1, cutoff=0.8)), None)
    hint = f" Did you mean {meant!r}?" if meant else f" Its fields are {', '.join(fields)}." if fields else ""
    return f"        No text: `{event}` has nothing at {path!r}.{hint}"


def _milestone(name: str, replies: int, event_index: int | None, of: int) -> str:
    if event_index is None:
        return f"        {name}: not reached"
    where = f"event {event_index + 1}"  # people count from 1
    return f"        {name}: {where}" if of == 1 else f"        {name}: {replies} of {of} replies, in the first {where}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
