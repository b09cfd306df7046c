"""A dialect's reference in Markdown, made from its file: events, order, diagram, checks, requests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from streambench.dialects.diagram import diagram
from streambench.dialects.dialect import Dialect, EventRule, TextMode
from streambench.dialects.milestone import ORIGINS
from streambench.dialects.naming import BY_KEY, WIRE_NAMES
from streambench.dialects.templates import RenderedRequest
from streambench.located import Located, read_yaml
from streambench.units import format_duration
from streambench.wire.framings import FRAMINGS


def page(dialect: Dialect) -> str:
    """Sections of the second level, without a title; the same file always gives the same text."""
    top = read_yaml(dialect.source_path.read_text("utf-8"), str(dialect.source_path)).mapping("a dialect")
    parts = (_events(dialect, top), _order(dialect, top), _checks(top), _milestones(dialect), _requests(dialect))
    return "\n".join(line for part in parts for line in part) + "\n"


def _events(dialect: Dialect, top: Mapping[str, Located]) -> Iterator[str]:
    transport = FRAMINGS[dialect.transport].title
    yield from ("## Events", "", f"Transport: {transport}. {_naming(dialect, top)}", "")
    yield from ("| event | recognised by | carries |", "|---|---|---|")
    for rule in dialect.events.values():
        yield f"| `{rule.name}` | {_cell(_recognised(rule, top))} | {_cell(_carries(rule))} |"
    yield ""


def _naming(dialect: Dialect, top: Mapping[str, Located]) -> str:
    name = top["name"].value if "name" in top else None
    data = "" if dialect.is_json else " The data is plain text."
    match name:
        case None:
            return f"Events have no names; conditions on their fields tell them apart.{data}"
        case str() if name in WIRE_NAMES:
            return f"An event's name is the one in the framing.{data}"
        case str() if name == BY_KEY:
            return f"An event's name is the one key of its object that is listed here.{data}"
    return f"An event's name is its field `{name}`.{data}"


def _recognised(rule: EventRule, top: Mapping[str, Located]) -> str:
    if rule.literal is not None:
        return f"the text `{rule.literal}`"
    parts = []
    if "name" in top:
        parts.append(f"the name `{rule.of or rule.name}`")
    elif rule.of is not None:
        parts.append(f"as `{rule.of}`")
    if rule.condition is not None:
        parts.append(f"`{rule.condition}`")
    if rule.undispatched:
        parts.append("a block without data")
    return ", ".join(parts) or "everything else"


_MODES = {
    TextMode.DELTA: "",
    TextMode.SNAPSHOT: ", all the text so far",
    TextMode.WHOLE: ", the whole text, if no piece of it arrived",
}


def _carries(rule: EventRule) -> str:
    parts = []
    if rule.content_path is not None:
        parts.append(f"text `{rule.content_path}`" + _MODES[rule.mode])
    if rule.error_path is not None:
        parts.append(f"error `{rule.error_path}`")
    if rule.tokens_path is not None:
        parts.append(f"tokens `{rule.tokens_path}`")
    return "; ".join(parts)


def _order(dialect: Dialect, top: Mapping[str, Located]) -> Iterator[str]:
    yield from ("## Order", "", "```", str(top["grammar"].value).rstrip(), "```", "")
    if dialect.terminal:
        ends = " or ".join(f"`{name}`" for name in dialect.terminal)
        yield f"The reply is complete with {ends}" + (
            "." if dialect.needs_terminal else ", or when the connection closes."
        )
    else:
        yield "The reply is complete when the response ends where the grammar allows it."
    if dialect.interrupt is not None:
        yield f"It may be cut short at any time by `{dialect.interrupt}`."
    if not dialect.unknown_is_violation:
        yield "Events that are not listed are reported as information."
    yield from ("", "```mermaid", diagram(dialect), "```", "")


def _checks(top: Mapping[str, Located]) -> Iterator[str]:
    if "invariants" not in top:
        return
    yield from ("## Checks across events", "")
    for item in top["invariants"].plain():
        if isinstance(item, str):
            yield f"- `{item}`"
        else:
            rest = ", ".join(f"{key}: {_flow(value)}" for key, value in item.items() if key != "check")
            yield f"- `{item['check']}`: `{rest}`"
    yield ""


def _milestones(dialect: Dialect) -> Iterator[str]:
    if not dialect.milestones:
        return
    yield from ("## Milestones", "", "| milestone | reached by the first | from |", "|---|---|---|")
    for one in dialect.milestones:
        events = " or ".join(f"`{name}`" for name in one.events)
        since = ORIGINS.get(one.since, f"`{one.since}`")
        yield f"| `{one.name}` | {events}{' with text' if one.needs_text else ''} | {since} |"
    yield ""


def _requests(dialect: Dialect) -> Iterator[str]:
    variables = dict.fromkeys(_placeholders(dialect), "…") | dialect.with_defaults({"user": "1"})
    variables["prompt"] = "Hello"
    yield from ("## Requests", "")
    for step in dialect.setup:
        request = step.render(variables)
        what = (
            f"Once per user: {_request_line(request, dialect)}" if _sends(request) or step.is_http else "Once per user:"
        )
        if step.wait_for is not None:
            what += f"{',' if _sends(request) else ''} waits for `{step.wait_for}`"
        if step.only_after is not None:
            what += f" if `{step.only_after}` arrives within {format_duration(step.within_ns)}"
        if step.capture:
            what += ", captures " + ", ".join(f"`{path}` as `{{{name}}}`" for name, path in step.capture.items())
        yield from (f"{what}.", "")
    for step in dialect.steps:
        kept = ", ".join(f"`{path}` as `{{{name}}}`" for name, path in step.capture.items())
        line = _request_line(step.render(variables), dialect)
        yield from (f"Before each reply: {line}{f', captures {kept}' if kept else ''}.", "")
    request = dialect.render_request(variables)
    place = f"`{unquote(request.path)}` below the target's URL" if request.path else "the target's URL"
    if dialect.is_socket:
        yield f"The socket is opened at {place}. Each prompt:"
    else:
        yield f"Each prompt: {request.method} to {place}:"
    yield from ("", "```json", _body(request), "```")


def _sends(request: RenderedRequest) -> bool:
    return bool(request.send or request.emit or request.body)


def _request_line(request: RenderedRequest, dialect: Dialect) -> str:
    if request.path or not dialect.is_socket:
        return (
            f"{request.method} `{unquote(request.path)}` with `{request.body.decode()}`"
            if request.body
            else f"GET `{unquote(request.path)}`"
        )
    return f"sends `{_body(request)}`"


def _body(request: RenderedRequest) -> str:
    if request.emit is not None:
        return json.dumps([request.emit[0], *request.emit[1]], ensure_ascii=False)
    if request.send:
        return "\n".join(request.send)
    return request.body.decode()


def _placeholders(dialect: Dialect) -> set[str]:
    steps = (*dialect.setup, *dialect.steps)
    return set().union(dialect.request.placeholders(), *(step.request.placeholders() for step in steps))


def _flow(value: Any) -> str:
    """A value as it may stand in a dialect file: lists of names without quotes."""
    if isinstance(value, str):
        return value
    text = json.dumps(value, ensure_ascii=False)
    return text.replace('"', "") if isinstance(value, list) and all(isinstance(item, str) for item in value) else text


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
