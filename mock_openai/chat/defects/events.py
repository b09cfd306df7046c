"""Events that are malformed, or sent at the wrong place."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

from mock_openai.chat.defects.defect import Defect
from mock_openai.chat.defects.framing import Spoil, Write, Writer, writing
from mock_openai.chat.defects.messages import Edit, framed, outgoing


def is_text(event: dict[str, Any]) -> bool:
    """Whether an event of any of the systems brings text."""
    return bool("content" in event or event.get("type") in ("ai_response", "chunk", "assistant_response"))


def is_last(event: dict[str, Any]) -> bool:
    """Whether an event of any of the systems completes a reply."""
    if event.get("type") == "assistant_response":
        return bool(event["data"]["done"])
    return "done" in event or event.get("type") in ("done", "complete") or event.get("event") == "stream-complete"


def is_error(event: dict[str, Any]) -> bool:
    """Whether an event of any of the systems tells a failure."""
    return "error" in event or event.get("type") == "error"


def is_of_a_reply(event: dict[str, Any]) -> bool:
    """Whether an event is part of a reply: a socket has others as well."""
    if "event" in event:
        return str(event["event"]).startswith("stream-")
    return event.get("type") not in ("project_joined", "conversation_created", "pong", "user_message")


def inner(event: dict[str, Any]) -> dict[str, Any]:
    """Where an event has its text."""
    return event["data"] if event.get("type") in ("ai_response", "assistant_response") else event


def edited(make: Callable[[], Edit]) -> Spoil:
    """Edits every event of a stream: an event becomes none, one or several, as objects or as bytes."""

    def writer() -> Writer:
        edit = make()

        async def write(data: bytes, send: Write) -> None:
            head, found, rest = data.partition(b"data: ")
            if not found:
                await send(data)
                return
            for item in edit(json.loads(rest)):
                framed = item if isinstance(item, bytes) else json.dumps(item, ensure_ascii=False).encode()
                await send(head + b"data: " + framed + b"\n\n")

        return write

    stream = writing(writer)

    def of_replies() -> Edit:
        edit = make()
        return lambda event: edit(event) if is_of_a_reply(event) else [event]

    def spoil(response: web.StreamResponse) -> None:
        stream(response)
        outgoing(response, of_replies)

    return spoil


def _swapped() -> Edit:
    held: list[dict[str, Any] | bytes] = []
    count = 0

    def edit(event: dict[str, Any]) -> list[dict[str, Any] | bytes]:
        nonlocal count
        count += 1
        if count == 1:
            held.append(event)
            return []
        return [event, *held] if count == 2 else [event]

    return edit


def _with_stranger() -> Edit:
    told = False

    def edit(event: dict[str, Any]) -> list[dict[str, Any] | bytes]:
        nonlocal told
        first, told = not told, True
        stranger = {"event": "telemetry"} if "event" in event else {"type": "telemetry"}
        return [{**stranger, "telemetry": 1}, event] if first else [event]

    return edit


def _with_more_after_end() -> Edit:
    last_text: list[dict[str, Any] | bytes] = []

    def edit(event: dict[str, Any]) -> list[dict[str, Any] | bytes]:
        if is_text(event):
            last_text[:] = [event]
        return [event, *last_text] if is_last(event) else [event]

    return edit


def _broken(event: dict[str, Any]) -> list[dict[str, Any] | bytes]:
    return [framed(event).encode()[:-1]] if is_text(event) else [event]


def _misshapen(event: dict[str, Any]) -> list[dict[str, Any] | bytes]:
    if is_error(event):
        return [event]
    event.pop("timestamp", None)
    event.pop("suggestions", None)
    return [{**event, "undocumented": True}]


def _as_object(event: dict[str, Any]) -> list[dict[str, Any] | bytes]:
    if is_text(event):
        inner(event)["content"] = {"text": inner(event)["content"]}
    return [event]


def _wrong_accumulated(event: dict[str, Any]) -> list[dict[str, Any] | bytes]:
    for name in ("accumulated", "fullResponse"):
        if is_text(event) and inner(event).get(name):
            inner(event)[name] = inner(event)[name][:-1] + "?"
    return [event]


def _back_in_time() -> Edit:
    count = 0

    def edit(event: dict[str, Any]) -> list[dict[str, Any] | bytes]:
        nonlocal count
        count += 1
        long_ago = 978307200000 if isinstance(event.get("timestamp"), int) else "2001-01-01T00:00:00.000Z"
        return [{**event, "timestamp": long_ago} if count == 3 else event]

    return edit


def _all_complete(event: dict[str, Any]) -> list[dict[str, Any] | bytes]:
    if event.get("type") == "ai_response":
        event["data"]["isComplete"] = True
    return [event]


def _no_last(event: dict[str, Any]) -> list[dict[str, Any] | bytes]:
    return [] if is_last(event) else [event]


def _no_last_for_short() -> Edit:
    texts = 0

    def edit(event: dict[str, Any]) -> list[dict[str, Any] | bytes]:
        nonlocal texts
        texts += is_text(event) and bool(inner(event).get("content"))
        return [] if is_last(event) and texts < 2 else [event]

    return edit


def _done_after_error(event: dict[str, Any]) -> list[dict[str, Any] | bytes]:
    return [event, _follows(event, "", last=True)] if is_error(event) else [event]


def _text_after_error(event: dict[str, Any]) -> list[dict[str, Any] | bytes]:
    return [event, _follows(event, " and on it goes")] if is_error(event) else [event]


def _follows(event: dict[str, Any], text: str, *, last: bool = False) -> dict[str, Any]:
    """What follows an error as if there had been none: more text, or the end of a whole reply."""
    if "event" in event:
        if last:
            return {"event": "stream-complete", "fullResponse": text, "message": "", "timestamp": event["timestamp"]}
        more = {"isComplete": False, "fullResponse": text, "timestamp": event["timestamp"]}
        return {"event": "stream-chunk", "content": text, **more}
    if "timestamp" in event and "code" in event.get("data", {}):
        data = {"conversation_id": "", "message_id": "", "content": text, "done": last}
        return {"type": "assistant_response", "data": data, "timestamp": event["timestamp"]}
    if "type" in event and "data" in event:
        data = {"success": True} if last else {"content": text, "isComplete": False}
        return {**event, "type": "done" if last else "ai_response", "data": data}
    if "type" in event:
        return {"type": "complete", "suggestions": [], "session_id": ""} if last else {"type": "chunk", "content": text}
    return {"done": True} if last else {"content": text}


def _split_pairs(event: dict[str, Any]) -> list[dict[str, Any] | bytes]:
    text = inner(event).get("content") if is_text(event) else None
    if not isinstance(text, str) or text.isascii():
        return [event]
    escaped = json.dumps(text)[1:-1]
    at = next((i for i in range(len(escaped)) if escaped[i : i + 4].lower() in _HIGH), -1)
    if at < 0:
        return [event]
    whole = framed(event, ascii_only=True)
    before, _, after = whole.partition(escaped)
    return [(before + part + after).encode() for part in (escaped[: at + 6], escaped[at + 6 :])]


_HIGH = {"\\ud8", "\\ud9", "\\uda", "\\udb"}

DEFECTS = [
    Defect("events-out-of-order", "the first two events are swapped", spoil=edited(_swapped)),
    Defect("unknown-event", "an unknown event is sent first", spoil=edited(_with_stranger)),
    Defect("no-terminal", "the event that completes a reply is not sent", spoil=edited(lambda: _no_last)),
    Defect(
        "no-terminal-for-short",
        "the event that completes a reply is not sent for replies of one piece",
        spoil=edited(_no_last_for_short),
    ),
    Defect("text-after-end", "text follows the event that completes a reply", spoil=edited(_with_more_after_end)),
    Defect("broken-json", "events with text lack the closing brace", spoil=edited(lambda: _broken)),
    Defect("wrong-shape", "events lack a field and have an undocumented one", spoil=edited(lambda: _misshapen)),
    Defect("text-as-object", "texts are objects", spoil=edited(lambda: _as_object)),
    Defect(
        "wrong-accumulated", "the accumulated text ends in a wrong character", spoil=edited(lambda: _wrong_accumulated)
    ),
    Defect("clock-goes-back", "the third event is dated 2001", spoil=edited(_back_in_time)),
    Defect("flag-too-early", "every piece is flagged as the last", spoil=edited(lambda: _all_complete)),
    Defect(
        "done-after-error",
        "a failed reply also gets the event that completes it",
        spoil=edited(lambda: _done_after_error),
    ),
    Defect("goes-on-after-error", "text follows an error", spoil=edited(lambda: _text_after_error)),
    Defect("splits-pairs", "emoji are split into two halves", spoil=edited(lambda: _split_pairs)),
]
