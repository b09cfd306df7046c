"""Compares the client's text with what the upstream wrote: where each word comes from, and what happened to it.

A stream may be made of several texts, in any order, and some texts may not be used at all: a title, a tool call, an
attempt that was given up. Words tell where text comes from; the upstream's texts hold every word once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import groupby, pairwise

from streambench.findings import Axis, Finding, Severity
from streambench.rules import Rule, declare

MAX_DIFFERENCES = 20
MAX_DIFF_WORDS = 4000
EXCERPT_CHARS = 60
SHARE_OF_A_TEXT = 0.2  # of a second text's words that must be there, or it was not used
_WORD = re.compile(r"\s*\S+|\s+\Z")

_SOURCE = "the text that the upstream wrote"
LOST = declare(Rule("content.lost", Axis.CONTENT, "All text that the upstream wrote reaches the client.", _SOURCE))
DUPLICATED = declare(Rule("content.duplicated", Axis.CONTENT, "No text reaches the client twice.", _SOURCE))
REORDERED = declare(
    Rule("content.reordered", Axis.CONTENT, "Text reaches the client in the order in which it was written.", _SOURCE)
)
ALTERED = declare(Rule("content.altered", Axis.CONTENT, "Text reaches the client unchanged.", _SOURCE))
ADDED = declare(
    Rule("content.added", Axis.CONTENT, "The client gets no text other than the upstream's.", _SOURCE, Severity.INFO)
)
SHORTENED = declare(
    Rule(
        "content.shortened",
        Axis.CONTENT,
        "A reply ends where its upstream's text ends, unless the upstream was stopped on purpose.",
        _SOURCE,
        Severity.INFO,
    )
)
WHITESPACE = declare(
    Rule(
        "content.whitespace", Axis.CONTENT, "White space reaches the client as it was written.", _SOURCE, Severity.INFO
    )
)

_IN_WORDS = {
    LOST: "Text that the upstream wrote never reached the client",
    SHORTENED: "The reply ends before the upstream's text does, because the upstream was stopped",
    DUPLICATED: "Text reached the client twice",
    REORDERED: "Text reached the client out of order",
    ALTERED: "Text reached the client changed",
    ADDED: "The client got text that the upstream did not write",
}


@dataclass(frozen=True, slots=True)
class Sent:
    """A text that the upstream wrote. `stopped`: it did not end by itself, so that what is missing was not wanted."""

    text: str
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """`size` characters of the client's text, from `first` on, are those of text number `text` from `origin` on."""

    first: int
    text: int
    origin: int
    size: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Where the client's text comes from (`pieces`, in its order), and what was lost or changed on the way."""

    pieces: list[Piece]
    findings: list[Finding]

    @property
    def used(self) -> list[int]:
        """The numbers of the texts that the client's text is made of, in the order in which they begin in it."""
        return list(dict.fromkeys(piece.text for piece in self.pieces))


def compare(texts: Sequence[Sent], got: str, *, complete: bool) -> Comparison:
    """Find the client's text `got` in `texts`, which come in the order of preference: of equal texts the first counts.

    `complete`: the client's stream came to its regular end; what is missing at the end of a stream that broke off is
    the broken stream's own finding.
    """
    for number, sent in enumerate(texts):
        if sent.text == got:
            return Comparison([Piece(0, number, 0, len(got))], [])
    for number, sent in enumerate(texts):
        if sent.text.startswith(got) and (got or len(texts) == 1):
            findings = [_shortened(sent, got)] if complete else []
            return Comparison([Piece(0, number, 0, len(got))], findings)
    words = _Words.of(got)
    split = [_Words.of(sent.text) for sent in texts]
    if max(len(words.plain), *(len(one.plain) for one in split)) > MAX_DIFF_WORDS:
        return _compare_beginnings(texts, got)
    words = words.parted([[word for word in one.plain if word] for one in split])
    return _Matching(texts, split, got, words).compare(complete=complete)


