"""The ways to forward a reply; only `real` streams, the others are what teams ship and call streaming.

A mode turns the upstream's pieces of text into the pieces that the client gets. What it gets is the same text, but for
`blocking-at-once`: that mode collapses white space, as the code does that it stands for. The two blocking modes do not
even ask the upstream for a stream.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass

from mock_openai.chat.sentences import SENTENCE_END

Pieces = AsyncIterator[str]
Text = AsyncGenerator[str, None]

WORD_PAUSE_S = 0.05
_WORDS = re.compile(r"\s*\S+\s*\Z|\s*\S+|\s+\Z")


async def real(upstream: Pieces) -> Text:
    """Each piece goes out when it comes in."""
    async for piece in upstream:
        yield piece


async def paced(upstream: Pieces) -> Text:
    """Wait for the whole reply, then type it: word by word, 50 ms apart."""
    words = _WORDS.findall("".join([piece async for piece in upstream]))
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    for index, word in enumerate(words):
        await asyncio.sleep(max(0.0, start_s + index * WORD_PAUSE_S - loop.time()))
        yield word


async def rapid(upstream: Pieces) -> Text:
    """Wait for the whole reply, then send it word by word with no pause: streaming by the look of it only."""
    for word in _WORDS.findall("".join([piece async for piece in upstream])):
        yield word


async def sentence(upstream: Pieces) -> Text:
    """Forward, but only whole sentences."""
    held = ""
    async for piece in upstream:
        held += piece
        ends = list(SENTENCE_END.finditer(held))
        if ends:
            cut = ends[-1].end()
            yield held[:cut]
            held = held[cut:]
    if held:
        yield held


def holding(words: int) -> Callable[[Pieces], Text]:
    """Forward, but only so many words at a time."""

    async def hold(upstream: Pieces) -> Text:
        held = ""
        async for piece in upstream:
            held += piece
            there = _WORDS.findall(held)
            while len(there) >= words:
                yield "".join(there[:words])
                del there[:words]
            held = "".join(there)
        if held:
            yield held

    return hold


def sliding(window: int) -> Callable[[Pieces], Text]:
    """Forward, but each piece only when so many later ones have come: as a filter does that must see what follows."""

    async def slide(upstream: Pieces) -> Text:
        held: deque[str] = deque()
        async for piece in upstream:
            held.append(piece)
            if len(held) > window:
                yield held.popleft()
        for piece in held:
            yield piece

    return slide


async def blocking_typed(upstream: Pieces) -> Text:
    """The whole reply, cut at its spaces: each word with the space after it, and a pause after each, the last too."""
    words = "".join([piece async for piece in upstream]).split(" ")
    for index, word in enumerate(words):
        yield word if index == len(words) - 1 else f"{word} "
        await asyncio.sleep(WORD_PAUSE_S)


async def blocking_at_once(upstream: Pieces) -> Text:
    """The words of the whole reply with one space after each, and no pause. Line breaks and indents are lost."""
    for word in "".join([piece async for piece in upstream]).split():
        yield f"{word} "


@dataclass(frozen=True, slots=True)
class Mode:
    """One way to hand a reply on.

    `blocking`: the upstream is asked for the whole reply, not for a stream. `marks_last`: the last piece is known as
    such when it is sent, so it can say so.
    """

    pieces: Callable[[Pieces], Text]
    blocking: bool = False
    marks_last: bool = False


MODES: dict[str, Mode] = {
    "real": Mode(real),
    "paced": Mode(paced),
    "rapid": Mode(rapid, marks_last=True),
    "sentence": Mode(sentence),
    **{f"hold-{words}": Mode(holding(words)) for words in (2, 3, 5, 10)},
    **{f"slide-{window}": Mode(sliding(window)) for window in (1, 4, 10)},
    "blocking-typed": Mode(blocking_typed, blocking=True),
    "blocking-at-once": Mode(blocking_at_once, blocking=True, marks_last=True),
}


async def with_last(pieces: Pieces, mode: str) -> AsyncGenerator[tuple[str, bool], None]:
    """Each piece, and whether it is the last one: exactly one is.

    Who has the whole reply at once marks its last word. Who forwards cannot know which piece is the last, and adds an
    empty one.
    """
    held: str | None = None
    async for piece in pieces:
        if not MODES[mode].marks_last:
            yield piece, False
            continue
        if held is not None:
            yield held, False
        held = piece
    yield held or "", True
