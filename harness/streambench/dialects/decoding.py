"""The payload of a message as JSON data.

orjson reads what is plain JSON, three times as fast; what it refuses is read again by the standard library, which also
takes escapes of half a character, as JavaScript does, and says better what is wrong.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

from streambench.wire.json_text import MAX_VALUES, has_too_many_values
from streambench.wire.message import WireMessage


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def decode_data(message: WireMessage) -> tuple[Any, str | None]:
    """The decoded data of a message, and in words what is wrong with it, or None.

    The data of a Socket.IO event is its only argument, or the list of its arguments.
    """
    if message.args is not None:
        return (message.args[0] if len(message.args) == 1 else message.args), None
    if message.binary is not None:
        return None, f"a binary message of {len(message.binary)} bytes"
    if len(message.data) > MAX_VALUES and has_too_many_values(message.data):
        return None, f"it holds more than {MAX_VALUES:,} values, which is more than is read"
    try:
        return orjson.loads(message.data), None
    except ValueError:
        return _decode_strange(message.data)


def plain_data(message: WireMessage) -> tuple[Any, str | None]:
    """The same for a protocol whose data is text: the text itself, or a Socket.IO event's arguments."""
    if message.args is not None or message.binary is not None:
        return decode_data(message)
    return message.data, None


def _decode_strange(text: str) -> tuple[Any, str | None]:
    """What orjson refuses: the value all the same, or in words what is wrong with it."""
    try:
        return _DECODER.decode(text), None
    except RecursionError:
        return None, "nested too deep"
    except ValueError as error:
        return None, str(error)
