"""Reply texts in which every word occurs once, so that the position of any fragment is known.

One token is one word with the space before it, as tokens of the real service usually are.
"""

from __future__ import annotations

import math
import random
import re
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

_ONSETS = (*"bcdfglmnprstv", "br", "cl", "dr", "fl", "gr", "pl", "qu", "st", "tr")
_NUCLEI = ("a", "e", "i", "o", "u", "ae", "ia", "io")
_CODAS = ("", "l", "m", "n", "r", "s", "nt", "rd", "st")
_SYLLABLES = tuple(onset + nucleus for onset in _ONSETS for nucleus in _NUCLEI)
_PAIRS = [first + second for first in _SYLLABLES for second in _SYLLABLES]
_VOCABULARY = len(_PAIRS) * len(_CODAS)
_SENTENCE_WORDS = (8, 14)
# Blocks of a Markdown text: what comes before, between and after their words, and how many words there are.
_BLOCKS = (
    ("\n\n## ", " ", "", 2, 4),
    ("\n\n", " ", ".", 8, 14),
    ("\n\n- 🌊 ", " ", "", 2, 4),
    ("\n- **", " ", "** 👩‍🚀", 1, 2),
    ("\n\n```python\n    ", "  = ", "\n```", 2, 3),
    ("\n\nNaïve “", " ", "”, 東京.", 3, 6),
)
_PIECES = re.compile(r"\s*\S+|\s+\Z")


class Tokens:
    """The tokens of a text, kept as the text and where each of them ends: a long reply is not as many objects."""

    __slots__ = ("_ends", "text")

    def __init__(self, tokens: Iterable[str]) -> None:
        several = tokens if isinstance(tokens, list) else list(tokens)
        self.text = "".join(several)
        self._ends = array("I", accumulate(map(len, several)))

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[str]:
        text, start = self.text, 0
        for end in self._ends:
            yield text[start:end]
            start = end

    @property
    def weight(self) -> int:
        """How many bytes of memory they take."""
        return sys.getsizeof(self.text) + self._ends.itemsize * len(self._ends)


def generate_tokens(count: int, draw: random.Random) -> list[str]:
    """`count` tokens whose concatenation is sentences of 8 to 14 words; no word occurs twice.

    `count` is at most 278,784, the number of different words.
    """
    words = _words(count, draw)
    tokens = [" " + word for word in words]
    start = 0
    while start < count:
        end = min(start + draw.randint(*_SENTENCE_WORDS), count)
        tokens[start] = (" " if start else "") + words[start].capitalize()
        tokens[end - 1] += "."
        start = end
    return tokens


def markdown_tokens(count: int, draw: random.Random) -> list[str]:
    """`count` tokens of Markdown: headings, paragraphs, lists with emoji, and indented code; no word occurs twice.

    What a client does to line breaks, indents and characters beyond the basic plane shows in it.
    """
    words = _words(count, draw)
    tokens: list[str] = []
    while len(tokens) < count:
        for before, between, after, low, high in _BLOCKS:
            size = min(draw.randint(low, high), count - len(tokens))
            if not size:
                break
            block = words[len(tokens) : len(tokens) + size]
            start = before if tokens else before.lstrip("\n")
            shown = [start + block[0], *(between + word for word in block[1:])]
            tokens += [*shown[:-1], shown[-1] + after]
    return tokens


STYLES: dict[str, Callable[[int, random.Random], list[str]]] = {"plain": generate_tokens, "markdown": markdown_tokens}
"""What generated texts can look like."""


def _words(count: int, draw: random.Random) -> list[str]:
    """`count` different words, each of two syllables and a coda.

    A walk through the vocabulary in equal steps comes by every word once; to draw each word takes several times as
    long, and a thousand replies that are asked for at once wait for it.
    """
    start, step = draw.randrange(_VOCABULARY), 0
    while math.gcd(step, _VOCABULARY) != 1:
        step = draw.randrange(_VOCABULARY)
    codas = len(_CODAS)
    walk = range(start, start + step * count, step)
    return [_PAIRS[number % _VOCABULARY // codas] + _CODAS[number % codas] for number in walk]


def accented(tokens: list[str]) -> list[str]:
    """The same tokens with letters that take two bytes in UTF-8, each at the place of a plain one."""
    table = str.maketrans("aeiou", "àéîõü")
    return [token.translate(table) for token in tokens]


def split_tokens(text: str) -> list[str]:
    """A given text as tokens: each word with the white space before it; their concatenation is `text`."""
    return _PIECES.findall(text)
