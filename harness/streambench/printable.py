r"""Makes untrusted text safe to show: characters that would act on a terminal, a page or a log are escaped.

Control characters (a terminal obeys them: ESC, BEL, the C1 set), marks that turn the direction of writing (what is read
is not what stands there), line breaks and halves of a character become `\x1b`, `\u202e` and the like.
"""

from __future__ import annotations

import re
from typing import Any

_ACTS = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL and C1
    "\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # direction, and unseen
    "\ud800-\udfff\U000e0000-\U000e007f]"  # halves, and tags
)
_ACTS_IN_LINES = re.compile(_ACTS.pattern.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))


def printable(text: str) -> str:
    """One line that shows all of `text`."""
    # Nearly every text is printable as it is, and that is quickly said.
    return text if text.isprintable() else _ACTS.sub(_escaped, text)


def printable_lines(text: str) -> str:
    """The same for a text of our own in which others are quoted: its line breaks and tabs stay."""
    return _ACTS_IN_LINES.sub(_escaped, text)


def printable_json(document: str) -> str:
    """A JSON document with the escapes of JSON in such places, so that it says the same when it is read."""
    return _ACTS_IN_LINES.sub(lambda match: _as_json(match[0]), document)


def printable_values(value: Any) -> Any:
    """A decoded JSON value, each text and each key in it printable."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [printable_values(item) for item in value]
    if isinstance(value, dict):
        return {printable(key) if isinstance(key, str) else key: printable_values(item) for key, item in value.items()}
    return value


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _as_json(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
