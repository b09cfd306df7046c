"""The JSON Schema of a dialect file, for editors; the loader says the same with more exact errors, and more."""

from __future__ import annotations

from typing import Any

from streambench.dialects.dialect import TextMode
from streambench.dialects.loading import EVENT_KEYS, TOP_KEYS
from streambench.dialects.milestone import MAX_MILESTONES, NAME, RESERVED
from streambench.wire.framings import FRAMINGS

_TEXT: dict[str, Any] = {"type": "string"}
_TEXT_OR_NONE: dict[str, Any] = {"type": ["string", "null"]}
_TEXTS: dict[str, Any] = {"type": "array", "items": _TEXT}

_TOP: dict[str, dict[str, Any]] = {
    "dialect": {**_TEXT, "description": "its name"},
    "version": {"const": 1, "description": "version of this format"},
    "summary": {**_TEXT, "description": "one line for lists"},
    "transport": {"enum": list(FRAMINGS), "description": "how messages are framed"},
    "request": {"type": ["object", "array", "null"], "description": "what is sent for one prompt"},
    "path": {**_TEXT, "description": "the request's path below the target's URL"},
    "variables": {
        "type": "object",
        "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
        "description": "values for placeholders; null where a target must give one",
    },
    "setup": {"type": "array", "items": {"type": "object"}, "description": "done once a user before the first prompt"},
    "data": {"enum": ["json", "text"], "description": "what the data of a message is"},
    "name": {**_TEXT, "description": "where an event's name is: a path, sse.event, socketio.event or keys"},
    "grammar": {**_TEXT, "description": "the order of events, such as `open piece* shut`"},
    "interrupt": {**_TEXT, "description": "a grammar for what may cut a reply short at any time"},
    "anywhere": {**_TEXTS, "description": "events that may come at any time and mean nothing for the order"},
    "unknown": {"enum": ["fail", "info"], "description": "what an event that is not listed is"},
    "invariants": {"type": "array", "description": "checks across events, such as `seq.contiguous`"},
    "terminal": {"anyOf": [_TEXT, _TEXTS], "description": "the events with which a reply is complete"},
}
_EVENT: dict[str, dict[str, Any]] = {
    "of": {"type": ["string", "integer"], "description": "the name on the wire, where it is another one"},
    "literal": {**_TEXT, "description": "the whole data of the message, such as `[DONE]`"},
    "undispatched": {"type": "boolean", "description": "an SSE block without data"},
    "content": {**_TEXT_OR_NONE, "description": "the path of the text that a user reads"},
    "mode": {
        "enum": [str(mode) for mode in TextMode],
        "description": "whether the text is new",
    },
    "by": {**_TEXT_OR_NONE, "description": "the path that tells several texts apart"},
    "error": {**_TEXT_OR_NONE, "description": "the path of a failure's text"},
    "tokens": {**_TEXT_OR_NONE, "description": "the path of the number of tokens"},
    "schema": {"type": ["object", "boolean", "null"], "description": "JSON Schema of the event's data"},
}
_EVENTS: dict[str, Any] = {"anyOf": [_TEXT, {**_TEXTS, "minItems": 1}]}


def milestones_schema() -> dict[str, Any]:
    """The schema of `milestones`, of a dialect or of a target."""
    keys = {
        "event": {**_EVENTS, "description": "the event that reaches it, or a list of such events"},
        "from": {**_TEXT, "description": "what it is measured from: intended, sent, or another milestone"},
        "text": {"type": "boolean", "description": "whether an event without text does not count"},
    }
    long_form = {"type": "object", "additionalProperties": False, "properties": keys, "required": ["event"]}
    return {
        "type": "object",
        "maxProperties": MAX_MILESTONES,
        "propertyNames": {"pattern": f"^(?!({'|'.join(RESERVED)})$){NAME}$"},
        "additionalProperties": {"anyOf": [*_EVENTS["anyOf"], long_form]},
        "description": "moments of a reply that have a name, such as `first_document: search_documents`",
    }


def dialect_schema() -> dict[str, Any]:
    """The schema, draft 2020-12."""
    event = {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {key: _EVENT.get(key, {}) for key in EVENT_KEYS},
    }
    events = {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": event,
        "description": "what each event is, by its name",
    }
    described = {**_TOP, "events": events, "milestones": milestones_schema()}
    properties = {key: described.get(key, {}) for key in TOP_KEYS}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "streambench dialect",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": ["dialect", "version", "transport", "events", "grammar"],
    }
