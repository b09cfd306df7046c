"""Rooms: only their members receive the replies to each other's prompts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from streambench.conformance.case import Keyword, Need, case
from streambench.conformance.client import FIRST, SECOND, unique_word
from streambench.conformance.judging import check, describe, streamed
from streambench.conformance.profile import Rooms
from streambench.conformance.socket import Socket
from streambench.conformance.trial import Trial
from streambench.paths import compile_path

MUST, SHOULD, MAY = Keyword
ROOMS = (Need.ROOMS, Need.TWO_SIDED)
SHARED = "the definition of a room: its members see the same"
APART = "what is said in a room is only for its members"
SLOWLY = {"name": "fixed", "ttft_ms": 50, "gap_ms": 50}
HEARD_S = 3.0
NOT_HEARD_S = 0.5


def _rooms(trial: Trial) -> Rooms:
    rooms = trial.subject.profile.rooms
    assert rooms is not None
    return rooms


@asynccontextmanager
async def _members(trial: Trial, *rooms: str) -> AsyncIterator[list[Socket]]:
    """A connection of the first user's in each of these rooms."""
    async with AsyncExitStack() as stack:
        members = []
        for room in rooms:
            shared = _rooms(trial).shared
            variables = {} if shared is None else {shared: room}
            member = await stack.enter_async_context(trial.client.connected(FIRST, variables))
            await _say(trial, member, _rooms(trial).join, room)
            members.append(member)
        yield members


async def _say(trial: Trial, member: Socket, said: Mapping[str, Any] | None, room: str) -> None:
    """Join or leave, where that is a message."""
    if said is None:
        return
    member.link.send(trial.client.message(member, said, {"room": room, "name": unique_word()}))
    heard = await member.hears(said["heard"], within_s=HEARD_S)
    check(heard is not None, "joining or leaving the room was not confirmed", expected=said["heard"], got="nothing")


def _text(trial: Trial, member: Socket) -> str:
    """What a member has heard of replies to others."""
    paths = _rooms(trial).text
    found = [compile_path(paths[event.name])(event.data) for event in member.heard if event.name in paths]
    return "".join(text for text in found if isinstance(text, str))


@case(
    "room.hears",
    MUST,
    "Members of a room receive the complete replies to the other members.",
    source=SHARED,
    remedy="Send each piece of a reply to every member of the room.",
    defect="asker-only",
    needs=ROOMS,
)
async def hears(trial: Trial) -> None:
    """Let two users join a room, and one of them ask.

    Within 3 s the other user has the complete text.
    """
    room = unique_word()
    async with _members(trial, room, room) as (asker, other):
        reply = await trial.ask_on(asker, plan={})
        streamed(reply)
        await other.hears(*_rooms(trial).ends, within_s=HEARD_S)
        got = _text(trial, other)
    check(got == reply.text, "the other member has a different text", expected=repr(reply.text), got=repr(got))


