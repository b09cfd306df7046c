"""Every case says what a reader must know, has a defect that breaks it, and is on the pages."""

from __future__ import annotations

import re

import pytest

from mock_openai.chat.defects.catalogue import DEFECTS
from streambench.conformance.case import Case
from streambench.conformance.suite import AREAS, all_cases
from tools.conformance import FOLDER, pages

# Mistakes that chat services were really shipped with, each with the case that finds it.
PUBLIC_BUGS = {
    "the history takes the first ten messages instead of the last": ("history.newest", "first-ten-history"),
    "a reply is written into somebody else's conversation": ("owner.write", "writes-to-others"),
    "the stream has text/plain": ("sse.content-type", "wrong-content-type"),
    "text comes twice after a fallback": ("upstream.nothing-twice", "double-text-on-fallback"),
    "the upstream is not cancelled when the user leaves": ("leave.cancels", "no-cancel"),
    "an error in mid-stream is swallowed": ("upstream.errs-in-stream", "silent-truncation"),
    "the replies of two users at once are mixed": ("concurrent.own-text", "mixes-replies"),
    "UTF-8 is split into U+FFFD": ("text.utf8-split", "splits-utf8"),
    "a slow reader blocks everyone": ("slow.others", "blocks-on-slow-reader"),
    "keep-alives break the client's JSON": ("grammar.keep-alives-are-comments", "keep-alive-as-data"),
    "the first content comes after the upstream ended": ("stream.begins-early", "buffers-reply"),
}


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.id)
def test_a_case_says_all_that_a_reader_must_know(case: Case) -> None:
    assert re.fullmatch(r"[a-z0-9]+\.[a-z0-9]+(-[a-z0-9]+)*", case.id)
    assert case.area in AREAS
    for text in (case.requirement, case.steps, case.judgement, case.remedy):
        assert text[0].isupper() or text[0].isdigit() or text[0] == "`", text
        assert text.endswith("."), text
    assert "\n" not in case.requirement
    assert case.source
    assert case.defect in DEFECTS, "a case without a defect that breaks it does not exist"


@pytest.mark.parametrize("bug", PUBLIC_BUGS)
def test_each_public_bug_has_its_case(bug: str) -> None:
    """That the defect breaks the case is proved with all others."""
    case_id, defect = PUBLIC_BUGS[bug]
    assert {case.id: case.defect for case in all_cases()}[case_id] == defect


def test_the_pages_are_those_of_the_code() -> None:
    written = {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.md") if path.name != "real-software.md"}
    assert written == pages(), "write them anew: python -m tools.conformance"
