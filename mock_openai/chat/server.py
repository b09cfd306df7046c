"""What the systems share: settings, users, the store, the provider, and the counters of what went wrong."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TypeVar

from aiohttp import web

from mock_openai.chat.auth import SEEDED_USERS, Users
from mock_openai.chat.limits import HISTORY_MESSAGES, Caps, RateLimit, error, within_caps
from mock_openai.chat.modes import MODES
from mock_openai.chat.provider import DEFAULT_MODEL, OpenAIProvider
from mock_openai.chat.store import Store, StoreError

log = logging.getLogger(__name__)

DEFAULT_MODE = "real"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """What the chat server is started with. `rate_limit_per_s` None: no limit."""

    upstream: str
    api_key: str = "sk-mock"
    model: str = DEFAULT_MODEL
    streaming: str = DEFAULT_MODE
    db: str = ":memory:"
    users: dict[str, str] = field(default_factory=dict)
    rate_limit_per_s: float | None = None
    cors_origin: str | None = None
    caps: Caps = field(default_factory=Caps)


class ChatServer:
    """The shared parts of one running server."""

    def __init__(self, settings: ChatSettings) -> None:
        self.settings = settings
        self.users = Users({**SEEDED_USERS, **settings.users})
        self.store = Store(settings.db)
        self.provider = OpenAIProvider(f"{settings.upstream.rstrip('/')}/v1", settings.api_key)
        self.rate_limit = RateLimit(settings.rate_limit_per_s)
        self.counters: Counter[str] = Counter()

    def admit(self, request: web.Request) -> str | web.Response:
        """The user of a request, or the refusal: nobody known (401), or too many requests (429)."""
        user = self.users.of_request(request)
        if user is None:
            return error(401, "Sign in first.", **{"www-authenticate": "Bearer"})
        wait_s = self.rate_limit.wait_s(user)
        if wait_s > 0:
            return error(429, "Too many requests. Please slow down.", **{"retry-after": f"{max(1, round(wait_s))}"})
        return user

    def mode_of(self, request: web.Request) -> str | web.Response:
        """The streaming mode of a request, or the refusal of an unknown one."""
        mode = request.query.get("streaming", self.settings.streaming)
        if mode not in MODES:
            return error(400, f"`streaming` is one of {', '.join(MODES)}.")
        return mode

    async def reply(
        self, messages: Sequence[dict[str, str]], *, mode: str, model: str | None
    ) -> AsyncGenerator[str, None]:
        """The pieces of a reply in `mode`. Leaving early, also by cancellation, cancels the upstream request."""
        async with aclosing(self.provider.stream(messages, model or self.settings.model)) as upstream:
            capped = within_caps(upstream, self.settings.caps)
            async with aclosing(capped), aclosing(MODES[mode](capped)) as pieces:
                async for piece in pieces:
                    yield piece

    def history(self, user: str, conversation_id: str) -> list[dict[str, str]]:
        """The last messages of a conversation, oldest first, as the upstream wants them."""
        last = self.survive(lambda: self.store.last_messages(user, conversation_id, HISTORY_MESSAGES)) or []
        return [{"role": message.role, "content": message.content} for message in last]

    def survive(self, action: Callable[[], T]) -> T | None:
        """The result of a store action, or None where the store failed: a failing store never ends a stream."""
        try:
            return action()
        except StoreError as failure:
            self.counters["store_failures"] += 1
            log.warning("the store failed, the stream goes on: %s", failure)
            return None

    async def close(self) -> None:
        await self.provider.close()
        self.store.close()