@dataclass(frozen=True, slots=True)
class _Words:
    """The words of a text: each with the white space before it (`whole`) and without (`plain`), and where it begins;
    `starts` has one more, the end of the text.
    """

    whole: list[str]
    plain: list[str]
    starts: list[int]

    @classmethod
    def of(cls, text: str) -> _Words:
        return cls.of_whole(_WORD.findall(text))

    @classmethod
    def of_whole(cls, whole: list[str]) -> _Words:
        starts = [0]
        for word in whole:
            starts.append(starts[-1] + len(word))
        # Words are compared without the white space before them, so that a trimmed first word is no other word.
        return cls(whole, [word.strip() for word in whole], starts)

    def text(self, words: Iterable[int]) -> str:
        return "".join(self.whole[word] for word in words)

    def parted(self, texts: Sequence[Sequence[str]]) -> _Words:
        """The same, but words that are one only because a text was joined to something with no space between, another
        text or the service's own words, are parted where the text begins or ends.
        """
        known = {word for text in texts for word in text}
        whole: list[str] = []
        for j, word in enumerate(self.plain):
            edges: set[int] = set()
            if word not in known:
                # The word beside it may be joined as well, on its other side.
                before, after = "".join(self.plain[max(0, j - 1) : j]), "".join(self.plain[j + 1 : j + 2])
                for text in texts:
                    if text and word.startswith(text[-1]) and before.endswith("".join(text[-2:-1])):
                        edges.add(len(text[-1]))
                    if text and word.endswith(text[0]) and after.startswith("".join(text[1:2])):
                        edges.add(len(word) - len(text[0]))
            space = len(self.whole[j]) - len(word)
            places = [0, *(space + edge for edge in sorted(edges)), len(self.whole[j])]
            whole += [self.whole[j][begin:end] for begin, end in pairwise(places)]
        return self if len(whole) == len(self.whole) else _Words.of_whole(whole)


