"""Conversations of a target: created, continued and read as its profile says."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from streambench.conformance.case import Broken
from streambench.conformance.client import FIRST, QUESTION, SHORT_S, Client, unique_word
from streambench.conformance.exchange import Manner
from streambench.conformance.judging import describe
from streambench.conformance.profile import Conversation
from streambench.conformance.reply import Reply
from streambench.conformance.socket import Socket
from streambench.conformance.subject import Subject, placed
from streambench.paths import MISSING, compile_path


@dataclass(frozen=True, slots=True)
class Conversations:
    """The conversations of one try of a case.

    A target may keep one conversation for each connection, and tell its id in the replies. Such a conversation has a
    name of ours until the id is told, and its connection stays open until `close`.
    """

    client: Client
    # Of those on sockets, by id: whose they are, and the variables of the connection that made them.
    _owners: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
    # Of those that are told in replies, by our name.
    _sockets: dict[str, Socket] = field(default_factory=dict)
    _told: dict[str, str] = field(default_factory=dict)

    @property
    def _subject(self) -> Subject:
        return self.client.subject

    @property
    def _known(self) -> Conversation:
        known = self.client.subject.profile.conversation
        assert known is not None
        return known

    async def new(self, user: str = FIRST, *, beside: str | None = None) -> str:
        """The id of a conversation that has just been made. `beside`: on a socket, where this one is."""
        create = self._known.create
        if self._known.told_by_reply:
            name = unique_word()
            self._sockets[name] = self.client.socket(user)
            return name
        if "path" not in create:
            return await self._of_setup(create["capture"], user, beside)
        answer = await self.client.send(
            create.get("method", "POST"),
            self._subject.url_at_root(placed(create["path"], self.client.user_variables(user))),
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

    async def _of_setup(self, name: str, user: str, beside: str | None) -> str:
        """The id of the conversation that a user's setup makes on a socket."""
        _, variables = self._owners.get(beside or "", (user, {}))
        socket = self.client.socket(user, variables=variables)
        try:
            made = await socket.open() and name in socket.variables
            if not made:
                raise Broken(
                    "no conversation can be made", expected=f"{name} by the setup", got=socket.exchange.refused
                )
        finally:
            await socket.close()
        conversation = socket.variables[name]
        self._owners[conversation] = (user, dict(socket.variables))
        return conversation

    async def connection(self, conversation: str | None, user: str) -> dict[str, str]:
        """The variables of a conversation on a socket; for another user's, those of one that this user has."""
        owner, variables = self._owners.get(conversation or "", (user, {}))
        if owner != user:
            _, variables = self._owners[await self.new(user)]
        return variables

    async def messages(self, conversation: str, user: str = FIRST) -> list[dict[str, Any]]:
        """The messages of a conversation as the target shows them: role, content, partial."""
        answer = await self.read(conversation, user)
        read = self._known.read
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

    async def replies(self, conversation: str) -> list[str]:
        """The texts of the replies that are stored in a conversation."""
        messages = await self.messages(conversation)
        return [str(message["content"]) for message in messages if message["role"] == "assistant"]

    async def read(self, conversation: str, user: str = FIRST) -> Reply:
        """The answer to the request that reads a conversation."""
        if conversation in self._sockets:
            values = {"conversation_id": await self._id_of(conversation)}
        else:
            values = {**await self.connection(conversation, user), "conversation_id": conversation}
        path = placed(self._known.read["path"], self._subject.known(values))
        return await self.client.send("GET", self._subject.url_at_root(path), user=user)

    async def variables(self, conversation: str | None, user: str) -> dict[str, str]:
        """What the dialect's request needs: the conversation's id, under the name that its setup would give it."""
        if self._subject.on_socket:
            return {}
        dialect = self._subject.dialect
        needed = dialect.request.placeholders() - {"prompt", "user"} - set(self._subject.spec.variables)
        captured = {name for step in dialect.setup for name in step.capture}
        names = needed & captured
        if conversation is None and names:
            conversation = await self.new(user)
        if conversation is None:
            return {}
        return {"conversation_id": conversation, **dict.fromkeys(names, conversation)}

    def kept(self, conversation: str | None) -> Socket | None:
        """The connection that a conversation is bound to; None where any will do."""
        return self._sockets.get(conversation or "")

    def heard(self, conversation: str | None, reply: Reply) -> None:
        """A reply in a conversation: it may tell the conversation's id."""
        if conversation not in self._sockets:
            return
        find = compile_path(self._known.create["capture"])
        for event in reply.events:
            told = find(event.data)
            if isinstance(told, str) and told:
                self._told[conversation] = told

    async def close(self) -> None:
        """Close what is still open."""
        for socket in self._sockets.values():
            await socket.close()

    async def _id_of(self, name: str) -> str:
        """The id of a conversation that has a name of ours; where nobody has asked anything in it, that is done."""
        socket = self._sockets[name]
        if name not in self._told and not socket.exchange.logs and await socket.open():
            self.heard(name, await socket.ask(self.client.question(socket, QUESTION), Manner(SHORT_S, SHORT_S)))
        if name not in self._told:
            wanted = f"{self._known.create['capture']} in a reply"
            raise Broken("no reply contains the conversation's id", expected=wanted, got=socket.exchange.refused)
        return self._told[name]
