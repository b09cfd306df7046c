"""What a case is: a requirement, what it needs, and a function that tests it."""

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
    SOCKET = "a target that uses WebSocket or Socket.IO"
    WEBSOCKET = "a target that uses WebSocket"
    SOCKET_IO = "a target that uses Socket.IO"
    TEXT_BODY = "prompts sent as text: an HTTP body or a WebSocket message"
    STATUS = "refusals with an HTTP status: of a request or a WebSocket handshake"
    TWO_SIDED = "the fake upstream behind the target: serve it, or give its address (`upstream: URL`)"
    AUTH = "a target with authentication: `auth: true` in its profile, and a token in its headers"
    SECOND_USER = "a second user: `second_user` in the target's profile"
    STORED = "stored conversations that can be read: `conversation` in the target's profile"
    CONVERSATIONS = "conversations that can be created, continued and read: `conversation` in the target's profile"
    CLIENT_HISTORY = "a request that contains the conversation: a list of messages, the last with the prompt"
    HISTORY_BOUND = "a limit on the history that the model gets: `history_messages` in the target's profile"
    ROOMS = "rooms whose members receive each other's replies: `rooms` in the target's profile"
    ROOM_CHANGES = "rooms that a connection can join and leave: `rooms.join`, `rooms.leave` in the target's profile"
    ROOM_NEWS = "notifications of who joins and leaves: `rooms.joined`, `rooms.left` in the target's profile"
    CLOSED_ROOMS = "rooms with restricted access: `rooms.closed: true` in the target's profile"
    PARTIAL_MARK = "a flag on partial replies: `conversation.read.partial` in the target's profile"
    JSON_PROMPT = "a request whose body is JSON with the prompt in it"
    REFUSES_EMPTY = "a target that refuses empty messages: `refuses_empty: true` in its profile"
    MAX_CHARS = "a maximum message length: `max_chars` in the target's profile"
    MAX_BODY = "a maximum body size: `max_body` in the target's profile"
    IDLE_CAP = "a timeout for a silent upstream: `idle_s` in the target's profile"
    HEARTBEAT = "a heartbeat interval: `heartbeat_s` in the target's profile"
    HEALTH = "a route that reports the number of open streams: `health` in the target's profile"
    FALLBACK = "a second provider: `fallback: true` in the target's profile"
    MODEL = "a request that can choose the model: `model` in the target's profile"
    PARAMS = "the parameters of requests to the model: `params` in the target's profile"
    USER_IN_PATH = "a route with the user's name in it: `user_in_path` in the target's profile"
    INTERRUPT = "a message that stops a reply: `interrupt` in the target's profile"
    RATE_LIMIT = "a rate limit per user: `rate_limit` in the target's profile"


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
