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
            if secrets.compare_digest(known.encode(), token.encode("utf-8", "surrogateescape")):
                found = name
        return found

    def of_request(self, request: web.Request) -> str | None:
        """The user of an HTTP request, by bearer token or cookie."""
        header = request.headers.get("authorization")
        if header is not None:
            scheme, _, token = header.partition(" ")
            return self.of_token(token.strip()) if scheme.lower() == "bearer" else None
        return self.of_token(request.cookies.get(COOKIE, ""))

    def of_handshake(self, request: web.Request) -> str | None:
        """The user of a socket: browsers cannot set headers on one, so `?token=` will do as well."""
        token = request.query.get("token")
        return self.of_token(token) if token is not None else self.of_request(request)

    def __contains__(self, name: object) -> bool:
        return name in self._tokens


def parse_user(text: str) -> tuple[str, str]:
    """`name:token` of the command line. Raises ValueError with the remedy."""
    name, colon, token = text.partition(":")
    if not (name and colon and token):
        raise ValueError(f"{text!r} is not a user: write name:token")
    return name, token
