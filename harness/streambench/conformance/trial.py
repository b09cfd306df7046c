"""One try of a case: how it asks the target, and what it says when a requirement does not hold."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from streambench.conformance.case import Broken, Untestable
from streambench.conformance.exchange import Exchange, Manner, exchange
from streambench.conformance.reply import Listener, Reply
from streambench.conformance.subject import Subject, placed
from streambench.conformance.upstream import Upstream
from streambench.conformance.wire_log import WireLog
from streambench.findings import Finding
from streambench.paths import MISSING, compile_path

QUESTION = "Tell me about the sea."
SHORT_S = 10.0
MAX_EXCERPT = 200
Leave = Callable[[Reply], bool]
FIRST, SECOND, NOBODY = "first", "second", "nobody"


class Shared:
    """Replies that several cases judge, each asked for once."""

    def __init__(self) -> None:
        self._replies: dict[str, asyncio.Task[Reply]] = {}

    async def reply(self, name: str, ask: Callable[[], Awaitable[Reply]]) -> Reply:
        """The reply of that name, asked for where nobody has done it yet."""
        task = self._replies.get(name)
        if task is None:
            task = self._replies[name] = asyncio.ensure_future(ask())
        return await asyncio.shield(task)


@dataclass(slots=True)
class Trial:
    """What a case does and says. `exchanges` is all that went over the wire for it."""

    subject: Subject
    shared: Shared
    exchanges: list[Exchange] = field(default_factory=list)

    # Asking

    @property
    def upstream(self) -> Upstream:
        """The fake upstream, for cases that need it."""
        assert self.subject.upstream is not None
        return self.subject.upstream

    async def plain(self) -> Reply:
        """An ordinary reply, the same for all cases that look at one."""
        return await self._shared("plain", lambda: self.ask())

    async def planned(self, name: str, **order: Any) -> Reply:
        """An ordered reply, the same for all cases that name it."""
        return await self._shared(name, lambda: self.ask(plan=order))

    async def _shared(self, name: str, ask: Callable[[], Awaitable[Reply]]) -> Reply:
        reply = await self.shared.reply(name, ask)
        if reply.exchange not in self.exchanges:
            self.exchanges.append(reply.exchange)
        if not reply.is_stream and not reply.exchange.pieces:
            raise Broken("there was no reply to judge", got=describe(reply))
        return reply

    async def ask(
        self,
        prompt: str = QUESTION,
        *,
        plan: Mapping[str, Any] | None = None,
        conversation: str | None = None,
        user: str = FIRST,
        body: Any = None,
        headers: Mapping[str, str | None] | None = None,
        variables: Mapping[str, str] | None = None,
        leave: Leave | None = None,
        deadline_s: float | None = None,
        pause_s: float = 0.0,
        gone: asyncio.Event | None = None,
    ) -> Reply:
        """Ask the target something, and read its reply to the end.

        `plan` orders the upstream's reply. `body` is JSON in place of the dialect's. `leave` is asked after every
        piece whether the client leaves, and it leaves when `gone` is set. A client that reads nothing for `pause_s` is
        a slow reader.
        """
        mark = ""
        if self.subject.upstream is not None and plan is not None:
            mark = await self.upstream.plan(**plan)
            prompt = f"{prompt} [[sb:{mark}]]"
        values = {**self._user_variables(user), **(variables or {}), "prompt": prompt}
        values |= await self.conversation_variables(conversation, user)
        if body is None and conversation is not None:
            body = self.subject.profile.conversation.json if self.subject.profile.conversation else None
        elif body is not None:
            body = placed(body, {"prompt": prompt})
        method, url, sent_headers, content = self.subject.request(
            values, body=body, headers={**self._user_headers(user), **(headers or {})}
        )
        reply = Reply(Exchange(method, url, [], b"", WireLog()), mark=mark)
        listener = Listener(self.subject.dialect, reply)
        manner = Manner(
            deadline_s if deadline_s is not None else max(SHORT_S, self._slow_s),
            None if leave is None else lambda _: leave(reply),
            pause_s,
            gone,
        )
        done = await exchange(method, url, sent_headers, content, manner, listener.feed, self.subject.verify)
        reply.exchange = done
        self.exchanges.append(done)
        if done.status == 200:
            listener.finish(done.ending, done.ended_ns)
        else:
            reply.events.clear()
            reply.findings.clear()
        return reply

    async def send(
        self,
        method: str,
        url: str,
        *,
        user: str = FIRST,
        body: bytes = b"",
        headers: Mapping[str, str | None] | None = None,
    ) -> Reply:
        """Any request at all."""
        merged: dict[str, str | None] = {**self.subject.own_headers(), **self._user_headers(user)}
        merged |= {name.lower(): value for name, value in (headers or {}).items()}
        sent = [(name, value) for name, value in merged.items() if value is not None]
        done = await exchange(method, url, sent, body, Manner(SHORT_S), None, self.subject.verify)
        self.exchanges.append(done)
        return Reply(done)

    # Conversations

    async def new_conversation(self, user: str = FIRST) -> str:
        """The id of a conversation that has just been made."""
        known = self.subject.profile.conversation
        assert known is not None
        import json

        create = known.create
        answer = await self.send(
            create.get("method", "POST"),
            self.subject.url_at_root(placed(create["path"], self._user_variables(user))),
            user=user,
            body=json.dumps(create.get("json", {})).encode(),
            headers={"content-type": "application/json"},
        )
        found = compile_path(create["capture"])(answer.json())
        if found is MISSING or found is None:
            raise Broken(
                "no conversation can be made", expected=f"{create['capture']} in the answer", got=describe(answer)
            )
        return str(found)

    async def messages(self, conversation: str, user: str = FIRST) -> list[dict[str, Any]]:
        """The messages of a conversation as the target shows them: role, content, partial."""
        answer = await self.read_conversation(conversation, user)
        known = self.subject.profile.conversation
        assert known is not None
        read = known.read
        found = compile_path(read["messages"])(answer.json())
        if answer.status != 200 or not isinstance(found, list):
            raise Broken("the conversation cannot be read", expected="its messages", got=describe(answer))
        return [
            {
                "role": item.get(read.get("role", "role")),
                "content": item.get(read.get("content", "content")),
                "partial": item.get(read.get("partial", "")),
            }
            for item in found
            if isinstance(item, dict)
        ]

    async def read_conversation(self, conversation: str, user: str = FIRST) -> Reply:
        """The answer to the request that reads a conversation."""
        known = self.subject.profile.conversation
        assert known is not None
        path = placed(known.read["path"], {"conversation_id": conversation})
        return await self.send("GET", self.subject.url_at_root(path), user=user)

    async def open_streams(self) -> int:
        """How many streams the target says are open."""
        health = self.subject.profile.health
        assert health is not None
        answer = await self.send("GET", self.subject.url_at_root(health["path"]))
        found = compile_path(health["streams"])(answer.json())
        if not isinstance(found, int):
            raise Untestable("the health route does not tell the open streams", "`health.streams` in the profile")
        return found

    async def conversation_variables(self, conversation: str | None, user: str) -> dict[str, str]:
        """What the dialect's request needs: the conversation's id, under the name that its setup would give it."""
        needed = self.subject.dialect.request.placeholders() - {"prompt", "user"} - set(self.subject.variables)
        captured = {name for step in self.subject.dialect.setup for name in step.capture}
        names = needed & captured
        if conversation is None and names:
            conversation = await self.new_conversation(user)
        if conversation is None:
            return {}
        return {"conversation_id": conversation, **dict.fromkeys(names, conversation)}

    def _user_headers(self, user: str) -> dict[str, str | None]:
        if user == SECOND and self.subject.profile.second_user is not None:
            return {name.lower(): value for name, value in self.subject.profile.second_user.get("headers", {}).items()}
        if user == NOBODY and self.subject.credential is not None:
            return {self.subject.credential[0].lower(): None}
        return {}

    def _user_variables(self, user: str) -> dict[str, str]:
        if user == SECOND and self.subject.profile.second_user is not None:
            return dict(self.subject.profile.second_user.get("variables", {}))
        return {}

    @property
    def _slow_s(self) -> float:
        """How long a reply may take that nobody has ordered to be quick."""
        return 0.0 if self.subject.upstream is not None else self.subject.timeout_s

    # Saying what is wrong

    def check(self, holds: bool, message: str, *, expected: str = "", got: str = "", place: str = "") -> None:
        """The requirement does not hold unless `holds`."""
        if not holds:
            raise Broken(message, expected=expected, got=_excerpt(got), place=place)

    def clean(self, findings: list[Finding]) -> None:
        """The requirement does not hold where there is a finding."""
        for finding in findings[:1]:
            place = "" if finding.event_index is None else f"event {finding.event_index}"
            place += "" if finding.offset is None else f"{', ' if place else ''}byte {finding.offset} of the body"
            raise Broken(
                f"{finding.rule}: {finding.message}",
                expected=" | ".join(finding.expected),
                got=finding.got or "",
                place=place,
            )

    def streamed(self, reply: Reply) -> None:
        """A precondition: the target has begun a stream."""
        if not reply.is_stream:
            raise Broken("there is no stream", expected="200 and an event stream", got=describe(reply))

    def refused(self, reply: Reply, *statuses: int) -> None:
        """The target has said no before any stream began, with one of the statuses."""
        self.check(
            reply.status in statuses,
            "the request is not refused" if reply.status < 400 else "the request is refused with another status",
            expected=" or ".join(map(str, statuses)),
            got=describe(reply),
        )

    async def never_reached_upstream(self, mark: str, why: str) -> None:
        """No request with the mark came to the upstream."""
        entries = await self.upstream.entries(mark)
        self.check(not entries, f"the upstream was asked although {why}", expected="no request", got=f"{len(entries)}")


def describe(reply: Reply) -> str:
    """A reply in a line: its status, its type, the beginning of its body."""
    done = reply.exchange
    if done.refused or not done.status:
        return f"no response ({done.refused or done.ending})"
    body = done.body[:MAX_EXCERPT].decode("utf-8", "replace")
    return f"{done.status} {reply.content_type or 'without a content type'}, {' '.join(body.split())}"


def unique_word() -> str:
    """A word that nobody else says."""
    return f"word{secrets.token_hex(6)}"


def _excerpt(text: str) -> str:
    return text if len(text) <= MAX_EXCERPT else f"{text[: MAX_EXCERPT - 1]}…"