@dataclass(slots=True)
class _Matching:
    """The words of the client's text and whose they are: `owner[j]` is (text, word) or None."""

    texts: Sequence[Sent]
    split: list[_Words]
    got: str
    words: _Words
    owner: list[tuple[int, int] | None] = field(default_factory=list)

    def compare(self, *, complete: bool) -> Comparison:
        self.owner = [None] * len(self.words.plain)
        there = set(self.words.plain)
        shared = [sum(word in there for word in one.plain) for one in self.split]
        order = sorted(range(len(self.texts)), key=lambda number: -shared[number])
        for place, number in enumerate(order):
            if shared[number]:
                self._take(number, surely=place == 0)
        pieces = self._pieces()
        if not pieces:
            # One text, and another one came; of several texts none may have been meant for the client.
            rule = ALTERED if len(self.texts) == 1 else ADDED
            missing = self.texts[0].text if rule is ALTERED else ""
            return Comparison([], [_difference(rule, 0, missing, self.got)] if self.got.strip() else [])
        return Comparison(pieces, self._findings(complete=complete))

    def _take(self, number: int, *, surely: bool) -> None:
        """Find the words of a text among those that belong to no other yet; `surely`: even if there are few."""
        free = [word if owner is None else None for word, owner in zip(self.words.plain, self.owner, strict=True)]
        matcher: SequenceMatcher[str | None] = SequenceMatcher(None, self.split[number].plain, free, autojunk=False)
        blocks = matcher.get_matching_blocks()
        count, size = sum(block.size for block in blocks), len(self.split[number].plain)
        if not surely and count < size and (count < 2 or count < SHARE_OF_A_TEXT * size):
            return
        for i, j, length in blocks:
            for step in range(length):
                self.owner[j + step] = (number, i + step)

    def _pieces(self) -> list[Piece]:
        """The matching words in characters. Words end together; of the space before them the nearer part counts."""
        pieces: list[Piece] = []
        for j, owner in enumerate(self.owner):
            if owner is None:
                continue
            number, i = owner
            starts = self.split[number].starts
            sent_end, got_end = starts[i + 1], self.words.starts[j + 1]
            size = min(sent_end - starts[i], got_end - self.words.starts[j])
            if pieces and pieces[-1].text == number:
                last = pieces[-1]
                if (last.first + last.size, last.origin + last.size) == (got_end - size, sent_end - size):
                    pieces[-1] = Piece(last.first, number, last.origin, last.size + size)
                    continue
            pieces.append(Piece(got_end - size, number, sent_end - size, size))
        return pieces

    # What became of the words

    def _findings(self, *, complete: bool) -> list[Finding]:
        used = {owner[0] for owner in self.owner if owner is not None}
        taken = {owner for owner in self.owner if owner is not None}
        missing = {
            (number, i)
            for number in used
            for i, word in enumerate(self.split[number].plain)
            if word and (number, i) not in taken
        }
        lost_words = {self.split[number].plain[i] for number, i in missing}
        known = {word for number in used for word in self.split[number].plain}
        found: list[tuple[int, Finding]] = []
        for run in self._unowned():
            for rule, words in _kinds([self.words.plain[j] for j in run], lost_words, known):
                part = run[words.start : words.stop]
                text, offset = self.words.text(part), self.words.starts[part[0]]
                gap = self._gap(run, missing) if rule is ADDED else []
                if gap and part[-1] == len(self.owner) - 1 and self._is_cut(gap, text):
                    self._add_cut(found, gap, text, offset, complete=complete)
                    missing.difference_update(gap)
                elif gap and self._replaces(gap, part):
                    number = gap[0][0]
                    before = self.split[number].text(i for _, i in gap)
                    found.append((offset, _difference(ALTERED, offset, before, text)))
                    missing.difference_update(gap)
                else:
                    found.append((offset, _difference(rule, offset, "", text)))
                if rule is REORDERED:
                    moved = {self.words.plain[j] for j in part}
                    missing = {(number, i) for number, i in missing if self.split[number].plain[i] not in moved}
        found += self._losses(missing, complete=complete)
        if not found and complete and len(used) == 1:
            return [WHITESPACE.found("Only white space differs.")]
        return [finding for _, finding in sorted(found, key=lambda pair: pair[0])][:MAX_DIFFERENCES]

    def _unowned(self) -> Iterator[range]:
        """The runs of words that come from no text."""
        for unowned, group in groupby(range(len(self.owner)), key=lambda j: self.owner[j] is None):
            run = list(group)
            if unowned and any(self.words.plain[j] for j in run):
                yield range(run[0], run[-1] + 1)

    def _gap(self, run: range, missing: set[tuple[int, int]]) -> list[tuple[int, int]]:
        """The missing words of a text at the place where other words stand."""
        left = self.owner[run.start - 1] if run.start else None
        right = self.owner[run.stop] if run.stop < len(self.owner) else None
        if left is not None and right is not None:
            between = range(left[1] + 1, right[1]) if left[0] == right[0] else range(0)
            number = left[0]
        elif right is not None:
            number, between = right[0], range(right[1])
        elif left is not None:
            number, between = left[0], range(left[1] + 1, len(self.split[left[0]].plain))
        else:
            return []
        return [(number, i) for i in between if (number, i) in missing]

    def _is_cut(self, gap: list[tuple[int, int]], text: str) -> bool:
        """The client's last word is the beginning of the next one: a word was cut in two."""
        number, i = gap[0]
        return self.split[number].plain[i].startswith(text.strip()) and i + len(gap) == len(self.split[number].plain)

    def _replaces(self, gap: list[tuple[int, int]], part: range) -> bool:
        """Words stand for others. At the end of a text, where one may be cut and words of another added, as many."""
        number, last = gap[-1]
        at_end = last == len(self.split[number].plain) - 1 and part[-1] == len(self.owner) - 1
        return not at_end or (not self.texts[number].stopped and len(gap) == len(part))

    def _add_cut(
        self, found: list[tuple[int, Finding]], gap: list[tuple[int, int]], text: str, offset: int, *, complete: bool
    ) -> None:
        number = gap[0][0]
        rest = self.split[number].text(i for _, i in gap).lstrip()[len(text.strip()) :]
        if complete:
            place = offset + len(text)
            rule = SHORTENED if self.texts[number].stopped else LOST
            found.append((place, _difference(rule, place, rest, "")))

    def _losses(self, missing: set[tuple[int, int]], *, complete: bool) -> Iterator[tuple[int, Finding]]:
        runs: list[list[tuple[int, int]]] = []
        for number, i in sorted(missing):
            if runs and runs[-1][-1] == (number, i - 1):
                runs[-1].append((number, i))
            else:
                runs.append([(number, i)])
        for run in runs:
            number, last = run[-1]
            at_end = not any(self.split[number].plain[last + 1 :])
            offset = self._place_of(number, run[0][1])
            rule = SHORTENED if at_end and self.texts[number].stopped else LOST
            if complete or not at_end:
                yield offset, _difference(rule, offset, self.split[number].text(i for _, i in run), "")

    def _place_of(self, number: int, word: int) -> int:
        """Where in the client's text a missing word would stand: after the nearest word of its text before it."""
        before = [j for j, owner in enumerate(self.owner) if owner is not None and owner[0] == number]
        nearest = [j for j in before if (self.owner[j] or (0, 0))[1] < word]
        return self.words.starts[nearest[-1] + 1] if nearest else self.words.starts[before[0]]


