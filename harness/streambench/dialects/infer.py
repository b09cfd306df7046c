"""A first dialect file from a captured reply: what was seen, written down so that the capture passes it.

Everything in it is a guess from one stream. The event names, where they stand, which field carries the text and in
which order events came are observed; what may be left out or repeated, and how failures look, only its author knows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from streambench.dialects.checks.fields import in_order
from streambench.dialects.decoding import decode_data
from streambench.grammar.notation import is_event_name
from streambench.paths import MISSING, compile_path
from streambench.printable import printable_json
from streambench.wire.framings import FRAMINGS
from streambench.wire.message import WireMessage

MAX_NAMES = 40
MAX_DEPTH = 6
MAX_ELEMENTS = 8
MAX_LITERAL_CHARS = 40

# Names that fields have in the protocols of the field; the earlier, the likelier.
NAME_FIELDS = ("type", "event", "kind", "action", "op", "name", "object", "status", "state")
SURE_NAME_FIELDS = ("type", "event", "kind", "op", "0")
TEXT_FIELDS = ("content", "delta", "text", "token", "chunk", "message", "response", "output", "answer", "value", "t")
FAILURE_WORDS = ("error", "fail", "abort", "exception")

HEADER = """\
# Drafted from one captured reply. What it says was observed; look through it before you rely on it:
# - events: is each field that is required always there? Is `content` the field with the text a user reads?
# - grammar: `+` one or more, `*` any number, `?` may be missing, `|` either. One capture shows one order only.
# - interrupt: how does a failure look? Name its event, and in `error` the field with the message.
# - request: what a client sends for one prompt; `{prompt}` is where the prompt goes.
"""


@dataclass(slots=True)
class _Seen:
    """An event of the capture: the messages that are this event, decoded."""

    name: str
    wire_name: str
    data: list[Any] = field(default_factory=list)
    literal: bool = False


def draft_dialect(messages: Sequence[WireMessage], *, name: str, transport: str) -> str:
    """The text of a dialect file that describes the capture; loading it and checking the capture with it succeeds.

    `transport` is one of the dialect's. Raises ValueError where there is no message to learn from.
    """
    dispatched = [message for message in messages if message.dispatched]
    if not dispatched:
        raise ValueError("there is no message to learn from")
    decoded = [(message, *decode_data(message)) for message in dispatched]
    if _is_text(decoded):
        return _write_text(name, transport, dispatched)
    objects = [(message, data) for message, data, problem in decoded if problem is None]
    source = _name_source(objects, transport)
    events: dict[str, _Seen] = {}
    order: list[str] = []
    for message, data, problem in decoded:
        wire_name = message.data if problem is not None else _wire_name(source, message, data)
        seen = _event_of(events, wire_name, literal=problem is not None)
        seen.data.append(data)
        order.append(seen.name)
    return _write(name, transport, source, events, order)


def _is_text(decoded: Sequence[tuple[WireMessage, Any, str | None]]) -> bool:
    """Plain text instead of JSON: what is not JSON is more than a sentinel at the end."""
    if any(message.args is not None for message, _, _ in decoded):
        return False
    strange = [message.data for message, _, problem in decoded if problem is not None]
    return (
        len(set(strange)) > 2 or any(len(text) > MAX_LITERAL_CHARS for text in strange) or len(strange) == len(decoded)
    )


def _event_of(events: dict[str, _Seen], wire_name: str, *, literal: bool) -> _Seen:
    for seen in events.values():
        if seen.wire_name == wire_name and seen.literal == literal:
            return seen
    name = _event_name(wire_name, taken=events)
    events[name] = _Seen(name, wire_name, literal=literal)
    return events[name]


def _event_name(wire_name: str, taken: Mapping[str, _Seen]) -> str:
    """A name that the notation can speak of: the wire's own where possible."""
    name = wire_name if is_event_name(wire_name) else "_".join(_words(wire_name)) or "unnamed"
    if not is_event_name(name):
        name = f"event_{name}"
    unique, number = name, 2
    while unique in taken:
        unique, number = f"{name}_{number}", number + 1
    return unique


def _words(text: str) -> list[str]:
    return "".join(letter if letter.isascii() and letter.isalnum() else " " for letter in text).split()


# Where the name of an event is


