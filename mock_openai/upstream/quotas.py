"""Rate limits as the real service enforces them: the allowance refills evenly over the window."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

NS_PER_S = 1_000_000_000
MAX_KEYS = 10_000

# What the real service allows an ordinary account; so many that nobody runs into them unasked.
DEFAULT_REQUESTS = 10_000
DEFAULT_TOKENS = 30_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """So many requests and tokens in each window; None: no limit, and the headers show the usual ones."""

    requests: int | None = None
    tokens: int | None = None
    window_ns: int = 60 * NS_PER_S


@dataclass(slots=True)
class _Used:
    """What one key has used, at a moment."""

    requests: float
    tokens: float
    at_ns: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request is let in, and what its headers tell. `retry_ns`: when to come again; 0 when let in."""

    headers: dict[str, str]
    retry_ns: int = 0
    limit: str = "requests"
    used: int = 0
    allowed: int = 0


class Quotas:
    """What each key has used of its limits. The keys longest out of use are forgotten."""

    def __init__(self) -> None:
        self._used: OrderedDict[str, _Used] = OrderedDict()

    def ask(self, key: str, limits: Limits, tokens: int, now_ns: int) -> Verdict:
        """Count one request of `tokens` for `key`, unless it goes over the limits."""
        used = self._used.pop(key, None) or _Used(0, 0, now_ns)
        self._used[key] = used
        if len(self._used) > MAX_KEYS:
            self._used.popitem(last=False)
        requests_max = limits.requests or DEFAULT_REQUESTS
        tokens_max = limits.tokens or DEFAULT_TOKENS
        # A single request that is larger than the whole limit is let in when nothing else is used.
        tokens = min(tokens, tokens_max)
        share = (now_ns - used.at_ns) / limits.window_ns
        used.requests = max(0.0, used.requests - share * requests_max)
        used.tokens = max(0.0, used.tokens - share * tokens_max)
        used.at_ns = now_ns
        over = {
            "requests": (used.requests + 1 - requests_max) / requests_max if limits.requests else 0.0,
            "tokens": (used.tokens + tokens - tokens_max) / tokens_max if limits.tokens else 0.0,
        }
        limit = max(over, key=lambda name: over[name])
        retry_ns = max(0, round(over[limit] * limits.window_ns))
        if retry_ns == 0:
            # Without a limit only this request shows: however many there were, there is room for more.
            used.requests = used.requests + 1 if limits.requests else 1
            used.tokens = used.tokens + tokens if limits.tokens else min(tokens, tokens_max // 2)
        headers = {
            "x-ratelimit-limit-requests": str(requests_max),
            "x-ratelimit-limit-tokens": str(tokens_max),
            "x-ratelimit-remaining-requests": str(max(0, int(requests_max - used.requests))),
            "x-ratelimit-remaining-tokens": str(max(0, int(tokens_max - used.tokens))),
            "x-ratelimit-reset-requests": duration(round(used.requests / requests_max * limits.window_ns)),
            "x-ratelimit-reset-tokens": duration(round(used.tokens / tokens_max * limits.window_ns)),
        }
        counted = {"requests": (used.requests, requests_max), "tokens": (used.tokens, tokens_max)}[limit]
        return Verdict(headers, retry_ns, limit, math.ceil(counted[0]), counted[1])


def duration(ns: int) -> str:
    """A duration as the real headers write it: `8.64s`, `6m0s`, `12ms`."""
    if ns < NS_PER_S:
        return f"{max(0, ns) // 1_000_000}ms"
    minutes, rest = divmod(ns, 60 * NS_PER_S)
    seconds = f"{rest / NS_PER_S:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{minutes}m{seconds}" if minutes else seconds
