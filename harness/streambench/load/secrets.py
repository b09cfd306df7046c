"""What must never be written or printed: values that came from the environment, and credentials."""

from __future__ import annotations

import html
import json
from urllib.parse import quote, quote_plus

SECRET_HEADERS = ("authorization", "proxy-authorization", "cookie", "x-api-key", "api-key")
MIN_CHARS = 4  # a shorter value would be found everywhere, and hides nothing
MASK = "***"


class Secrets:
    """The secret values of a run. Calling it replaces them in a text, however they are escaped there."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._longest_first: list[tuple[str, str]] = []

    def add(self, value: str, shown: str = MASK) -> None:
        """From now on `shown` stands for `value`; for what came from the environment, its `${NAME}`."""
        if len(value) < MIN_CHARS:
            return
        variants = {value, html.escape(value), json.dumps(value)[1:-1], quote(value, safe=""), quote_plus(value)}
        for variant in variants:
            self._names.setdefault(variant, shown)
        self._longest_first = sorted(self._names.items(), key=lambda item: -len(item[0]))

    def __call__(self, text: str) -> str:
        for value, shown in self._longest_first:
            if value in text:
                text = text.replace(value, shown)
        return text
