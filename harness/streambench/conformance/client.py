"""Access to the target in one try of a case: any request and any connection, as one of its users."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from streambench.conformance.case import Broken
from streambench.conformance.exchange import Exchange, Manner, over_http
from streambench.conformance.reply import Leave, Reply, Witness
from streambench.conformance.socket import Socket
from streambench.conformance.subject import Subject
from streambench.dialects import RenderedRequest
from streambench.dialects.templates import RequestTemplate
from streambench.transport.requests import Request
from streambench.transport.target import locate

QUESTION = "Tell me about the sea."
SHORT_S = 10.0
FIRST, SECOND, NOBODY = "first", "second", "nobody"


@dataclass(frozen=True, slots=True)
class Client:
    """What asks a target. `exchanges` is all that went over the wire."""

    subject: Subject
    exchanges: list[Exchange] = field(default_factory=list)

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
        sent = self.subject.headers(self.user_headers(user), headers or {})
        reply = Reply(Exchange(method, url, sent, body))
        await self.exchange(reply, Manner(SHORT_S, SHORT_S))
        return reply

    async def exchange(self, reply: Reply, manner: Manner, leave: Leave | None = None) -> None:
        """Do what an exchange says over HTTP, on a connection of its own."""
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

    def socket(
        self,
        user: str = FIRST,
        headers: Mapping[str, str | None] | None = None,
        variables: Mapping[str, str] | None = None,
        manner: Manner | None = None,
    ) -> Socket:
        """A connection of a user's that is not open yet. Users share nothing unless `variables` say so."""
        spec = self.subject.spec
        sent = self.subject.headers(self.user_headers(user), headers or {})
        timeouts = (manner or Manner(SHORT_S, SHORT_S)).timeouts
        values = {"user": unique_word(), **spec.variables, **self.user_variables(user), **(variables or {})}
        done = Exchange("GET", self.subject.url, sent, b"", said=[])
        self.exchanges.append(done)
        return Socket(spec.reached(headers=tuple(sent), timeouts=timeouts), values, done)

    @asynccontextmanager
    async def connected(self, user: str = FIRST, variables: Mapping[str, str] | None = None) -> AsyncIterator[Socket]:
        """An open connection of a user's, which is closed at the end. Raises Broken where there is none."""
        socket = self.socket(user, variables=variables)
        try:
            if not await socket.open():
                raise Broken("there is no connection", expected="a socket", got=socket.exchange.refused)
            yield socket
        finally:
            await socket.close()

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

    def message(self, socket: Socket, said: Mapping[str, Any], variables: Mapping[str, str]) -> RenderedRequest:
        """A message that the profile describes: `send`, or `emit` with an event's name and arguments."""
        if "emit" in said:
            event, *arguments = said["emit"]
            template = RequestTemplate(emit=(event, tuple(arguments)))
        else:
            template = RequestTemplate(send=(said["send"],))
        return template.render(self.subject.known({**socket.variables, **variables}))

    def user_headers(self, user: str) -> dict[str, str | None]:
        """What says who a user is; None takes a header away."""
        if user == SECOND and self.subject.profile.second_user is not None:
            return {name.lower(): value for name, value in self.subject.profile.second_user.get("headers", {}).items()}
        if user == NOBODY and self.subject.credential is not None:
            return {self.subject.credential[0].lower(): None}
        return {}

    def user_variables(self, user: str) -> dict[str, str]:
        """The values that a user has for placeholders."""
        if user == SECOND and self.subject.profile.second_user is not None:
            return dict(self.subject.profile.second_user.get("variables", {}))
        return {}


def unique_word() -> str:
    """A word that nobody else says."""
    return f"word{secrets.token_hex(6)}"