def _name_source(objects: Sequence[tuple[WireMessage, Any]], transport: str) -> str | None:
    """The dialect's `name`: the wire's event name, a field, `keys`; None where all messages are one event."""
    if transport == "socketio":
        return "socketio.event"
    wire_names = {message.event for message, _ in objects}
    if transport == "sse" and (len(wire_names) > 1 or wire_names - {"", "message"}):
        return "sse.event"
    data = [item for _, item in objects]
    candidates = [path for path in _string_paths(data) if _names_events(path, data)]
    if candidates:
        return min(candidates, key=_likelihood)
    if len(data) > 1 and _keys_tell_apart(data):
        return "keys"
    return None


def _string_paths(data: Sequence[Any]) -> list[str]:
    """The paths of texts that every message has; of numbers too, where a field of that name is sure to be a name."""
    found: list[str] | None = None
    for item in data:
        paths = [path for path, value in leaves(item) if _may_name(path, value)]
        found = paths if found is None else [path for path in found if path in paths]
    return found or []


def _may_name(path: str, value: Any) -> bool:
    return isinstance(value, str) or (type(value) is int and path in SURE_NAME_FIELDS)


def _names_events(path: str, data: Sequence[Any]) -> bool:
    """A field names events where it has few values, at least two, all of them short.

    It must have one of the usual names, or its values must go with the keys that the messages have.
    """
    values = [str(compile_path(path)(item)) for item in data]
    different = len(set(values))
    if different < 2 or not all(0 < len(value) <= MAX_LITERAL_CHARS for value in values):
        return False
    if path in SURE_NAME_FIELDS:
        return different <= MAX_NAMES
    if path.rpartition(".")[2] in NAME_FIELDS:
        return different <= min(MAX_NAMES, max(2, (len(data) + 1) // 2 + 2))
    forms: dict[str, set[frozenset[str]]] = {}
    for value, item in zip(values, data, strict=True):
        forms.setdefault(value, set()).add(frozenset(item) if isinstance(item, dict) else frozenset())
    seen = set().union(*forms.values())
    words = all(" " not in value for value in values)
    return words and len(seen) > 1 and different <= len(seen) and all(len(form) == 1 for form in forms.values())


def _likelihood(path: str) -> tuple[bool, int, int]:
    last = path.rpartition(".")[2]
    usual = last in NAME_FIELDS
    return not usual, path.count("."), NAME_FIELDS.index(last) if usual else 0


def _keys_tell_apart(data: Sequence[Any]) -> bool:
    """Whether each message is an object whose first key says what it is."""
    if not all(isinstance(item, dict) and item for item in data):
        return False
    firsts = {next(iter(item)) for item in data}
    return 1 < len(firsts) <= MAX_NAMES and all(len(firsts & set(item)) == 1 for item in data)


def _wire_name(source: str | None, message: WireMessage, data: Any) -> str:
    match source:
        case None:
            return "chunk"
        case "sse.event" | "socketio.event":
            return message.event or "message"
        case "keys":
            return str(next(iter(data)))
    return str(compile_path(source)(data))


def leaves(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Paths and values at the ends of a JSON value; of an array within it only the first element."""
    if depth > MAX_DEPTH:
        return
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = [(str(n), item) for n, item in enumerate(value[: MAX_ELEMENTS if not path else 1])]
    else:
        if path:
            yield path, value
        return
    for key, item in items:
        if key and "." not in key and key == key.strip() and key != "*":
            yield from leaves(item, f"{path}.{key}" if path else key, depth + 1)


# Writing


def _write(name: str, transport: str, source: str | None, events: Mapping[str, _Seen], order: Sequence[str]) -> str:
    text = _text_field(events)
    lines = [HEADER.rstrip("\n"), f"dialect: {_scalar(name)}", "version: 1", f"transport: {transport}"]
    lines += [_request(transport), ""]
    if source is not None:
        lines.append(f"name: {_scalar(source)}")
    lines.append("events:")
    failures = []
    for seen in events.values():
        lines += _event(seen, source, text)
        if not seen.literal and any(word in seen.name.lower() for word in FAILURE_WORDS):
            failures.append(seen.name)
    if not failures:
        lines += ["  # error: {error: error.message}   # no failure was captured: what does one look like?"]
    lines += ["", *_order(order, failures)]
    invariants = _invariants(events, order, source)
    if invariants:
        lines += ["", "# These held in the capture. Keep those that are promises.", "invariants:"]
        lines += [f"  - {invariant}" for invariant in invariants]
    return "\n".join(lines) + "\n"


def _order(order: Sequence[str], failures: Sequence[str]) -> list[str]:
    """The lines of the grammar and of the interrupt: what came before the first failure, and what from there on."""
    cut = next((at for at, event in enumerate(order) if event in failures), len(order))
    if cut in (0, len(order)):
        return [f"grammar: {_scalar(_grammar(order))}", "# interrupt: error"]
    grammar = _grammar(order[:cut])
    after = [f"{event}*" for event in dict.fromkeys(order[cut + 1 :])]
    return [
        "# The capture has a failure: what would have come after this, had all gone well, was not seen.",
        f"grammar: {_scalar(grammar if grammar.endswith('+') else f'{grammar}+')}",
        f"interrupt: {_scalar(' '.join((order[cut], *after)))}",
    ]


def _write_text(name: str, transport: str, messages: Sequence[WireMessage]) -> str:
    """The dialect of a stream of plain text, with the sentinel that may stand at its end."""
    last = messages[-1].data
    sentinel = last if len(last) <= MAX_LITERAL_CHARS and last[:1] in "[<" and last[-1:] in "]>" and last else None
    lines = [HEADER.rstrip("\n"), f"dialect: {_scalar(name)}", "version: 1", f"transport: {transport}"]
    lines += [_request(transport), "", "data: text", "events:", "  chunk: {content: $}"]
    if sentinel is not None:
        lines.append(f"  DONE: {{literal: {_quoted(sentinel)}}}")
    lines += ["", "grammar: chunk* DONE" if sentinel is not None else "grammar: chunk*"]
    return "\n".join(lines) + "\n"


def _request(transport: str) -> str:
    framing = FRAMINGS[transport]
    said = 'json: {message: "{prompt}"}'
    if framing.is_socket:
        said = 'send: {type: message, content: "{prompt}"}'
        if framing.says == "emit":
            said = 'emit: [message, {content: "{prompt}"}]'
    lines = ["request:", f"  {said}   # a guess: replace it with what your client sends"]
    if framing.is_socket:
        lines.append("# Does the server greet before the prompt? Then move that event from the grammar to setup:")
        lines.append("# setup: [{await: greeting}]")
    return "\n".join(lines)


def _event(seen: _Seen, source: str | None, text: tuple[str, str, bool] | None) -> list[str]:
    if seen.literal:
        return [f"  {_scalar(seen.name)}:", f"    literal: {_quoted(seen.wire_name)}"]
    lines = [f"  {_scalar(seen.name)}:"]
    if seen.name != seen.wire_name and source is not None:
        lines.append(f"    of: {_quoted(seen.wire_name)}")
    if text is not None and text[0] == seen.name:
        lines.append(f"    content: {_scalar(text[1])}")
        if text[2]:
            lines.append("    mode: snapshot   # each event repeats all the text so far")
    if any(word in seen.name.lower() for word in FAILURE_WORDS):
        path = next((path for path, value in leaves(seen.data[0]) if isinstance(value, str) and path != source), None)
        if path is not None:
            lines.append(f"    error: {path}")
    required = _always_there(seen.data)
    if required:
        lines.append(f"    schema: {{required: [{', '.join(_flow(key) for key in required)}]}}")
    return lines if len(lines) > 1 else [f"  {_scalar(seen.name)}: {{}}"]


def _always_there(data: Sequence[Any]) -> list[str]:
    if not all(isinstance(item, dict) for item in data):
        return []
    return [key for key in data[0] if all(key in item for item in data)]


def _text_field(events: Mapping[str, _Seen]) -> tuple[str, str, bool] | None:
    """Event, path and whether it is a snapshot, of the field that carries the reply's text; None where none does.

    It is a text that changes from one event to the next, in the event that comes most often; among several, the one
    whose name is a usual one, then the longest.
    """
    best: tuple[tuple[int, int, int], tuple[str, str, bool]] | None = None
    for seen in events.values():
        if seen.literal:
            continue
        for path, values in _texts(seen.data).items():
            last = path.rpartition(".")[2]
            usual = TEXT_FIELDS.index(last) if last in TEXT_FIELDS else len(TEXT_FIELDS)
            changes = len(set(values)) > 1 if len(seen.data) > 1 else usual < len(TEXT_FIELDS)
            if not changes or (usual == len(TEXT_FIELDS) and _looks_technical(values)):
                continue
            snapshot = len(values) > 2 and values[0] != "" and all(b.startswith(a) for a, b in pairwise(values))
            # A field that repeats the whole text may stand beside a delta; the delta is what is streamed.
            rank = (-len(seen.data), usual + snapshot, -sum(map(len, values)))
            if best is None or rank < best[0]:
                best = rank, (seen.name, path, snapshot)
    return best[1] if best is not None else None


def _texts(data: Sequence[Any]) -> dict[str, list[str]]:
    """By path, the texts that the messages have there, where they have nothing else."""
    paths = dict.fromkeys(path for item in data for path, value in leaves(item) if isinstance(value, str))
    found = {path: [compile_path(path)(item) for item in data] for path in paths}
    return {
        path: [value for value in values if isinstance(value, str)]
        for path, values in found.items()
        if all(isinstance(value, str) or value is MISSING or value is None for value in values)
    }


def _looks_technical(values: Sequence[str]) -> bool:
    """Identifiers and times: all of one length, without a space among them."""
    return len({len(value) for value in values}) == 1 and not any(" " in value for value in values)


def _grammar(order: Sequence[str]) -> str:
    """The order of the events as a grammar: what came again and again becomes a repetition.

    Two events belong to one repetition where each came after the other; the groups, in the order of their first
    event, make the sequence.
    """
    first = {name: order.index(name) for name in dict.fromkeys(order)}
    last = {name: len(order) - 1 - list(reversed(order)).index(name) for name in first}
    groups: list[list[str]] = []
    end = -1
    for name in sorted(first, key=first.__getitem__):
        if groups and first[name] < end:
            groups[-1].append(name)
        else:
            groups.append([name])
        end = max(end, last[name])
    return " ".join(_group(group, order) for group in groups)


def _group(group: Sequence[str], order: Sequence[str]) -> str:
    if len(group) > 1:
        return f"({' | '.join(group)})+"
    return f"{group[0]}+" if order.count(group[0]) > 1 else group[0]


def _invariants(events: Mapping[str, _Seen], order: Sequence[str], source: str | None) -> list[str]:
    """Invariants that the capture keeps and that say something: constant ids, growing times, contiguous numbers."""
    waiting = {name: iter(seen.data) for name, seen in events.items()}
    data = [next(waiting[name]) for name in order if not events[name].literal]
    found = []
    for path in dict.fromkeys(path for item in data for path, _ in leaves(item)):
        values = [value for item in data if (value := compile_path(path)(item)) not in (MISSING, None)]
        last = path.rpartition(".")[2].lower()
        if len(values) < 3 or path == source:
            continue
        counts = all(isinstance(value, int) and not isinstance(value, bool) for value in values)
        is_time = "time" in last or last in ("created", "created_at", "ts")
        is_id = last.endswith("id") and all(isinstance(value, (str, int)) for value in values)
        if counts and all(b == a + 1 for a, b in pairwise(values)):
            found.append(f"{path}.contiguous")
        elif is_time and all(in_order(a, b) for a, b in pairwise(values)):
            found.append(f"{path}.nondecreasing")
        elif is_id and len(set(values)) == 1:
            found.append(f"{path}.constant")
    return found


def _scalar(text: str) -> str:
    """A text as YAML: plain where that is safe."""
    plain = text and all(letter.isalnum() or letter in "_-. |+*?()" for letter in text) and text[0].isalpha()
    reserved = text.lower() in ("true", "false", "null", "yes", "no", "on", "off", "y", "n")
    return text if plain and not reserved and text == text.strip() else _quoted(text)


def _flow(text: str) -> str:
    """A text inside a flow list."""
    safe = text.isidentifier() and text.lower() not in ("true", "false", "null", "yes", "no", "on", "off", "y", "n")
    return text if safe else _quoted(text)


def _quoted(text: str) -> str:
    """A text in quotes, as YAML and JSON have them."""
    return printable_json(json.dumps(text, ensure_ascii=False))
