"""What must never be written or printed: values from the environment, and credentials.

A server may echo a secret in any notation, and an excerpt may begin or end in the middle of it. So a secret is known
in every usual encoding, and a part of one is hidden as well.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

SECRET_HEADERS = ("authorization", "proxy-authorization", "cookie", "x-api-key", "api-key")
MIN_CHARS = 4  # a shorter value would be found everywhere, and hides nothing
MASK = "***"

# A part is looked for by pieces of PIECE_CHARS; it is hidden where it is long, or stands where a text was cut.
PIECE_CHARS = 6
MIN_PART_CHARS = 2 * PIECE_CHARS - 1
MAX_EXCERPT_CHARS = 4096  # no excerpt of ours is longer; a longer text was not cut
_CUT_MARKS = "…\"'`).,;: \n"


class Secrets:
    """The secret values of a run. Calling it replaces them in a text, however they are escaped or cut there."""

    def __init__(self) -> None:
        self.given: list[tuple[str, str]] = []  # what was added: a value, and what is shown instead
        self._names: dict[str, str] = {}
        self._longest_first: list[tuple[str, str]] = []
        self._pieces: dict[str, list[tuple[str, int, str]]] = {}  # of secrets: each, the piece's place, what to show

    def add(self, value: str, shown: str = MASK) -> None:
        """From now on `shown` stands for `value`; for what came from the environment, its `${NAME}`."""
        if len(value) < MIN_CHARS:
            return
        self.given.append((value, shown))
        for variant in _encodings(value):
            if len(variant) >= MIN_CHARS:
                self._names.setdefault(variant, shown)
        self._longest_first = sorted(self._names.items(), key=lambda item: -len(item[0]))
        self._pieces = {}
        for secret, name in self._longest_first:
            if len(secret) > PIECE_CHARS:
                last = len(secret) - PIECE_CHARS
                for at in (*range(0, last, PIECE_CHARS), last):
                    self._pieces.setdefault(secret[at : at + PIECE_CHARS], []).append((secret, at, name))

    def __call__(self, text: str) -> str:
        """The text with each secret, whole or cut, replaced by its name."""
        for value, shown in self._longest_first:
            if value in text:
                text = text.replace(value, shown)
        return self._without_parts(text) if self._pieces and len(text) <= MAX_EXCERPT_CHARS else text

    def _without_parts(self, text: str) -> str:
        at = 0
        while at <= len(text) - PIECE_CHARS:
            known = self._pieces.get(text[at : at + PIECE_CHARS])
            if known is not None:
                parts = [(*_extended(text, at, secret, place), shown) for secret, place, shown in known]
                start, end, shown = max(parts, key=lambda part: part[1] - part[0])
                was_cut = not text[:start].strip(_CUT_MARKS) or not text[end:].strip(_CUT_MARKS)
                if end - start >= MIN_PART_CHARS or was_cut:
                    text = text[:start] + shown + text[end:]
                    at = start + len(shown)
                    continue
            at += 1
        return text


def _extended(text: str, at: int, secret: str, place: int) -> tuple[int, int]:
    """From where to where `text` is a part of `secret`; at `at` it is the piece that stands at `place` of it."""
    start, end = at, at + PIECE_CHARS
    while start > 0 and place - (at - start) > 0 and text[start - 1] == secret[place - (at - start) - 1]:
        start -= 1
    while end < len(text) and place + end - at < len(secret) and text[end] == secret[place + end - at]:
        end += 1
    return start, end


def _encodings(value: str) -> set[str]:
    """The notations in which a server, a proxy or a log may give a value back."""
    once = {
        value,
        html.escape(value),
        value.replace("/", "\\/"),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        *_quoted(value),
    }
    twice = {json.dumps(text)[1:-1] for text in once} | {html.escape(text) for text in once}
    return once | twice | _quoted(quote(value, safe="")) | set(_in_bytes(value.encode("utf-8", "replace")))


def _quoted(value: str) -> set[str]:
    quoted = {quote(value, safe="", errors="replace"), quote(value, errors="replace")}
    quoted.add(quote_plus(value, errors="replace"))
    return quoted | {_with_small_hex(text) for text in quoted}


def _with_small_hex(quoted: str) -> str:
    """Percent-encoded with small letters, as some servers write it."""
    first, *rest = quoted.split("%")
    return "".join([first, *(f"%{part[:2].lower()}{part[2:]}" for part in rest)])


def _in_bytes(data: bytes) -> Iterator[str]:
    """Hexadecimal, and base64 at each of the three places that the value can have in what was encoded."""
    yield data.hex()
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + data).decode().rstrip("=")
        # A first or last character that also depends on the neighbours says nothing.
        start = -(-before * 8 // 6)
        end = (before + len(data)) * 8 // 6
        whole = encoded[start:end]
        yield whole
        yield whole.replace("+", "-").replace("/", "_")
