"""One try of a case: how it asks the target, and what it says when a requirement does not hold."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from streambench.conformance.case import Broken, Untestable
from streambench.conformance.exchange import Exchange, Manner, over_http
from streambench.conformance.reply import Reply, Witness
from streambench.conformance.socket import Socket
from streambench.conformance.subject import Subject, placed
from streambench.conformance.upstream import Upstream
from streambench.conformance.wire_log import WireLog
from streambench.dialects import RenderedRequest
from streambench.endings import Ending
from streambench.findings import Finding
from streambench.paths import MISSING, compile_path
from streambench.transport.requests import Request
from streambench.transport.target import locate

QUESTION = "Tell me about the sea."
SHORT_S = 10.0
SILENT_S = 4.0
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
    # Of conversations on sockets, by id: whose they are, and the variables of the connection that made them.
    _talks: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)

    @property
    def logs(self) -> list[WireLog]:
        """What went over each connection, once, although several questions were asked on it."""
        return list({id(log): log for exchange in self.exchanges for log in exchange.logs}.values())

    # Asking

    @property
    def upstream(self) -> Upstream:
        """The fake upstream, for cases that need it."""
        assert self.subject.upstream is not None
        return self.subject.upstream

    async def plain(self) -> Reply:
        """An ordinary reply, the same for all cases that look at one."""
        return await self._shared("plain", lambda: self.ask(plan={} if self.subject.upstream is not None else None))

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
        patient_s = deadline_s if deadline_s is not None else max(SHORT_S, self._slow_s)
        # An upstream that replies as ordered is never silent for long unless the order says so.
        silence_s = SILENT_S if deadline_s is None and plan is not None else patient_s
        manner = Manner(patient_s, silence_s, pause_s, gone or asyncio.Event())
        if self.subject.on_socket:
            values = {**await self._talk(conversation, user), **(variables or {})}
            socket = self.socket(user, headers, values, manner)
            try:
                if not await socket.open(manner.gone):
                    return Reply(socket.exchange, on_socket=True, mark=mark)
                more = {} if conversation is None else {"conversation_id": conversation}
                return await socket.ask(self.question(socket, prompt, body, more), manner, leave, mark)
            finally:
                await socket.close()
        values = {**self._user_variables(user), **(variables or {}), "prompt": prompt}
        values |= await self.conversation_variables(conversation, user)
        if body is None and conversation is not None:
            body = self.subject.profile.conversation.json if self.subject.profile.conversation else None
        elif body is not None:
            body = placed(body, {"prompt": prompt})
        template = self.subject.dialect.request if body is None else self.subject.asking(body)
        rendered = template.render(self.subject.known(values))
        sent = self.subject.headers(dict(rendered.headers), self._user_headers(user), headers or {})
        url = self.subject.url_of(rendered.path)
        reply = Reply(Exchange(rendered.method, url, sent, rendered.body, pause_s), mark=mark)
        await self._exchange(reply, manner, leave)
        return reply

    async def ask_text(self, make: Callable[[Mapping[str, str]], str]) -> Reply:
        """Ask with a text of one's own in place of the question's JSON; `make` is given the variables.

        On Socket.IO no text is sent as it is.
        """
        if self.subject.on_socket:
            socket = self.socket()
            try:
                if not await socket.open():
                    return Reply(socket.exchange, on_socket=True)
                text = make(self.subject.known({**socket.variables, "prompt": QUESTION}))
                return await socket.ask(RenderedRequest(send=(text,)), Manner(SHORT_S, SHORT_S))
            finally:
                await socket.close()
        variables = await self.conversation_variables(None, FIRST)
        text = make(self.subject.known({**self.subject.any_values(), **variables, "prompt": QUESTION}))
        method, url = self.subject.route(variables)
        return await self.send(method, url, body=text.encode(), headers={"content-type": "application/json"})

    async def send(
        self,
        method: str,
        url: str,
        *,
        user: str = FIRST,
        body: bytes = b"",
        headers: Mapping[str, str | None] | None = None,
    ) -> Reply:
        """Any HTTP request at all."""
        sent = self.subject.headers(self._user_headers(user), headers or {})
        reply = Reply(Exchange(method, url, sent, body))
        await self._exchange(reply, Manner(SHORT_S, SHORT_S))
        return reply

    async def _exchange(self, reply: Reply, manner: Manner, leave: Leave | None = None) -> None:
        done, dialect = reply.exchange, self.subject.dialect
        self.exchanges.append(done)
        framing = "sse" if self.subject.on_socket else dialect.transport
        # The headers are all there are: the target's own are among them.
        endpoint = replace(
            self.subject.spec.endpoint, headers=(), http=1, timeouts=manner.timeouts, wiretap=done.listen
        )
        request = Request(done.method, tuple(done.request_headers), done.request_body)
        witness = Witness(reply, dialect, manner.gone, leave)
        await over_http(endpoint, locate(done.url), request, framing, witness, manner)

    # On sockets

    def socket(
        self,
        user: str = FIRST,
        headers: Mapping[str, str | None] | None = None,
        variables: Mapping[str, str] | None = None,
        manner: Manner | None = None,
    ) -> Socket:
        """A connection of a user's that is not open yet. Users share nothing unless `variables` say so."""
        spec = self.subject.spec
        sent = self.subject.headers(self._user_headers(user), headers or {})
        timeouts = (manner or Manner(SHORT_S, SHORT_S)).timeouts
        values = {"user": unique_word(), **spec.variables, **self._user_variables(user), **(variables or {})}
        done = Exchange("GET", self.subject.url, sent, b"", said=[])
        self.exchanges.append(done)
        return Socket(spec.reached(headers=tuple(sent), timeouts=timeouts), values, done)

    def question(
        self, socket: Socket, prompt: str, body: Any = None, variables: Mapping[str, str] | None = None
    ) -> RenderedRequest:
        """What a question is on a socket. `body` is JSON in place of the dialect's."""
        template = self.subject.dialect.request if body is None else self.subject.asking(body)
        return template.render(self.subject.known({**socket.variables, **(variables or {}), "prompt": prompt}))

    def stopping(self, socket: Socket) -> RenderedRequest:
        """The message that stops a reply, as the profile has it."""
        template = replace(self.subject.dialect.request, send=(self.subject.profile.interrupt,), emit=None)
        return template.render(self.subject.known({**socket.variables, "prompt": ""}))

    # Conversations

    async def new_conversation(self, user: str = FIRST, *, beside: str | None = None) -> str:
        """The id of a conversation that has just been made. `beside`: on a socket, where this one is."""
        known = self.subject.profile.conversation
        assert known is not None
        create = known.create
        if "path" not in create:
            return await self._conversation_of_setup(create["capture"], user, beside)
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

    async def _conversation_of_setup(self, name: str, user: str, beside: str | None) -> str:
        """The id of the conversation that a user's setup makes on a socket."""
        _, variables = self._talks.get(beside or "", (user, {}))
        socket = self.socket(user, variables=variables)
        try:
            made = await socket.open() and name in socket.variables
            if not made:
                raise Broken(
                    "no conversation can be made", expected=f"{name} by the setup", got=socket.exchange.refused
                )
        finally:
            await socket.close()
        conversation = socket.variables[name]
        self._talks[conversation] = (user, dict(socket.variables))
        return conversation

    async def _talk(self, conversation: str | None, user: str) -> dict[str, str]:
        """The variables of a conversation on a socket; for another user's, those of one that this user has."""
        owner, variables = self._talks.get(conversation or "", (user, {}))
        if owner != user:
            _, variables = self._talks[await self.new_conversation(user)]
        return variables

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
        values = self.subject.known({**await self._talk(conversation, user), "conversation_id": conversation})
        path = placed(known.read["path"], values)
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
        if self.subject.on_socket:
            return {}
        needed = self.subject.dialect.request.placeholders() - {"prompt", "user"} - set(self.subject.spec.variables)
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
            raise Broken(
                f"{finding.rule}: {finding.message}",
                expected=" | ".join(finding.expected),
                got=finding.got or "",
                place=finding.place,
            )

    def streamed(self, reply: Reply) -> None:
        """A precondition: the target has begun a stream."""
        if not reply.is_stream:
            expected = "a reply" if reply.on_socket else "200 and an event stream"
            raise Broken("there is no stream", expected=expected, got=describe(reply))

    def refused(self, reply: Reply, *statuses: int) -> None:
        """The target has said no before any stream began, with one of the statuses; on a socket it may say so by an
        error, or not let the client in.
        """
        if reply.on_socket and (reply.status < 400 or not reply.exchange.refused):
            expected = "an error in place of a reply"
            self.check(reply.is_refusal, "the message is not refused", expected=expected, got=describe(reply))
            return
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
    if reply.on_socket and done.ending != Ending.NOT_CONNECTED:
        said = [f"{event.name}: {event.error}" if event.error else event.name for event in reply.events[-3:]]
        return f"{' '.join(said) or 'no event'} ({done.ending})"
    if done.refused or not done.status:
        return f"no response ({done.refused or done.ending})"
    body = done.body[:MAX_EXCERPT].decode("utf-8", "replace")
    return f"{done.status} {reply.content_type or 'without a content type'}, {' '.join(body.split())}"


def unique_word() -> str:
    """A word that nobody else says."""
    return f"word{secrets.token_hex(6)}"


def _excerpt(text: str) -> str:
    return text if len(text) <= MAX_EXCERPT else f"{text[: MAX_EXCERPT - 1]}…"
