"""Where sentences end."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator

# A full stop is the end of a sentence only when white space follows: "3.5" and "e.g.," go on.
SENTENCE_END = re.compile(r"[.!?][\"')\]]*(?=\s)")


async def first_sentences(pieces: AsyncIterator[str], count: int) -> AsyncGenerator[str, None]:
    """`pieces` up to the end of sentence number `count`; it stops asking for more as soon as that end is certain.

    The end is certain when the next word has begun, so one piece more than needed is read, and not passed on.
    """
    text, passed = "", 0
    async for piece in pieces:
        text += piece
        ends = [match.end() for match in SENTENCE_END.finditer(text)]
        if len(ends) >= count:
            if text[passed : ends[count - 1]]:
                yield text[passed : ends[count - 1]]
            return
        yield piece
        passed = len(text)


def cut_sentences(text: str, count: int) -> str:
    """The first `count` sentences of a whole text."""
    ends = [match.end() for match in SENTENCE_END.finditer(text)]
    return text[: ends[count - 1]] if len(ends) >= count else text
