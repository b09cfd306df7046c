"""Text of others cannot act on a terminal, and says the same in JSON."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streambench.printable import printable, printable_json, printable_lines, printable_values


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Grüße, 世界 👩‍🚀", "Grüße, 世界 👩‍🚀"),
        ("\x1b[2J\x1b]0;x\x07", "\\x1b[2J\\x1b]0;x\\x07"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\x9b31m", "\\x9b31m"),
        ("\ud83d", "\\ud83d"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_acts_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters(codec=None)))
def test_nothing_that_acts_is_left(text: str) -> None:
    shown = printable(text)
    shown.encode()
    left = {unicodedata.category(character) for character in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert not left
    assert not {unicodedata.bidirectional(character) for character in shown} & {"LRE", "RLE", "LRO", "RLO", "PDF"}
    assert printable(shown) == shown


@given(st.text(st.characters(codec=None)))
def test_a_json_document_says_the_same(text: str) -> None:
    document = printable_json(json.dumps({"a": text}, ensure_ascii=False, indent=1))
    document.encode()
    assert json.loads(document) == json.loads(json.dumps({"a": text}))


def test_lines_of_our_own_stay_lines() -> None:
    assert printable_lines("a\n\tb\r\x1b") == "a\n\tb\\r\\x1b"


def test_every_text_of_a_value_is_made_printable() -> None:
    assert printable_values({"\x07": ["\x1b", 1, None]}) == {"\\x07": ["\\x1b", 1, None]}
