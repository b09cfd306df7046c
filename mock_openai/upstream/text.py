"""Reply texts in which every word stands once, so that any part of a reply says where it belongs.

One token is one word with the space before it, as tokens of the real service usually are.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

_ONSETS = (*"bcdfglmnprstv", "br", "cl", "dr", "fl", "gr", "pl", "qu", "st", "tr")
_NUCLEI = ("a", "e", "i", "o", "u", "ae", "ia", "io")
_CODAS = ("", "l", "m", "n", "r", "s", "nt", "rd", "st")
_SYLLABLES = tuple(onset + nucleus for onset in _ONSETS for nucleus in _NUCLEI)
_VOCABULARY = len(_SYLLABLES) ** 2 * len(_CODAS)
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


def generate_tokens(count: int, draw: random.Random) -> list[str]:
    """`count` tokens whose concatenation is sentences of 8 to 14 words; no word occurs twice.

    `count` is at most 278,784, the number of different words.
    """
    tokens: list[str] = []
    left_in_sentence = 0
    # Numbers drawn without repetition are words without repetition: that is much faster than to look for new words.
    for index, number in enumerate(draw.sample(range(_VOCABULARY), count)):
        starts_sentence = left_in_sentence == 0
        if starts_sentence:
            left_in_sentence = draw.randint(*_SENTENCE_WORDS)
        word = _word(number)
        left_in_sentence -= 1
        shown = word.capitalize() if starts_sentence else word
        ends_sentence = left_in_sentence == 0 or index == count - 1
        tokens.append(("" if index == 0 else " ") + shown + ("." if ends_sentence else ""))
    return tokens


def markdown_tokens(count: int, draw: random.Random) -> list[str]:
    """`count` tokens of Markdown: headings, paragraphs, lists with emoji, and indented code; no word occurs twice.

    What a client does to line breaks, indents and characters beyond the basic plane shows in it.
    """
    words = [_word(number) for number in draw.sample(range(_VOCABULARY), count)]
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


def _word(number: int) -> str:
    """The word of a number: two syllables, and a coda."""
    number, coda = divmod(number, len(_CODAS))
    first, second = divmod(number, len(_SYLLABLES))
    return f"{_SYLLABLES[first]}{_SYLLABLES[second]}{_CODAS[coda]}"


def accented(tokens: list[str]) -> list[str]:
    """The same tokens with letters that take two bytes in UTF-8, each at the place of a plain one."""
    table = str.maketrans("aeiou", "àéîõü")
    return [token.translate(table) for token in tokens]


def split_tokens(text: str) -> list[str]:
    """A given text as tokens: each word with the white space before it; their concatenation is `text`."""
    return _PIECES.findall(text)
