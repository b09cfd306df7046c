"""Reply texts in which every word stands once, so that any part of a reply says where it belongs.

One token is one word with the space before it, as tokens of the real service usually are.
"""

from __future__ import annotations

import random
import re

_ONSETS = (
    "b",
    "br",
    "c",
    "cl",
    "d",
    "dr",
    "f",
    "fl",
    "g",
    "gr",
    "l",
    "m",
    "n",
    "p",
    "pl",
    "qu",
    "r",
    "s",
    "st",
    "t",
    "tr",
    "v",
)
_NUCLEI = ("a", "e", "i", "o", "u", "ae", "ia", "io")
_CODAS = ("", "", "l", "m", "n", "r", "s", "nt", "rd", "st")
_SENTENCE_WORDS = (8, 14)
_PIECES = re.compile(r"\s*\S+|\s+\Z")


def generate_tokens(count: int, draw: random.Random) -> list[str]:
    """`count` tokens whose concatenation is sentences of 8 to 14 words; no word occurs twice."""
    tokens: list[str] = []
    seen: set[str] = set()
    left_in_sentence = 0
    for index in range(count):
        starts_sentence = left_in_sentence == 0
        if starts_sentence:
            left_in_sentence = draw.randint(*_SENTENCE_WORDS)
        word = _new_word(draw, seen)
        left_in_sentence -= 1
        shown = word.capitalize() if starts_sentence else word
        ends_sentence = left_in_sentence == 0 or index == count - 1
        tokens.append(("" if index == 0 else " ") + shown + ("." if ends_sentence else ""))
    return tokens


def _new_word(draw: random.Random, seen: set[str]) -> str:
    syllables = 2 if len(seen) < 2000 else 4
    while True:
        word = "".join(
            draw.choice(_ONSETS) + draw.choice(_NUCLEI) + (draw.choice(_CODAS) if last else "")
            for last in [False] * (syllables - 1) + [True]
        )
        if word not in seen:
            seen.add(word)
            return word


def split_tokens(text: str) -> list[str]:
    """A given text as tokens: each word with the white space before it; their concatenation is `text`."""
    return _PIECES.findall(text)
