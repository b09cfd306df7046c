"""The requests in a dialect file: the one for a prompt, and those of its setup."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from streambench.dialects.templates import RequestTemplate, SetupStep
from streambench.located import Located
from streambench.paths import compile_path
from streambench.units import parse_duration_ns
from streambench.wire.framings import FRAMINGS

HTTP_KEYS = ("method", "headers", "json", "body")
STEP_KEYS = (*HTTP_KEYS, "path", "send", "emit", "await", "if", "within", "capture")


def read_setup_step(item: Located, transport: str, events: Iterable[str]) -> SetupStep:
    """One step of a `setup` list, of a dialect file or of a scenario's target.

    `events` are the events that a step on a socket may wait for. Raises ConfigurationError.
    """
    keys = item.mapping("a setup step", STEP_KEYS)
    capture = _captures(keys.get("capture"))
    wait_for, only_after = (_event(keys.get(key), key, events) for key in ("await", "if"))
    if "path" in keys:
        for key in ("send", "emit", "await", "if"):
            if key in keys:
                raise item.key_error(key, f"{key!r} is for sockets, but 'path' makes this step an HTTP request")
        path = keys["path"].string("'path'")
        request = read_http_request(keys, path, "POST" if "json" in keys or "body" in keys else "GET", None)
        return SetupStep(request, is_http=True, capture=capture)
    if not FRAMINGS[transport].is_socket:
        raise item.error("a setup step of this transport is an HTTP request: it needs 'path'")
    wrong = "emit" if FRAMINGS[transport].says == "send" else "send"
    if wrong in keys:
        raise item.key_error(wrong, f"{wrong!r} is not for {transport}")
    if not any(key in keys for key in ("send", "emit", "await")):
        raise item.error("a setup step sends something (send, emit), waits for an event (await), or both")
    if capture and wait_for is None:
        raise item.error("this step captures from an event, so it needs 'await', the name of the event")
    request = RequestTemplate(send=read_messages(keys.get("send")), emit=read_emit(keys.get("emit")))
    within_ns = _within_ns(item, keys)
    return SetupStep(request, False, wait_for, only_after, within_ns, capture)


def _event(node: Located | None, key: str, events: Iterable[str]) -> str | None:
    if node is None:
        return None
    name = node.string(f"{key!r}")
    if name not in events:
        raise node.error(f"there is no event {name!r}.", text=name, valid=events)
    return name


def _within_ns(step: Located, keys: Mapping[str, Located]) -> int:
    """How long a step waits to see whether there is anything to wait for."""
    if "if" not in keys:
        if "within" in keys:
            raise step.key_error("within", "'within' says how long to look for the event of 'if', which is missing")
        return 0
    if "await" not in keys or "within" not in keys:
        missing = "await" if "await" not in keys else "within"
        raise step.key_error("if", f"'if' needs {missing!r}: {{if: begun, within: 300ms, await: ended}}")
    node = keys["within"]
    text = node.string("'within'")
    try:
        return parse_duration_ns(text)
    except ValueError as error:
        raise node.error(f"'within': {error}", text=text) from None


def read_http_request(
    keys: Mapping[str, Located], path: str, default_method: str, accept: str | None
) -> RequestTemplate:
    """The request that `method`, `headers` and `json` or `body` describe. Raises a located ConfigurationError."""
    if "json" in keys and "body" in keys:
        raise keys["body"].error("a request has either 'json' or 'body'")
    headers = read_headers(keys.get("headers"))
    given = {name.lower() for name in headers}
    if accept is not None and "accept" not in given:
        headers["Accept"] = accept
    if "json" in keys and "content-type" not in given:
        headers["Content-Type"] = "application/json"
    return RequestTemplate(
        method=keys["method"].string("'method'").upper() if "method" in keys else default_method,
        path=path,
        headers=headers,
        json=keys["json"].plain() if "json" in keys else None,
        text_body=keys["body"].string("'body'") if "body" in keys else None,
    )


def read_headers(node: Located | None) -> dict[str, str]:
    """Header names and their values, which may hold placeholders."""
    if node is None:
        return {}
    return {name: item.string(f"the header {name!r}") for name, item in node.mapping("'headers'").items()}


def read_messages(node: Located | None) -> tuple[Any, ...]:
    """What to send on a WebSocket: one message or a list of them, each a text or JSON."""
    if node is None:
        return ()
    value = node.plain()
    return tuple(value) if isinstance(value, list) else (value,)


def read_emit(node: Located | None) -> tuple[str, tuple[Any, ...]] | None:
    """What to emit on Socket.IO: `[event, argument, …]`."""
    if node is None:
        return None
    items = node.sequence("'emit'")
    if not items:
        raise node.error("'emit' needs the name of the event: write [event, argument, …]")
    return items[0].string("the event to emit"), tuple(item.plain() for item in items[1:])


def _captures(node: Located | None) -> dict[str, str]:
    if node is None:
        return {}
    captures: dict[str, str] = {}
    for name, item in node.mapping("'capture'").items():
        path = item.string(f"the path of {name!r}")
        try:
            compile_path(path)
        except ValueError as error:
            raise item.error(str(error), text=path) from None
        captures[name] = path
    return captures
