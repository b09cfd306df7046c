"""What a case is: a requirement, what it needs, and a function that puts it to the test."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Judge = Callable[[Any], Awaitable[None]]
"""Is given a `Trial`; raises Broken or Untestable."""


class Keyword(StrEnum):
    """How strictly a requirement is meant, in the words of RFC 2119."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    MAY = "MAY"


class Need(StrEnum):
    """What a case cannot do without; the value says what unlocks it."""

    EVENT_STREAM = "a target that answers over HTTP with an event stream"
    SOCKET = "a target on a WebSocket or Socket.IO"
    WEBSOCKET = "a target on a WebSocket"
    SOCKET_IO = "a target that speaks Socket.IO"
    TEXT_BODY = "questions that are sent as text: a body over HTTP, or a message on a WebSocket"
    STATUS = "refusals with an HTTP status: of a request, or of a WebSocket's handshake"
    TWO_SIDED = "the fake upstream behind the target: serve it, or name it (upstream: URL)"
    AUTH = "a target that asks who is there: `auth: true` in its profile, and a token in its headers"
    SECOND_USER = "a second user: `second_user` in the target's profile"
    STORED = "conversations that are stored and can be read: `conversation` in the target's profile"
    CONVERSATIONS = "conversations that can be made, continued and read: `conversation` in the target's profile"
    CLIENT_HISTORY = "a request that carries the conversation: a list of messages with the prompt in the last one"
    HISTORY_BOUND = "how many messages of a history the model gets: `history_messages` in the target's profile"
    ROOMS = "rooms whose members hear each other's replies: `rooms` in the target's profile"
    ROOM_CHANGES = "rooms that are joined and left on a connection: `rooms.join`, `rooms.leave` in the profile"
    ROOM_NEWS = "members that are told who comes and goes: `rooms.joined`, `rooms.left` in the target's profile"
    CLOSED_ROOMS = "rooms that not everybody may enter: `rooms.closed: true` in the target's profile"
    PARTIAL_MARK = "a mark on partial replies: `conversation.read.partial` in the target's profile"
    JSON_PROMPT = "a request whose body is JSON with the prompt in it"
    REFUSES_EMPTY = "a target that refuses empty messages: `refuses_empty: true` in its profile"
    MAX_CHARS = "the longest message that is allowed: `max_chars` in the target's profile"
    MAX_BODY = "the largest body that is allowed: `max_body` in the target's profile"
    IDLE_CAP = "how long the target waits for a silent upstream: `idle_s` in its profile"
    HEARTBEAT = "how often the target looks whether its clients are there: `heartbeat_s` in its profile"
    HEALTH = "a route that tells how many streams are open: `health` in the target's profile"
    FALLBACK = "a second provider: `fallback: true` in the target's profile"
    MODEL = "a request that can choose the model: `model` in the target's profile"
    PARAMS = "the parameters that the upstream should be asked with: `params` in the target's profile"
    USER_IN_PATH = "a route with the user's name in it: `user_in_path` in the target's profile"
    INTERRUPT = "a message that stops a reply: `interrupt` in the target's profile"
    RATE_LIMIT = "how many questions a user may ask: `rate_limit` in the target's profile"


class Verdict(StrEnum):
    """What came of a case. A broken MUST has failed, a broken SHOULD is a warning, a broken MAY is information."""

    PASSED = "passed"
    FAILED = "failed"
    WARNING = "warning"
    INFO = "info"
    FLAKY = "flaky"
    NOT_TESTABLE = "not testable"
    HARNESS_ERROR = "harness error"


BROKEN = {Keyword.MUST: Verdict.FAILED, Keyword.SHOULD: Verdict.WARNING, Keyword.MAY: Verdict.INFO}


@dataclass(frozen=True, slots=True)
class Case:
    """One requirement that can be tested by itself.

    `requirement` and `remedy` are one sentence each, `source` says who asks for it, with the section. `defect` is the
    mistake of the reference chat server that breaks it. `alone`: it disturbs others, or is disturbed by them.
    `patient`: it does little but wait, so nobody has to wait for it. `timed`: milliseconds decide it. `repeats`: what
    it looks for does not happen every time, so it has to hold so often.
    """

    id: str
    requirement: str
    keyword: Keyword
    source: str
    area: str
    needs: tuple[Need, ...]
    steps: str
    judgement: str
    remedy: str
    defect: str
    judge: Judge
    alone: bool = False
    patient: bool = False
    timed: bool = False
    repeats: int = 1


_cases: dict[str, Case] = {}


def case(
    case_id: str,
    keyword: Keyword,
    requirement: str,
    *,
    source: str,
    remedy: str,
    defect: str,
    needs: tuple[Need, ...] = (),
    alone: bool = False,
    patient: bool = False,
    timed: bool = False,
    repeats: int = 1,
) -> Callable[[Judge], Judge]:
    """Enter the decorated function as a case.

    The first paragraph of its docstring is the steps, the second one the judgement; its module is the area.
    """

    def enter(judge: Judge) -> Judge:
        steps, _, judgement = inspect.cleandoc(judge.__doc__ or "").partition("\n\n")
        area = judge.__module__.rpartition(".")[2]
        if case_id in _cases:
            raise ValueError(f"there is another case {case_id!r}")
        _cases[case_id] = Case(
            id=case_id,
            requirement=requirement,
            keyword=keyword,
            source=source,
            area=area,
            needs=needs,
            steps=" ".join(steps.split()),
            judgement=" ".join(judgement.split()),
            remedy=remedy,
            defect=defect,
            judge=judge,
            alone=alone,
            patient=patient,
            timed=timed,
            repeats=repeats,
        )
        return judge

    return enter


def entered_cases() -> tuple[Case, ...]:
    """The cases of all areas that have been imported, in the order in which they are written."""
    return tuple(_cases.values())


class Broken(Exception):
    """The requirement of a case does not hold: what was expected, what came, and where."""

    def __init__(self, message: str, *, expected: str = "", got: str = "", place: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.expected = expected
        self.got = got
        self.place = place


class Untestable(Exception):
    """A case found out that it cannot be decided here; `unlock` says what would make it decidable."""

    def __init__(self, reason: str, unlock: str) -> None:
        super().__init__(reason)
        self.unlock = unlock
