"""Authentication: a bearer token, a session cookie, or for sockets a query parameter."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from aiohttp import web

SEEDED_USERS = {"alice": "alice-token", "bob": "bob-token"}
COOKIE = "session_token"
GUEST = "guest"


class Users:
    """The user table: names by their tokens. Who brings no token is `guest`, where there is one."""

    def __init__(self, tokens: Mapping[str, str], guest: str | None = None) -> None:
        self._tokens = dict(tokens)
        self._guest = guest

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
        cookie = request.cookies.get(COOKIE)
        return self.of_token(cookie) if cookie is not None else self._guest

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
