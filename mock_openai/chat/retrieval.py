"""Retrieval from stored documents, for users who may not read all of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

CLEARANCES = ("public", "internal", "confidential", "secret")  # each may read the ones before it
DEFAULT_CLEARANCE = "internal"
MAX_DOCUMENTS = 100  # a thread's
MAX_PASSAGES = 3

_WORD = re.compile(r"\w{3,}")
_STOP_WORDS = frozenset(
    {"and", "are", "but", "can", "for", "from", "has", "have", "how", "not", "our", "that", "the", "their", "this"}
    | {"was", "what", "when", "who", "why", "with", "you", "your"}
)


@dataclass(frozen=True, slots=True)
class Document:
    """A text that is stored with a thread; `clearance` is what one needs in order to read it."""

    id: str
    title: str
    content: str
    clearance: str
    created_at: str

    def to_json(self) -> dict[str, Any]:
        """What lists show: everything but the text."""
        return {"id": self.id, "title": self.title, "clearance": self.clearance, "created_at": self.created_at}


@dataclass(frozen=True, slots=True)
class Passage:
    """A paragraph of a document that has words of the question in it."""

    document: Document
    text: str


def may_read(clearance: str, document: Document) -> bool:
    """Whether somebody with a clearance may know of a document."""
    return CLEARANCES.index(document.clearance) <= CLEARANCES.index(clearance)


def retrieve(documents: Iterable[Document], question: str, clearance: str) -> list[Passage]:
    """The paragraphs with the most words of the question, best first; a word of the title counts half.

    What `clearance` does not allow is left out before anything is looked at, so neither its text nor the fact that it
    exists can reach a prompt or an event.
    """
    asked = _words(question)
    found: list[tuple[int, Passage]] = []
    for document in documents:
        if not may_read(clearance, document):
            continue
        of_title = len(asked & _words(document.title))
        for paragraph in re.split(r"\n\s*\n", document.content):
            score = 2 * len(asked & _words(paragraph)) + of_title
            if score and paragraph.strip():
                found.append((score, Passage(document, paragraph.strip())))
    found.sort(key=lambda item: -item[0])
    return [passage for _, passage in found[:MAX_PASSAGES]]


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower())) - _STOP_WORDS
