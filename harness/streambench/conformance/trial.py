"""One try of a case: its requests to the target, its upstream, and its conversations."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from streambench.conformance.case import Broken, Untestable
from streambench.conformance.client import FIRST, QUESTION, SHORT_S, Client
from streambench.conformance.conversations import Conversations
from streambench.conformance.exchange import Exchange, Manner
from streambench.conformance.judging import check, describe
from streambench.conformance.reply import Leave, Reply
from streambench.conformance.socket import Socket
from streambench.conformance.subject import Subject, placed
from streambench.conformance.upstream import Upstream
from streambench.conformance.wire_log import WireLog
from streambench.dialects import RenderedRequest
from streambench.paths import compile_path

SILENT_S = 4.0
ORDERED_S = 40.0
CUT = "cut-fin"  # a reset would take with it what the target has not read yet, however much that is


class Shared:
    """Replies that several cases judge, each asked for once."""

    def __init__(self) -> None:
        self._replies: dict[str, asyncio.Task[Reply]] = {}
        self._again: list[Shared] = []

    async def reply(self, name: str, ask: Callable[[], Awaitable[Reply]]) -> Reply:
        """The reply of that name, asked for where nobody has done it yet."""
        task = self._replies.get(name)
        if task is None:
            task = self._replies[name] = asyncio.ensure_future(ask())
        return await asyncio.shield(task)

    def again(self, number: int) -> Shared:
        """Other replies to the same questions, for who looks a second time (1), a third (2), and so on."""
        while len(self._again) < number:
            self._again.append(Shared())
        return self._again[number - 1]


class Trial:
    """What a case does. `exchanges` is all that went over the wire for it."""

    def __init__(self, subject: Subject, shared: Shared) -> None:
        self.subject = subject
        self.shared = shared
        self.client = Client(subject)
        self.conversations = Conversations(self.client)

        self._of_all: list[Exchange] = []

    @property
    def asks_nothing_itself(self) -> bool:
        """Whether it has judged nothing but replies that other cases judge as well."""
        return bool(self._of_all) and all(any(one is own for own in self._of_all) for one in self.exchanges)

    @property
    def exchanges(self) -> list[Exchange]:
        """All exchanges with the target, in their order."""
        return self.client.exchanges

    @property
    def logs(self) -> list[WireLog]:
        """What went over each connection, once, although several questions were asked on it."""
        return list({id(log): log for exchange in self.exchanges for log in exchange.logs}.values())

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

    async def cut_short(self) -> Reply:
        """A reply whose upstream breaks off after eight pieces, the same for all cases that look at one."""
        return await self.planned("cut in the middle", faults=[{"fault": CUT, "at": {"chunk": 8}}])

    async def _shared(self, name: str, ask: Callable[[], Awaitable[Reply]]) -> Reply:
        reply = await self.shared.reply(name, ask)
        if not any(one is reply.exchange for one in self.exchanges):
            self.exchanges.append(reply.exchange)
        self._of_all.append(reply.exchange)
        if not reply.is_stream and not reply.exchange.pieces:
            raise Broken("there was no reply to check", got=describe(reply))
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
        silence_s = patient_s
        if deadline_s is None and plan is not None:
            # An upstream that replies as ordered is never silent for long unless the order says so. How long it takes
            # to the end says how fast the machine is.
            patient_s, silence_s = max(ORDERED_S, self._slow_s), SILENT_S
        manner = Manner(patient_s, silence_s, pause_s, gone or asyncio.Event())
        if self.subject.on_socket:
            values = {**await self.conversations.connection(conversation, user), **(variables or {})}
            kept = self.conversations.kept(conversation)
            socket = kept or self.client.socket(user, headers, values, manner)
            try:
                if not socket.is_open and not await socket.open(manner.gone):
                    return Reply(socket.exchange, on_socket=True, mark=mark)
                more = {} if conversation is None else {"conversation_id": conversation}
                reply = await socket.ask(self.client.question(socket, prompt, body, more), manner, leave, mark)
                self.conversations.heard(conversation, reply)
                return reply
            finally:
                if kept is None:
                    await socket.close()
        values = {**self.client.user_variables(user), **(variables or {}), "prompt": prompt}
        values |= await self.conversations.variables(conversation, user)
        if body is None and conversation is not None:
            body = self.subject.profile.conversation.json if self.subject.profile.conversation else None
        elif body is not None:
            body = placed(body, {"prompt": prompt})
        template = self.subject.dialect.request if body is None else self.subject.asking(body)
        rendered = template.render(self.subject.known(values))
        sent = self.subject.headers(dict(rendered.headers), self.client.user_headers(user), headers or {})
        url = self.subject.url_of(rendered.path)
        reply = Reply(Exchange(rendered.method, url, sent, rendered.body, pause_s), mark=mark)
        await self.client.exchange(reply, manner, leave)
        return reply

    async def ask_on(
        self,
        socket: Socket,
        prompt: str = QUESTION,
        *,
        plan: Mapping[str, Any] | None = None,
        body: Any = None,
        leave: Leave | None = None,
    ) -> Reply:
        """Ask something on an open connection. `plan`, `body` and `leave` are those of `ask`."""
        mark = ""
        if plan is not None:
            mark = await self.upstream.plan(**plan)
            prompt = f"{prompt} [[sb:{mark}]]"
        return await socket.ask(self.client.question(socket, prompt, body), Manner(SHORT_S, SHORT_S), leave, mark)

    async def ask_text(self, make: Callable[[Mapping[str, str]], str]) -> Reply:
        """Ask with a text of one's own in place of the question's JSON; `make` is given the variables.

        On Socket.IO no text is sent as it is.
        """
        if self.subject.on_socket:
            socket = self.client.socket()
            try:
                if not await socket.open():
                    return Reply(socket.exchange, on_socket=True)
                text = make(self.subject.known({**socket.variables, "prompt": QUESTION}))
                return await socket.ask(RenderedRequest(send=(text,)), Manner(SHORT_S, SHORT_S))
            finally:
                await socket.close()
        variables = await self.conversations.variables(None, FIRST)
        text = make(self.subject.known({**self.subject.any_values(), **variables, "prompt": QUESTION}))
        method, url = self.subject.route(variables)
        return await self.client.send(method, url, body=text.encode(), headers={"content-type": "application/json"})

    async def open_streams(self) -> int:
        """How many streams the target says are open."""
        health = self.subject.profile.health
        assert health is not None
        answer = await self.client.send("GET", self.subject.url_at_root(health["path"]))
        found = compile_path(health["streams"])(answer.json())
        if not isinstance(found, int):
            raise Untestable(
                "the health route does not report the number of open streams", "`health.streams` in the profile"
            )
        return found

    @property
    def _slow_s(self) -> float:
        """How long a reply may take that nobody has ordered to be quick."""
        return 0.0 if self.subject.upstream is not None else self.subject.timeout_s

    async def request_upstream(self, reply: Reply) -> dict[str, Any]:
        """The first request that reached the upstream for a reply. Raises Broken where none has."""
        entries = await self.upstream.settled(reply.mark)
        check(bool(entries), "the prompt did not reach the upstream", got=describe(reply))
        request = entries[0]["request"]
        check(isinstance(request, dict), "the upstream did not keep the request")
        return dict(request)

    async def never_reached_upstream(self, mark: str, why: str) -> None:
        """No request with the mark came to the upstream."""
        entries = await self.upstream.entries(mark)
        check(not entries, f"the upstream was asked although {why}", expected="no request", got=f"{len(entries)}")

    async def close(self) -> None:
        """Close the connections that were kept open."""
        await self.conversations.close()
