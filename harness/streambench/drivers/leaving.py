"""Users who leave before their reply is complete, as a closed tab does."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

_DRAWS = 1 << 64


@dataclass(frozen=True, slots=True)
class Leave:
    """When a user leaves: after so many `chunks` of text, `after_ns` after the request, or at a `milestone` of its
    target; exactly one is given.

    `probability` is the share of the streams that are left so; `seed` decides which ones, the same in every run.
    """

    chunks: int | None = None
    after_ns: int | None = None
    milestone: str | None = None
    probability: float = 1.0
    seed: int = 0

    def concerns(self, stream_id: str) -> bool:
        """Whether this stream is one of those."""
        if self.probability >= 1:
            return True
        digest = hashlib.sha256(f"{self.seed}/{stream_id}".encode()).digest()
        return int.from_bytes(digest[:8]) < self.probability * _DRAWS
