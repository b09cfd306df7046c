"""One reply, event by event: named, checked, and its text gathered.

Does no I/O and asks for no time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from streambench.dialects import rules
from streambench.dialects.checks.check import (
    MAX_KEYS,
    MAX_TEXT_CHARS,
    Check,
    Observed,
    as_json,
    excerpt,
    has_few_values,
    is_columnar,
    is_steady,
    value_key,
)
from streambench.dialects.dialect import UNKNOWN, Dialect, EventRule, SchemaValidator, TextMode
from streambench.dialects.shapes import Shape, ShapeSeeker, allows_any, cut
from streambench.errors import nearest
from streambench.findings import Finding, Severity
from streambench.grammar import Deviation, GrammarChecker, deviations
from streambench.paths import MISSING
from streambench.wire.message import WireMessage

UNDISPATCHED = "(undispatched)"
GREETING = "If the server greets whoever connects, await that event in `setup`."
NO_FINDINGS: tuple[Finding, ...] = ()
MAX_SCHEMA_FINDINGS = 3
EXCERPT_CHARS = 120
MAX_TOKENS = 2**53  # what every reader of JSON can hold exactly (RFC 8259, section 6)

_ENDINGS = {
    "fin": (rules.PREMATURE_END, "The server closed the connection"),
    "cut": (rules.PREMATURE_END, "The server closed the connection"),
    "response_end": (rules.PREMATURE_END, "The response ended"),
    "reset": (rules.RESET, "The connection was reset"),
    "timeout": (rules.TIMEOUT, "Nothing more came in time"),
    "close_frame": (rules.CLOSE_FRAME, "The server closed the socket"),
}
_AFTER_THE_END = {
    "reset": (rules.RESET_AFTER_END, "The stream was complete, but the connection was then reset instead of closed."),
    "timeout": (rules.TIMEOUT_AFTER_END, "The stream was complete, but the server did not end the response."),
}


@dataclass(slots=True)
class Event:
    """A named event.

    `content` is the text that it added: deltas as they are, of snapshots the new part. `error` is the text of a
    failure that it reports. `data` is its decoded payload, None where it was not needed. `offset` is where its message
    begins. An event that the dialect does not know is named `?`.
    """

    index: int
    name: str
    content: str
    error: str | None
    data: Any
    findings: tuple[Finding, ...] = NO_FINDINGS
    offset: int = 0


class DialectStream:
    """The state of one stream. Feed every message in order, then call `finish` once.

    `take` does the same as `feed` at a fraction of the cost, but gives no decoded data of events that repeat others.
    Where only their text matters, `repeated` may be asked first; their name is `delta`.

    `shape` is theirs, or None; what somebody else has recognised by it is not fed, but told of (`repeat`, `pass_over`).

    `complete`: the terminal event came, or an event that interrupts the stream. `interrupted`: the latter.
    `tokens`: as the protocol reported them, `MAX_TOKENS` for more.
    """

    __slots__ = (
        "_anywhere_after_end",
        "_checker",
        "_checks",
        "_checks_of",
        "_classify",
        "_decode",
        "_dialect",
        "_half_pair",
        "_in_pieces",
        "_index",
        "_last_offset",
        "_literals",
        "_longest_literal",
        "_seeker",
        "_snapshot_chars",
        "_snapshots",
        "_tolerated",
        "_undispatched",
        "complete",
        "delta",
        "shape",
        "tokens",
    )

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._checker = GrammarChecker(dialect.automaton, dialect.interrupt_automaton)
        self._classify = dialect.classify
        self._decode = dialect.decode
        self._literals = dialect.literals
        self._longest_literal = max(map(len, dialect.literals), default=-1)
        self._checks: list[Check] = [make() for make in dialect.checks]
        self._checks_of: dict[str, tuple[Callable[[Observed], Finding | None], ...]] = {}
        self._anywhere_after_end = dialect.is_socket
        self._index = 0
        self._last_offset = 0
        self._snapshots: dict[Hashable, str] = {}
        self._snapshot_chars = 0
        self._in_pieces: set[Hashable] = set()
        self._half_pair = ""
        self._tolerated: set[str] = set()
        self._undispatched: str | None = None
        self.shape: Shape | None = None
        self._seeker = ShapeSeeker()
        self.delta = ""
        self.complete = False
        self.tokens: int | None = None

    @property
    def interrupted(self) -> bool:
        """An event that ends the stream from any state, such as an error, came."""
        return self._checker.interrupted

    def repeated(self, message: WireMessage) -> str | None:
        """Take the next message if it is one more `delta`, with which nothing can be wrong, and return its text.

        None where nothing was taken: then it is for `take`.
        """
        shape = self.shape
        if shape is None or shape.again:
            return None
        values = shape.values_in(message)
        if values is None:
            return None
        self._index += 1
        self._last_offset = message.offset
        return shape.text(values)

    def repeat(self, values: Sequence[Any], offset: int) -> tuple[Finding, ...]:
        """Take one more `delta`, whose message begins at `offset` and has these values in the holes of its shape.

        Returns what is wrong with it.
        """
        shape = self.shape
        assert shape is not None
        return self._repeat(shape, values, offset).findings

    def pass_over(self, count: int, last_offset: int) -> None:
        """Take so many more, which no check wants to see. `last_offset` is where the last of them begins."""
        self._index += count
        self._last_offset = last_offset

    def repeat_all(self, values: Sequence[Sequence[Any]], last_offset: int) -> bool:
        """Take several more, if nothing is wrong with any of them; else nothing is taken.

        `values` are those in each hole of the shape. `last_offset` is where the last of them begins.
        """
        columns = self.shape.columns if self.shape is not None else None
        if columns is None or not all(column.fits(values[column.hole]) for column in columns):
            return False
        for column in columns:
            column.take(values[column.hole])
        self.pass_over(len(values[0]), last_offset)
        return True

    def take(self, message: WireMessage) -> Event:
        """Take the next message, as `feed` does; what repeats the one before but for its text is not judged anew."""
        shape = self.shape
        values = shape.values_in(message) if shape is not None else None
        if shape is None or values is None:
            event = self.feed(message)
            if event.content and not event.findings:
                self._seek_shape(message, event)
            return event
        return self._repeat(shape, values, message.offset)

    def _repeat(self, shape: Shape, values: Sequence[Any], offset: int) -> Event:
        event = Event(self._index, shape.name, shape.text(values), None, None, NO_FINDINGS, offset)
        self._index += 1
        self._last_offset = offset
        if shape.again:
            event.data = shape.data(values)
            event.findings = tuple([finding for look in shape.again if (finding := look(event)) is not None])
        return event

    def feed(self, message: WireMessage) -> Event:
        """Take the next message.

        A message that the wire does not dispatch is no event, unless the dialect says so: it is returned as
        `(undispatched)` and changes nothing.
        """
        if not message.dispatched and not self._takes_undispatched(message):
            return self._note_undispatched(message)
        index = self._index
        self._index = index + 1
        self._last_offset = message.offset
        self.shape = None
        if not message.dispatched:
            rule = self._dialect.events[message.event]
            data: Any = None
        elif len(message.data) <= self._longest_literal and message.data in self._literals:
            rule = self._literals[message.data]
            data = message.data
        else:
            data, problem = self._decode(message)
            if problem is not None:
                return self._unreadable(index, message, problem)
            found = self._classify(message, data)
            if isinstance(found, str):
                return self._unknown(index, message, data, found)
            rule = found
        name = rule.name
        findings: list[Finding] | None = None

        if not rule.anywhere or (self.complete and not self._anywhere_after_end):
            deviation = self._checker.step(name, data)
            if deviation is not None:
                findings = self._deviations(deviation, index, message.offset, name)
        if rule.terminal or (rule.interrupts and self._checker.interrupted):
            self.complete = True

        if rule.schema is not None and not _is_valid(rule.schema, data):
            findings = (findings or []) + self._schema_findings(rule, data, index, message.offset)

        content = ""
        if rule.content is not None:
            value = rule.content(data)
            if value.__class__ is str:
                content = value
            elif value is not MISSING and value is not None:
                content, finding = self._other_content(rule, value, index, message.offset)
                if finding is not None:
                    findings = [*(findings or ()), finding]
            if (rule.mode is not TextMode.DELTA or rule.by is not None) and value.__class__ is str:
                content, finding = self._added(rule, data, content, index, message.offset)
                if finding is not None:
                    findings = [*(findings or ()), finding]
            if not content.isascii() or self._half_pair:
                content, finding = self._whole_characters(content, index, message.offset)
                if finding is not None:
                    findings = [*(findings or ()), finding]

        event = Event(index, name, content, None, data, NO_FINDINGS, message.offset)
        if self._checks:
            checks = self._checks_of.get(name)
            if checks is None:
                checks = self._checks_for(name)
            for look in checks:
                finding = look(event)
                if finding is not None:
                    findings = [*(findings or ()), finding]

        if rule.error is not None or rule.interrupts:
            event.error = self._error_text(rule, data)
        if rule.tokens is not None:
            tokens = rule.tokens(data)
            if tokens.__class__ is int:
                self.tokens = max(-MAX_TOKENS, min(tokens, MAX_TOKENS))
        if findings is not None:
            event.findings = tuple(findings)
        return event

    def finish(self, ending: str, *, at_offset: int | None = None) -> list[Finding]:
        """The stream has ended: `fin`, `reset`, `timeout`, `close_frame`, `response_end`, `cut` (within a response
        that had said how it would end), or `client` (we left).

        Returns what is wrong with the stream as a whole. `at_offset` is how many bytes of it came, where that is
        known.
        """
        findings: list[Finding] = []
        offset = at_offset if at_offset is not None else self._last_offset
        if not self.complete and ending != "client":
            may_end = self._checker.accepts and (
                self._checker.sure or self._checker.may_lack_its_interrupt or not self._dialect.needs_terminal
            )
            if may_end and ending in ("fin", "response_end"):
                self.complete = True
            else:
                findings.append(self._premature_end(ending, offset))
        elif self.complete and ending in ("reset", "timeout"):
            rule, message = _AFTER_THE_END[ending]
            findings.append(rule.found(message, offset=offset))
        if self._half_pair:
            findings.append(self._lone_surrogate(self._half_pair, max(self._index - 1, 0), self._last_offset))
            self._half_pair = ""
        whole = self.complete and not self.interrupted
        for check in self._checks:
            finding = check.end(complete=whole)
            if finding is not None:
                findings.append(finding)
        return findings

    # What is rare

    def _seek_shape(self, message: WireMessage, event: Event) -> None:
        """Find out what of an event may repeat itself; see `shapes` for why what is asked here is enough."""
        rule = self._dialect.events[event.name]
        before = self._seeker.before(rule.name, message, event.index)
        if before is None or rule.content is None or not rule.is_delta or self.complete or self._half_pair:
            return
        document = cut(before, message, event.data, event.content, rule.content)
        if document is None or sum(map(len, document.pieces)) <= self._longest_literal:
            return
        data, changed = event.data, document.changed
        if (
            self._dialect.alike(data, changed)
            and self._checker.repeats(rule.name, data, changed)
            and (rule.by is None or rule.by(data) == rule.by(changed))
            and all(map(lambda path, kind: allows_any(rule.json_schema, path, kind), document.paths, document.types))
        ):
            again = [
                check
                for check in self._checks
                if (check.names is None or rule.name in check.names)
                and not (is_steady(check) and check.repeats(event, changed))
            ]
            columns = [
                column
                for check in again
                if is_columnar(check)
                and (column := check.column(event, changed, document.fillings, document.text)) is not None
            ]
            self.delta = rule.name
            self.shape = Shape(
                rule.name,
                message.event,
                document,
                tuple(check.event for check in again),
                tuple(columns) if len(columns) == len(again) else None,
            )

    def _takes_undispatched(self, message: WireMessage) -> bool:
        rule = self._dialect.events.get(message.event)
        return rule is not None and rule.undispatched and message.data == ""

    def _note_undispatched(self, message: WireMessage) -> Event:
        name = "" if message.data == "" else self._dialect.identify(message)[0]
        self._undispatched = name
        return Event(self._index, UNDISPATCHED, "", None, message.data, offset=message.offset)

    def _checks_for(self, name: str) -> tuple[Callable[[Observed], Finding | None], ...]:
        checks = tuple(check.event for check in self._checks if check.names is None or name in check.names)
        self._checks_of[name] = checks
        return checks

    def _unreadable(self, index: int, message: WireMessage, problem: str) -> Event:
        excerpt = _excerpt(message.data)
        finding = rules.NOT_JSON.found(
            f"The event's data is not JSON: {problem}.",
            event_index=index,
            offset=message.offset,
            got=excerpt,
            expected=self._checker.expected(),
        )
        return Event(index, UNKNOWN, "", None, message.data, (finding,), message.offset)

    def _unknown(self, index: int, message: WireMessage, data: Any, why: str) -> Event:
        severity = Severity.VIOLATION if self._dialect.unknown_is_violation else Severity.INFO
        explained = f"The dialect knows no such event: {why}."
        if index == 0 and self._dialect.is_socket:
            explained = f"{explained} {GREETING}"
        finding = rules.UNKNOWN_EVENT.found(
            explained,
            severity=severity,
            event_index=index,
            offset=message.offset,
            got=_excerpt(message.data),
            expected=self._checker.expected(),
        )
        return Event(index, UNKNOWN, "", None, data, (finding,), message.offset)

    def _deviations(self, deviation: Deviation, index: int, offset: int, name: str) -> list[Finding]:
        if deviation.broken is deviations.TOLERATED:
            if name in self._tolerated:
                return []
            self._tolerated.add(name)
        explained = _explain(deviation, name)
        if index == 0 and deviation.broken is deviations.UNEXPECTED_EVENT and self._dialect.is_socket:
            explained = f"{explained} {GREETING}"
        return [
            deviation.broken.found(
                explained,
                event_index=index,
                offset=offset,
                got=name,
                expected=deviation.expected or (() if deviation.where else ("end of stream",)),
            )
        ]

    def _schema_findings(self, rule: EventRule, data: Any, index: int, offset: int) -> list[Finding]:
        assert rule.schema is not None
        problems: list[str] = []
        try:
            for error in islice(_errors(rule.schema, data), MAX_SCHEMA_FINDINGS):
                where = ".".join(map(str, error.instance_path)) or "the data"
                problems.append(f"at {where}, {_cut(error.message)}")
        except UnicodeEncodeError:
            problems = ["it holds half a character (a UTF-16 surrogate without its other half)"]
        except ValueError:  # the validator goes down a few hundred levels
            problems = ["it is nested too deep"]
        got = _excerpt(excerpt(data, EXCERPT_CHARS))
        return [
            rules.SCHEMA.of(rule.name).found(
                f"`{rule.name}` does not match its schema: {problem}.",
                event_index=index,
                offset=offset,
                got=got,
            )
            for problem in problems
        ]

    def _other_content(self, rule: EventRule, value: Any, index: int, offset: int) -> tuple[str, Finding | None]:
        """Content that is not one text: the texts of a `*` path are joined, anything else is a finding."""
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return "".join(value), None
        return "", rules.NOT_TEXT.found(
            f"`{rule.content_path}` of `{rule.name}` should be text.",
            event_index=index,
            offset=offset,
            got=_excerpt(excerpt(value, EXCERPT_CHARS)),
        )

    def _added(self, rule: EventRule, data: Any, text: str, index: int, offset: int) -> tuple[str, Finding | None]:
        """What an event adds to the text that it belongs to."""
        key = value_key((rule.by,), data) if rule.by is not None else None
        if rule.mode is TextMode.WHOLE:
            if key in self._in_pieces:
                return "", None
            before = self._replaced(key, text)
            return text[len(before) :] if text.startswith(before) else text, None
        if len(self._in_pieces) < MAX_KEYS:
            self._in_pieces.add(key)
        if rule.mode is TextMode.DELTA:
            return text, None
        before = self._replaced(key, text)
        if text.startswith(before):
            return text[len(before) :], None
        at = next(
            (i for i, (a, b) in enumerate(zip(before, text, strict=False)) if a != b),
            min(len(before), len(text)),
        )
        return text[len(before) :], rules.SNAPSHOT.found(
            f"The snapshot does not extend the one before it: it differs from character {at + 1} on.",
            event_index=index,
            offset=offset,
            got=_excerpt(text[at : at + 30]),
            expected=(_excerpt(before[at : at + 30]),),
        )

    def _replaced(self, key: Hashable, text: str) -> str:
        """Keeps all the text so far, and returns what was kept before."""
        before = self._snapshots.get(key, "")
        self._snapshot_chars += len(text) - len(before)
        if self._snapshot_chars > MAX_TEXT_CHARS or len(self._snapshots) > MAX_KEYS:
            self._snapshots.clear()  # what would fit in no memory starts anew
            self._snapshot_chars = len(text)
        self._snapshots[key] = text
        return before

    def _whole_characters(self, content: str, index: int, offset: int) -> tuple[str, Finding | None]:
        """Content in whole characters.

        A backend that counts in UTF-16 can cut a character in two halves, each an escape of its own. A half at the
        end waits for the other one, as in a JavaScript client; a half that stays alone is a finding.
        """
        if self._half_pair:
            content, self._half_pair = self._half_pair + content, ""
        if content and "\ud800" <= content[-1] <= "\udbff":
            content, self._half_pair = content[:-1], content[-1]
        try:
            content.encode()
        except UnicodeEncodeError:
            joined = content.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            if "\ufffd" in joined and joined.count("\ufffd") > content.count("\ufffd"):
                return joined, self._lone_surrogate(content, index, offset)
            return joined, rules.SPLIT_PAIR.found(
                "A character was split across events (UTF-16 surrogates): clients not written in JavaScript show two "
                "broken characters.",
                event_index=index,
                offset=offset,
            )
        return content, None

    def _lone_surrogate(self, content: str, index: int, offset: int | None) -> Finding:
        return rules.LONE_SURROGATE.found(
            "The text holds half a character (a UTF-16 surrogate without its other half).",
            event_index=index,
            offset=offset,
            got=_excerpt(json.dumps(content)),
        )

    def _error_text(self, rule: EventRule, data: Any) -> str | None:
        value = rule.error(data) if rule.error is not None else MISSING
        if value is MISSING or value is None:
            return f"{rule.name} without a message" if rule.interrupts else None
        return value if isinstance(value, str) else as_json(value)

    def _premature_end(self, ending: str, offset: int) -> Finding:
        rule, what = _ENDINGS.get(ending, _ENDINGS["fin"])
        completion = self._checker.completion()
        events = ", ".join(f"`{name}`" for name in completion)
        missing = events or " or ".join(f"`{name}`" for name in self._dialect.terminal) or "the end of the response"
        message = f"{what} before the stream was complete"
        if self._index == 0:
            message += ": no event came at all"
        message += f". To complete it, this was missing: {missing}."
        for where in self._checker.incomplete_slices()[:3]:
            message += f" The part with {where} is not finished."
        if self._undispatched:
            message += f" A last `{self._undispatched}` came without the blank line that would dispatch it."
        return rule.found(
            message,
            event_index=self._index,
            offset=offset,
            got="end of stream",
            expected=self._checker.expected() or self._dialect.terminal,
        )


def _explain(deviation: Deviation, name: str) -> str:
    """A deviation for a tired person."""
    expected = _alternatives(deviation.expected)
    where = f" (in the part with {deviation.where})" if deviation.where else ""
    match deviation.broken:
        case deviations.AFTER_TERMINAL:
            return f"`{name}` came after the stream was complete; nothing may follow."
        case deviations.AFTER_INTERRUPT:
            return f"`{name}` came after the stream had ended with an error; nothing may follow."
        case deviations.INCOMPLETE_SLICE:
            missing = " ".join(deviation.completion)
            return f"`{name}` came although the part with {deviation.where} was not finished: {missing} is missing."
        case deviations.NO_SLICE_KEY:
            return f"`{name}` has no {deviation.expected[0]!r}, so it is not clear which part it belongs to."
        case deviations.TOO_MANY_SLICES:
            return f"The stream has more parallel parts ({deviation.where}) than are followed; the rest is not checked."
        case deviations.TOLERATED:
            return f"`{name}` is tolerated here{where}, but the protocol asks for {expected}."
    if not deviation.expected:
        return f"`{name}` came{where}, but nothing may follow there."
    hint = nearest(name, deviation.expected) if len(deviation.expected) > 5 else None
    return f"`{name}` came{where}, but the protocol expects {expected} here." + (f" ({hint}?)" if hint else "")


def _alternatives(names: tuple[str, ...]) -> str:
    if len(names) < 2:
        return "".join(f"`{name}`" for name in names)
    return ", ".join(f"`{name}`" for name in names[:-1]) + f" or `{names[-1]}`"


def _excerpt(text: str) -> str:
    return text if len(text) <= EXCERPT_CHARS else f"{text[: EXCERPT_CHARS - 1]}…"


def _cut(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:299]}…"


def _errors(schema: SchemaValidator, data: Any) -> Iterable[Any]:
    """What is wrong with an event. Of a large one only the first: the validator would gather a million errors."""
    if has_few_values(data):
        return schema.iter_errors(data)  # type: ignore[no-any-return]
    import jsonschema_rs

    try:
        schema.validate(data)
    except jsonschema_rs.ValidationError as error:
        return [error]
    return []


def _is_valid(schema: SchemaValidator, data: Any) -> bool:
    try:
        return schema.is_valid(data)
    except ValueError:  # half a character in a key, or nested too deep
        return False