def _kinds(words: Sequence[str], lost: set[str], known: set[str]) -> Iterator[tuple[Rule, range]]:
    """Cuts words that come from no place into runs: those that are missing elsewhere, those that came already, and the
    service's own. A word that by chance is also one of the upstream's does not make a run of its own.
    """
    kinds = [REORDERED if word in lost else DUPLICATED if word in known else ADDED for word in words]
    runs = [(rule, list(group)) for rule, group in groupby(range(len(words)), key=lambda j: kinds[j])]
    if len(runs) > 1:
        for rule, run in runs:
            if rule is not ADDED and len(run) == 1:
                kinds[run[0]] = ADDED
    for rule, group in groupby(range(len(words)), key=lambda j: kinds[j]):
        places = list(group)
        yield rule, range(places[0], places[-1] + 1)


def _compare_beginnings(texts: Sequence[Sent], got: str) -> Comparison:
    """Of texts too long to be compared word by word: as far as the most similar one is the same."""
    same = [_common_prefix(sent.text, got) for sent in texts]
    number = max(range(len(texts)), key=same.__getitem__)
    text, size = texts[number].text, same[number]
    pieces = [Piece(0, number, 0, size)] if size else []
    if size == len(text):
        return Comparison(pieces, [_difference(ADDED, size, "", got[size:])] if got[size:].strip() else [])
    return Comparison(pieces, [_difference(ALTERED, size, text[size:], got[size:])])


def _difference(rule: Rule, offset: int, missing: str, extra: str) -> Finding:
    return rule.found(
        f"{_IN_WORDS[rule]}, at character {offset + 1} of the reply.",
        got=_excerpt(extra) if extra else None,
        expected=(_excerpt(missing),) if missing else (),
    )


def _shortened(sent: Sent, got: str) -> Finding:
    missing = sent.text[len(got) :]
    if not missing.strip():
        return WHITESPACE.found("Only white space differs.")
    return _difference(SHORTENED if sent.stopped else LOST, len(got), missing, "")


def _common_prefix(one: str, other: str) -> int:
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return index
    return min(len(one), len(other))


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= EXCERPT_CHARS else text[: EXCERPT_CHARS - 1] + "…")
