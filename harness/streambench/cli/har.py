"""HAR files, as saved by a browser's network panel, read as captured streams.

An event stream or NDJSON response is saved as one body, with the time of its first byte and of its end. Messages of a
WebSocket are saved one by one with their time, in the field `_webSocketMessages` that Chromium adds and others follow;
those of a Socket.IO connection are its Engine.IO packets. A Socket.IO connection that only polled is the bodies of its
responses, one after the other.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from streambench.errors import ConfigurationError
from streambench.wire.framings import FRAMINGS

MAX_FILE_BYTES = 128 << 20  # decoded, several times as much
MAX_NUMBER = 1e15


@dataclass(slots=True, frozen=True)
class Piece:
    """Bytes as they came. `at_ms` is their time since the request, where it was saved. `sent` marks a message of the
    client's, whose bytes are not kept.
    """

    data: bytes
    at_ms: float | None = None
    sent: bool = False


@dataclass(slots=True, frozen=True)
class HarStream:
    """One entry that holds a stream. `problem` says why there is nothing to check; times are of the browser's."""

    url: str
    pieces: tuple[Piece, ...]
    problem: str | None = None
    ttfb_ms: float | None = None
    duration_ms: float | None = None


def read_har(data: bytes, path: str, wire: str) -> list[HarStream]:
    """The streams of a HAR file that came over `wire`. Raises ConfigurationError where it is none, or holds none."""
    try:
        entries = json.loads(data)["log"]["entries"]
    except (ValueError, RecursionError):
        raise ConfigurationError("this is not a HAR file: it is not JSON", path=path) from None
    except (LookupError, TypeError):
        raise ConfigurationError("this is not a HAR file: it has no log.entries", path=path) from None
    found = [stream for entry in _mappings(entries) for stream in _streams(entry, wire)]
    if wire == "socketio" and not found:
        found = _polled(_mappings(entries))
    if not found:
        kinds = sorted({_mime_type(entry) or "no type" for entry in _mappings(entries)})
        raise ConfigurationError(
            f"no entry of this HAR file came over {wire}; its responses are {', '.join(kinds) or 'none'}", path=path
        )
    return found


def _streams(entry: Mapping[str, Any], wire: str) -> Iterator[HarStream]:
    url = str(_at(entry, "request", "url") or "?").partition("?")[0]
    framing = FRAMINGS[wire]
    if not framing.is_socket:
        # Most answers in JSON are no streams, and this file holds all that a page has asked for.
        if _mime_type(entry) in set(framing.content_types) - {"application/json"}:
            yield _response(entry, url)
        return
    messages = entry.get("_webSocketMessages")
    if isinstance(messages, list):
        yield _socket(entry, url, [message for message in messages if isinstance(message, dict)])


def _response(entry: Mapping[str, Any], url: str) -> HarStream:
    ttfb_ms, duration_ms = _ttfb(entry), _number(entry.get("time"))
    text = _at(entry, "response", "content", "text")
    problem, body = None, b""
    if not isinstance(text, str) or not text:
        problem = "the file does not hold its body: save the panel as HAR with content"
    elif _at(entry, "response", "content", "encoding") == "base64":
        try:
            body = base64.b64decode(text, validate=True)
        except ValueError:  # not of that alphabet, or not even ASCII
            problem = "its body is not the base64 that it is said to be"
    else:
        body = text.encode("utf-8", "surrogatepass")
    return HarStream(url, (Piece(body),), problem, ttfb_ms, duration_ms)


def _socket(entry: Mapping[str, Any], url: str, messages: list[dict[str, Any]]) -> HarStream:
    times = [_number(message.get("time")) for message in messages]
    start = next((time for time in times if time is not None), None)
    pieces = []
    for message, time in zip(messages, times, strict=True):
        at_ms = (time - start) * 1000 if time is not None and start is not None else None
        if message.get("type") == "send":
            pieces.append(Piece(b"", at_ms, sent=True))
        elif message.get("type") in ("receive", "message") and message.get("opcode") == 1:
            # A line a message, as captures of sockets have it; a line break can only be white space in the JSON.
            data = str(message.get("data", "")).replace("\r", " ").replace("\n", " ")
            pieces.append(Piece(data.encode("utf-8", "surrogatepass") + b"\n", at_ms))
    problem = None if pieces else "the connection has no text message"
    return HarStream(url, tuple(pieces), problem, duration_ms=_number(entry.get("time")))


def _polled(entries: list[Mapping[str, Any]]) -> list[HarStream]:
    """Connections that never left polling, each by its session id."""
    pieces: dict[tuple[str, str], list[Piece]] = {}
    for entry in entries:
        try:
            url = urlsplit(str(_at(entry, "request", "url") or ""))
        except ValueError:
            continue
        query = dict(parse_qsl(url.query))
        text = _at(entry, "response", "content", "text")
        if query.get("transport") != "polling" or "sid" not in query:
            continue
        kept = pieces.setdefault((f"{url.scheme}://{url.netloc}{url.path}", query["sid"]), [])
        if _at(entry, "request", "method") == "POST":
            kept.append(Piece(b"", sent=True))
        elif isinstance(text, str):
            kept.append(Piece(text.encode("utf-8", "surrogatepass") + b"\n"))
    return [HarStream(url, tuple(kept)) for (url, _), kept in pieces.items()]


def _ttfb(entry: Mapping[str, Any]) -> float | None:
    """From the start of the entry to the first byte: the parts that HAR sums up; -1 stands for one that was not."""
    timings = entry.get("timings")
    if not isinstance(timings, dict) or _number(timings.get("wait")) is None:
        return None
    parts = [_number(timings.get(name)) for name in ("blocked", "dns", "connect", "send", "wait")]
    return sum(part for part in parts if part is not None and part > 0)


def _mime_type(entry: Mapping[str, Any]) -> str:
    return str(_at(entry, "response", "content", "mimeType") or "").partition(";")[0].strip().lower()


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _number(value: Any) -> float | None:
    """A number that a time can be; a whole number may have more digits than fit, and Python's JSON knows infinity."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) < MAX_NUMBER:
        return None
    return float(value)


def _mappings(entries: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
