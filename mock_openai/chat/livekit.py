"""Access tokens for LiveKit rooms: JSON Web Tokens (RFC 7519) signed with HMAC-SHA256."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mock_openai.chat.clock import now

LIFETIME_S = 6 * 3600


@dataclass(frozen=True, slots=True)
class LiveKit:
    """A LiveKit server's credentials. `url` is what clients connect to, where it is known."""

    api_key: str
    api_secret: str
    url: str | None = None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> LiveKit | None:
        """LIVEKIT_API_KEY and LIVEKIT_API_SECRET, and perhaps LIVEKIT_URL; None where one of the first is not set."""
        key, secret = environ.get("LIVEKIT_API_KEY"), environ.get("LIVEKIT_API_SECRET")
        return cls(key, secret, environ.get("LIVEKIT_URL")) if key and secret else None

    def token(self, *, room: str, identity: str, name: str) -> str:
        """A token that lets `identity`, shown as `name`, join `room`."""
        issued = int(now().timestamp())
        claims = {
            "iss": self.api_key,
            "sub": identity,
            "name": name,
            "nbf": issued,
            "exp": issued + LIFETIME_S,
            "video": {"roomJoin": True, "room": room, "canPublish": True, "canSubscribe": True},
        }
        signed = f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part(claims)}"
        signature = hmac.new(self.api_secret.encode(), signed.encode(), hashlib.sha256).digest()
        return f"{signed}.{_base64url(signature)}"


def _part(value: dict[str, Any]) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
