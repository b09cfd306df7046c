"""What the systems share: settings, users, the store, the providers, and the counters of what went wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

from aiohttp import web

from mock_openai.chat.auth import GUEST, SEEDED_USERS, Users
from mock_openai.chat.figures import Figures
from mock_openai.chat.gemini import GeminiProvider
from mock_openai.chat.limits import HISTORY_MESSAGES, Caps, RateLimit, error
from mock_openai.chat.livekit import LiveKit
from mock_openai.chat.modes import MODES
from mock_openai.chat.provider import DEFAULT_MODEL, InOnePiece, OpenAIProvider, Provider
from mock_openai.chat.reply import Question, Reply, ToolCallsSeen
from mock_openai.chat.sse import EventStream
from mock_openai.chat.store import Message, Store, StoreError
from mock_openai.hosts import KnownHosts

log = logging.getLogger(__name__)

DEFAULT_MODE = "real"
TOO_MANY = "Too many requests. Please slow down."

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """What the chat server is started with.

    `upstream` is the OpenAI service's URL without /v1; `gemini_upstream` None: the same, as for the fake one.
    `rate_limit_per_s` None: no limit. `cors_origins`: pages that may use it beside its own, `*` for all. `clearances`:
    what users may read of stored documents, where it is not the default. `open`: as in development, every page may use
    it and nobody has to sign in. `resume_s`: how long a reply goes on whose client may come back. `heartbeat_s`: how
    often sockets are pinged; None: as each system has it. `hosts`: the names that requests may be for.
    """

    upstream: str
    api_key: str = "sk-mock"
    model: str = DEFAULT_MODEL
    gemini_upstream: str | None = None
    gemini_api_key: str = "mock"
    streaming: str = DEFAULT_MODE
    db: str = ":memory:"
    users: dict[str, str] = field(default_factory=dict)
    clearances: dict[str, str] = field(default_factory=dict)
    rate_limit_per_s: float | None = None
    cors_origins: tuple[str, ...] = ()
    open: bool = False
    hosts: KnownHosts = field(default_factory=lambda: KnownHosts("127.0.0.1"))
    caps: Caps = field(default_factory=Caps)
    resume_s: float = 0.0
    heartbeat_s: float | None = None
    livekit: LiveKit | None = None
    defects: frozenset[str] = frozenset()


class ChatServer:
    """The shared parts of one running server."""

    def __init__(self, settings: ChatSettings) -> None:
        self.settings = settings
        self.users = self.open_users()
        self.store = self.open_store()
        self.openai = OpenAIProvider(f"{settings.upstream.rstrip('/')}/v1", settings.api_key, settings.model)
        self.gemini = GeminiProvider(settings.gemini_upstream or settings.upstream, settings.gemini_api_key)
        self.rate_limit = RateLimit(settings.rate_limit_per_s)
        self.figures = Figures()
        self.reply_type = Reply

    def open_users(self) -> Users:
        """The seeded users, and those of the settings."""
        return Users({**SEEDED_USERS, **self.settings.users}, GUEST if self.settings.open else None)

    def open_store(self) -> Store:
        """Raises StoreError."""
        return Store(self.settings.db)

    @property
    def in_turn(self) -> tuple[Provider, ...]:
        """The providers for who falls back: OpenAI's stream, Gemini's, and at last a reply in one piece."""
        return self.openai, self.gemini, InOnePiece(self.openai)

    def user_of(self, request: web.Request) -> str | web.Response:
        """The user of a request, or the refusal of somebody unknown."""
        user = self.users.of_request(request)
        return user if user is not None else error(401, "Sign in first.", **{"www-authenticate": "Bearer"})

    def admit(self, request: web.Request) -> str | web.Response:
        """The user of a request, or the refusal: nobody known (401), or too many requests (429)."""
        user = self.user_of(request)
        if isinstance(user, web.Response):
            return user
        wait_s = self.rate_limit.wait_s(user)
        if wait_s > 0:
            return error(429, TOO_MANY, **{"retry-after": f"{max(1, round(wait_s))}"})
        return user

    async def start_events(
        self, request: web.Request, *, status: int = 200, headers: Mapping[str, str] = MappingProxyType({})
    ) -> EventStream:
        """Begin an event stream. Raises ConnectionResetError when the client is gone."""
        return await EventStream.start(request, status=status, headers=headers)

    def mode_of(self, request: web.Request) -> str | web.Response:
        """The streaming mode of a request, or the refusal of an unknown one."""
        mode = request.query.get("streaming", self.settings.streaming)
        if mode not in MODES:
            return error(400, f"`streaming` is one of {', '.join(MODES)}.")
        return mode

    def reply(
        self,
        question: Question,
        *,
        providers: Sequence[Provider] | None = None,
        on_tool_calls: ToolCallsSeen | None = None,
    ) -> Reply:
        """A reply that has not begun yet, from OpenAI unless `providers` are given."""
        return self.reply_type(
            question,
            providers or (self.openai,),
            caps=self.settings.caps,
            figures=self.figures,
            keep=self.keep,
            on_tool_calls=on_tool_calls,
        )

    def keep(self, question: Question, text: str, *, interrupted: bool) -> Message | None:
        """Store what was replied; None where nothing is to be stored, or the store failed."""
        if question.conversation is None or not text:
            return None
        owner, conversation_id = question.conversation
        return self.survive(
            lambda: self.store.add_message(
                owner,
                conversation_id,
                "assistant",
                text,
                interrupted=interrupted,
                message_id=question.message_id,
            )
        )

    def history(self, owner: str, conversation_id: str) -> list[dict[str, str]]:
        """The last messages of a conversation, oldest first, as the upstream wants them."""
        last = self.survive(lambda: self.store.last_messages(owner, conversation_id, HISTORY_MESSAGES)) or []
        return [{"role": message.role, "content": message.content} for message in last]

    def remember(self, owner: str, conversation_id: str, text: str) -> Message | None:
        """Store what the user said; None where the store failed."""
        return self.survive(lambda: self.store.add_message(owner, conversation_id, "user", text))

    def is_missing(self, owner: str, conversation_id: str) -> bool:
        """Whether there is no such conversation of this owner. While the store fails, nobody is turned away."""
        return self.survive(lambda: [self.store.conversation(owner, conversation_id)]) == [None]

    def survive(self, action: Callable[[], T]) -> T | None:
        """The result of a store action, or None where the store failed: a failing store never ends a stream."""
        try:
            return action()
        except StoreError as failure:
            self.figures.counters["store_failures"] += 1
            log.warning("the store failed, the stream goes on: %s", failure)
            return None

    async def close(self) -> None:
        """Close the connections to the providers, and the store."""
        await self.openai.close()
        await self.gemini.close()
        self.store.close()
