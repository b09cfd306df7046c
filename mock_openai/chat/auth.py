"""Who is asking: a bearer token, a session cookie, or for sockets a query parameter."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from aiohttp import web

SEEDED_USERS = {"alice": "alice-token", "bob": "bob-token"}
COOKIE = "session_token"


class Users:
    """The user table: names by their tokens."""

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self._tokens = dict(tokens)

    def of_token(self, token: str) -> str | None:
        """The user's name, or None; every entry is compared in constant time."""
        found = None
        for name, known in self._tokens.items():
            if secrets.compare_digest(known.encode(), token.encode()):
                found = name
        return found

    def of_request(self, request: web.Request) -> str | None:
        """The user of an HTTP request, by bearer token or cookie."""
        header = request.headers.get("authorization", "")
        token = header.removeprefix("Bearer ").strip() if header else request.cookies.get(COOKIE, "")
        return self.of_token(token) if token else None


def parse_user(text: str) -> tuple[str, str]:
    """`name:token` of the command line. Raises ValueError with the remedy."""
    name, colon, token = text.partition(":")
    if not (name and colon and token):
        raise ValueError(f"{text!r} is not a user: write name:token")
    return name, token
