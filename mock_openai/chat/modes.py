"""The four ways to hand a reply on.

Only `real` streams; the others are what teams ship and call streaming.

A mode turns the upstream's pieces of text into the pieces that the client gets. The text stays the same: the pieces'
concatenation is the upstream's.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable

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


MODES: dict[str, Callable[[Pieces], Text]] = {"real": real, "paced": paced, "rapid": rapid, "sentence": sentence}


async def with_last(pieces: Pieces, mode: str) -> AsyncGenerator[tuple[str, bool], None]:
    """Each piece, and whether it is the last one: exactly one is.

    `rapid` has the whole reply, so it marks the last word. Who forwards cannot know which piece is the last, and adds
    an empty one.
    """
    held: str | None = None
    async for piece in pieces:
        if mode != "rapid":
            yield piece, False
            continue
        if held is not None:
            yield held, False
        held = piece
    yield held or "", True