@case(
    "room.live",
    SHOULD,
    "The members of a room receive a reply while it is being written.",
    source="the definition of streaming, for every member",
    remedy="Send each piece to the others as soon as to the user who asked.",
    defect="room-hears-late",
    needs=ROOMS,
    timed=True,
)
async def live(trial: Trial) -> None:
    """Let two users join a room, and one of them ask for a reply that takes a second.

    The other user has the first text before the user who asked has half of it.
    """
    room = unique_word()
    async with _members(trial, room, room) as (asker, other):
        reply = await trial.ask_on(asker, plan={"tokens": 20, "profile": SLOWLY})
        streamed(reply)
        first = await other.hears(*_rooms(trial).text, within_s=HEARD_S)
    check(first is not None, "the other member receives nothing", expected="the reply")
    assert first is not None
    late = first.at_ns >= reply.contents[len(reply.contents) // 2].at_ns
    check(
        not late,
        "the other member receives the reply only at its end",
        expected="the text as it is written",
        got="all at the end",
    )


@case(
    "room.apart",
    MUST,
    "Members of other rooms receive nothing.",
    source=APART,
    remedy="Send only to the members of the room where the prompt was sent.",
    defect="tells-everybody",
    needs=ROOMS,
)
async def apart(trial: Trial) -> None:
    """Let two connections of one user join different rooms, and ask on one of them.

    Half a second after the reply, the other connection has received none of it.
    """
    word = unique_word()
    async with _members(trial, unique_word(), unique_word()) as (asker, other):
        streamed(await trial.ask_on(asker, plan={"text": f"The word is {word}. " * 3}))
        await asyncio.sleep(NOT_HEARD_S)
        heard = [event.name for event in other.heard if word in str(event.data)]
    check(not heard, "another room receives the reply", expected="nothing", got=" ".join(heard))


@case(
    "room.after-leaving",
    MUST,
    "A user who has left a room receives nothing more from it.",
    source=APART,
    remedy="Remove the connection from the room before you confirm that it has left.",
    defect="hears-after-leaving",
    needs=(*ROOMS, Need.ROOM_CHANGES),
)
async def after_leaving(trial: Trial) -> None:
    """Let two users join a room, one of them leave it, and the other one ask.

    Half a second after the reply, the user who left has received none of it.
    """
    room, word = unique_word(), unique_word()
    async with _members(trial, room, room) as (asker, other):
        await _say(trial, other, _rooms(trial).leave, room)
        streamed(await trial.ask_on(asker, plan={"text": f"The word is {word}. " * 3}))
        await asyncio.sleep(NOT_HEARD_S)
        heard = [event.name for event in other.heard if word in str(event.data)]
    check(not heard, "a user who has left receives the reply", expected="nothing", got=" ".join(heard))


@case(
    "room.told-joined",
    SHOULD,
    "The members of a room are notified when someone joins.",
    source=SHARED,
    remedy="Notify the members when someone joins: they need to know who is reading.",
    defect="joins-silently",
    needs=(*ROOMS, Need.ROOM_CHANGES, Need.ROOM_NEWS),
)
async def told_joined(trial: Trial) -> None:
    """Let one user join a room, then another one.

    The first user is notified within 3 s.
    """
    room = unique_word()
    async with _members(trial, room, room) as (member, _):
        told = await member.hears(_rooms(trial).joined or "", within_s=HEARD_S)
    check(told is not None, "nobody is notified", expected=_rooms(trial).joined or "", got="nothing")


@case(
    "room.told-left",
    SHOULD,
    "The members of a room are notified when someone leaves or loses the connection.",
    source=SHARED,
    remedy="Notify the members whenever a connection ends, for whatever reason.",
    defect="leaves-silently",
    needs=(*ROOMS, Need.ROOM_CHANGES, Need.ROOM_NEWS),
)
async def told_left(trial: Trial) -> None:
    """Let two users join a room, and one of them lose the connection.

    The other user is notified within 3 s.
    """
    room = unique_word()
    async with _members(trial, room, room) as (member, other):
        other.leave()
        told = await member.hears(_rooms(trial).left or "", within_s=HEARD_S)
    check(told is not None, "nobody is notified", expected=_rooms(trial).left or "", got="nothing")


@case(
    "room.asker-lost",
    MUST,
    "If the user who asked loses the connection, the other members receive the end of the reply.",
    source=SHARED,
    remedy="When a reply is stopped, tell the members that it has ended: their pages are waiting for the rest.",
    defect="room-waits",
    needs=ROOMS,
)
async def asker_lost(trial: Trial) -> None:
    """Let two users join a room, and one of them ask and lose the connection after three pieces.

    Within 3 s the other user receives an event that ends the reply.
    """
    room = unique_word()
    async with _members(trial, room, room) as (asker, other):
        plan = {"tokens": 100, "profile": SLOWLY}
        reply = await trial.ask_on(asker, plan=plan, leave=lambda reply: len(reply.contents) >= 3)
        streamed(reply)
        ended = await other.hears(*_rooms(trial).ends, within_s=HEARD_S)
    check(ended is not None, "the reply has no end", expected=" or ".join(_rooms(trial).ends), got="nothing more")


@case(
    "room.listener-lost",
    MUST,
    "A member who loses the connection does not affect the others.",
    source="one client's failure does not affect others",
    remedy="Catch errors when you send to a connection, and handle them for that connection only.",
    defect="listener-ends-all",
    needs=ROOMS,
    alone=True,
)
async def listener_lost(trial: Trial) -> None:
    """Let two users join a room, one of them ask, and the other one lose the connection after the first words.

    The first user's reply is complete.
    """
    room = unique_word()
    async with _members(trial, room, room) as (asker, other):
        asking = asyncio.ensure_future(trial.ask_on(asker, plan={"tokens": 20, "profile": SLOWLY}))
        try:
            await other.hears(*_rooms(trial).text, within_s=HEARD_S)
            other.leave()
            reply = await asking
        finally:
            asking.cancel()
    whole = reply.complete and not reply.interrupted and bool(reply.text)
    check(whole, "the reply was cut off", expected="a complete reply", got=describe(reply))


@case(
    "room.closed",
    MUST,
    "A user without access to a room cannot join it.",
    source=APART,
    remedy="Check access when a user joins, and refuse with 403 or 404.",
    defect="open-rooms",
    needs=(Need.CLOSED_ROOMS, Need.SECOND_USER),
)
async def closed(trial: Trial) -> None:
    """Let one user open a room, and another one try to join it.

    The connection is refused.
    """
    room, shared = unique_word(), _rooms(trial).shared
    async with _members(trial, room):
        stranger = trial.client.socket(SECOND, variables={} if shared is None else {shared: room})
        try:
            let_in = await stranger.open()
            if let_in and shared is None:
                await _say(trial, stranger, _rooms(trial).join, room)
        finally:
            await stranger.close()
    check(not let_in, "another user can join", expected="403 or 404", got="an open socket")
