"""Rooms: whose members hear the replies to each other's questions, and nobody else does."""

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
SHARED = "what a room is: its members see the same"
APART = "what one room is told is for nobody else"
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
    check(heard is not None, "a room is not joined or left", expected=said["heard"], got="nothing")


def _text(trial: Trial, member: Socket) -> str:
    """What a member has heard of replies to others."""
    paths = _rooms(trial).text
    found = [compile_path(paths[event.name])(event.data) for event in member.heard if event.name in paths]
    return "".join(text for text in found if isinstance(text, str))


@case(
    "room.hears",
    MUST,
    "Who is in a room hears all of the replies to the others.",
    source=SHARED,
    remedy="Send each piece of a reply to every member of the room.",
    defect="asker-only",
    needs=ROOMS,
)
async def hears(trial: Trial) -> None:
    """Let two be in a room, and one of them ask.

    Within 3 s the other one has the whole text.
    """
    room = unique_word()
    async with _members(trial, room, room) as (asker, other):
        reply = await trial.ask_on(asker, plan={})
        streamed(reply)
        await other.hears(*_rooms(trial).ends, within_s=HEARD_S)
        got = _text(trial, other)
    check(got == reply.text, "the other member has another text", expected=repr(reply.text), got=repr(got))


@case(
    "room.live",
    SHOULD,
    "The members of a room hear a reply while it comes.",
    source="the definition of streaming, for everybody",
    remedy="Send each piece to the others as soon as to the one who asked.",
    defect="room-hears-late",
    needs=ROOMS,
    timed=True,
)
async def live(trial: Trial) -> None:
    """Let two be in a room, and one of them ask for a reply of a second.

    The other one has the first text before the one who asked has half of it.
    """
    room = unique_word()
    async with _members(trial, room, room) as (asker, other):
        reply = await trial.ask_on(asker, plan={"tokens": 20, "profile": SLOWLY})
        streamed(reply)
        first = await other.hears(*_rooms(trial).text, within_s=HEARD_S)
    check(first is not None, "the other member hears nothing", expected="the reply")
    assert first is not None
    late = first.at_ns >= reply.contents[len(reply.contents) // 2].at_ns
    check(not late, "the other member hears it when it is over", expected="the text as it comes", got="all at the end")


@case(
    "room.apart",
    MUST,
    "Who is in another room hears nothing.",
    source=APART,
    remedy="Send to the members of the room where the question was asked.",
    defect="tells-everybody",
    needs=ROOMS,
)
async def apart(trial: Trial) -> None:
    """Let two connections of a user's be in two rooms, and one of them ask.

    Half a second after the reply, the other one has heard nothing of it.
    """
    word = unique_word()
    async with _members(trial, unique_word(), unique_word()) as (asker, other):
        streamed(await trial.ask_on(asker, plan={"text": f"The word is {word}. " * 3}))
        await asyncio.sleep(NOT_HEARD_S)
        heard = [event.name for event in other.heard if word in str(event.data)]
    check(not heard, "another room hears the reply", expected="nothing", got=" ".join(heard))


@case(
    "room.after-leaving",
    MUST,
    "Who has left a room hears nothing more of it.",
    source=APART,
    remedy="Take the connection out of the room before the leaving is confirmed.",
    defect="hears-after-leaving",
    needs=(*ROOMS, Need.ROOM_CHANGES),
)
async def after_leaving(trial: Trial) -> None:
    """Let two be in a room, one of them leave it, and the other one ask.

    Half a second after the reply, the one who left has heard nothing of it.
    """
    room, word = unique_word(), unique_word()
    async with _members(trial, room, room) as (asker, other):
        await _say(trial, other, _rooms(trial).leave, room)
        streamed(await trial.ask_on(asker, plan={"text": f"The word is {word}. " * 3}))
        await asyncio.sleep(NOT_HEARD_S)
        heard = [event.name for event in other.heard if word in str(event.data)]
    check(not heard, "who has left hears the reply", expected="nothing", got=" ".join(heard))


@case(
    "room.told-joined",
    SHOULD,
    "The members of a room are told who comes.",
    source=SHARED,
    remedy="Tell the members when somebody joins: they write for whoever is there.",
    defect="joins-silently",
    needs=(*ROOMS, Need.ROOM_CHANGES, Need.ROOM_NEWS),
)
async def told_joined(trial: Trial) -> None:
    """Let one be in a room, and another one join it.

    Within 3 s the first one is told.
    """
    room = unique_word()
    async with _members(trial, room, room) as (member, _):
        told = await member.hears(_rooms(trial).joined or "", within_s=HEARD_S)
    check(told is not None, "nobody is told", expected=_rooms(trial).joined or "", got="nothing")


@case(
    "room.told-left",
    SHOULD,
    "The members of a room are told who leaves, also who is lost.",
    source=SHARED,
    remedy="Tell the members where a connection ends, whatever has ended it.",
    defect="leaves-silently",
    needs=(*ROOMS, Need.ROOM_CHANGES, Need.ROOM_NEWS),
)
async def told_left(trial: Trial) -> None:
    """Let two be in a room, and one of them lose the connection.

    Within 3 s the other one is told.
    """
    room = unique_word()
    async with _members(trial, room, room) as (member, other):
        other.leave()
        told = await member.hears(_rooms(trial).left or "", within_s=HEARD_S)
    check(told is not None, "nobody is told", expected=_rooms(trial).left or "", got="nothing")


@case(
    "room.asker-lost",
    MUST,
    "Where the one who asked is lost, the others hear how the reply ends.",
    source=SHARED,
    remedy="Where a reply is stopped, tell the members that it is over: their pages wait for the rest.",
    defect="room-waits",
    needs=ROOMS,
)
async def asker_lost(trial: Trial) -> None:
    """Let two be in a room, one of them ask, and lose the connection after three pieces.

    Within 3 s the other one has an event that ends the reply.
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
    "A member that is lost takes nothing from the others.",
    source="one client's trouble is not everybody's",
    remedy="Catch what sending to one connection can do wrong, for this connection alone.",
    defect="listener-ends-all",
    needs=ROOMS,
    alone=True,
)
async def listener_lost(trial: Trial) -> None:
    """Let two be in a room, one of them ask, and the other one lose the connection after the first words.

    The reply to the first one is whole.
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
    check(whole, "the reply broke off", expected="a whole reply", got=describe(reply))


@case(
    "room.closed",
    MUST,
    "Who was not let into a room cannot enter it.",
    source=APART,
    remedy="Ask whose room it is where it is entered, and refuse with 403 or 404.",
    defect="open-rooms",
    needs=(Need.CLOSED_ROOMS, Need.SECOND_USER),
)
async def closed(trial: Trial) -> None:
    """Let one user have a room, and another one enter it.

    There is no connection.
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
    check(not let_in, "another user enters", expected="403 or 404", got="an open socket")
