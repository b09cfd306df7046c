"""Both sides of one stream: each piece of text that the client got, and when the upstream wrote it.

Pieces are matched by their place in the text, so it does not matter how the system between has cut it anew. Where the
texts differ, the difference is found word by word; the upstream's texts hold every word once.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from streambench.findings import Axis, Finding, Severity
from streambench.record.model import StreamRecord, UpstreamExchange
from streambench.rules import Rule, declare

MAX_DIFFERENCES = 20
MAX_DIFF_WORDS = 4000
EXCERPT_CHARS = 60
_WORD = re.compile(r"\s*\S+|\s+\Z")

_SOURCE = "the text that the upstream wrote"
LOST = declare(Rule("content.lost", Axis.CONTENT, "All text that the upstream wrote reaches the client.", _SOURCE))
DUPLICATED = declare(Rule("content.duplicated", Axis.CONTENT, "No text reaches the client twice.", _SOURCE))
REORDERED = declare(
    Rule("content.reordered", Axis.CONTENT, "Text reaches the client in the order in which it was written.", _SOURCE)
)
ALTERED = declare(Rule("content.altered", Axis.CONTENT, "Text reaches the client unchanged.", _SOURCE))
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


@dataclass(frozen=True, slots=True)
class Alignment:
    """The two time lines of a stream, on one clock in ns.

    `arrived_ns`, `written_ns` and `chars` are parallel, one row for each client chunk with content: when it arrived,
    when the upstream had written its last character, and how many characters it brought; `ends` is the place of that
    last character in the upstream's text, and `rows` the chunk's row among the record's events. Chunks whose text the
    upstream never wrote are left out. `upstream` is the exchange that the reply came from.
    """

    upstream: UpstreamExchange
    arrived_ns: Sequence[int]
    written_ns: Sequence[int]
    chars: Sequence[int]
    ends: Sequence[int]
    rows: Sequence[int]
    findings: tuple[Finding, ...] = ()

    @property
    def lag_ns(self) -> list[int]:
        """What the system between added to each chunk."""
        return [arrived - written for arrived, written in zip(self.arrived_ns, self.written_ns, strict=True)]

    @property
    def reached_client(self) -> bool:
        """At least the upstream's first write arrived whole."""
        first = self.upstream.offset[0] - 1
        return any(end >= first for end in self.ends)

    def deliveries(self) -> list[tuple[int, int]]:
        """Each write of the upstream with the moment when the client had all of its text; a write that never reached
        the client whole is left out.
        """
        out: list[tuple[int, int]] = []
        chunk = 0
        for written_ns, offset in zip(self.upstream.written_ns, self.upstream.offset, strict=True):
            while chunk < len(self.ends) and self.ends[chunk] < offset - 1:
                chunk += 1
            if chunk == len(self.ends):
                break
            out.append((written_ns, self.arrived_ns[chunk]))
        return out


def align(record: StreamRecord) -> Alignment | None:
    """The two sides of a stream; None where one of them is missing."""
    upstream = serving_exchange(record)
    if upstream is None or record.text is None:
        return None
    sent = upstream.text[: upstream.offset[-1]]
    blocks, findings = compare(sent, record.text, complete=record.terminal_event, stopped=upstream.ended != "complete")
    arrived: list[int] = []
    written: list[int] = []
    chars: list[int] = []
    ends: list[int] = []
    rows: list[int] = []
    at_ns, offset, written_ns = record.events.at_ns, upstream.offset, upstream.written_ns
    whole = blocks[0][2] if len(blocks) == 1 and blocks[0][:2] == (0, 0) else 0  # so far the texts are the same
    position = 0
    for row, count in enumerate(record.events.chars):
        if count <= 0:
            continue
        position += count
        origin = position - 1 if position <= whole else _origin(blocks, position - 1)
        if origin is None:
            continue
        write = bisect_left(offset, origin + 1)
        if write >= len(written_ns):
            continue
        arrived.append(at_ns[row])
        written.append(written_ns[write])
        chars.append(count)
        ends.append(origin)
        rows.append(row)
    return Alignment(upstream, arrived, written, chars, ends, rows, tuple(findings))


def serving_exchange(record: StreamRecord) -> UpstreamExchange | None:
    """The upstream request that the reply came from: of several attempts, the last one that wrote text."""
    written = [exchange for exchange in record.upstream if exchange.written_ns and exchange.offset]
    return written[-1] if written else None


Block = tuple[int, int, int]  # (first character in the client's text, first in the upstream's, how many)


def compare(sent: str, got: str, *, complete: bool, stopped: bool) -> tuple[list[Block], list[Finding]]:
    """Where the client's text comes from in the upstream's, and what was lost, doubled, moved or changed on the way.

    `complete`: the client's stream came to its regular end. `stopped`: the upstream was stopped before its own end, so
    that a shorter reply is what the system wanted.
    """
    if sent == got:
        return [(0, 0, len(got))], []
    if sent.startswith(got):
        # What is missing at the end of a stream that broke off is the broken stream's own finding.
        findings = [] if not complete else [_shortened(sent, got, stopped=stopped)]
        return [(0, 0, len(got))], findings
    sent_words, got_words = _WORD.findall(sent), _WORD.findall(got)
    if max(len(sent_words), len(got_words)) > MAX_DIFF_WORDS:
        same = _common_prefix(sent, got)
        return [(0, 0, same)], [_difference(ALTERED, same, sent[same:], got[same:])]
    sent_at, got_at = _starts(sent_words), _starts(got_words)
    ends = (len(sent_words), len(got_words))
    # Words are compared without the white space before them, so that a trimmed first word is no other word.
    matcher = SequenceMatcher(
        None, [word.strip() for word in sent_words], [word.strip() for word in got_words], autojunk=False
    )
    blocks = _blocks(matcher.get_matching_blocks(), sent_at, got_at)
    changes = [
        _Change("".join(sent_words[i1:i2]), "".join(got_words[j1:j2]), got_at[j1], (i2, j2) == ends)
        for kind, i1, i2, j1, j2 in matcher.get_opcodes()
        if kind != "equal"
    ]
    return blocks, _findings(changes, sent, complete=complete, stopped=stopped)


def _blocks(matches: Iterable[tuple[int, int, int]], sent_at: Sequence[int], got_at: Sequence[int]) -> list[Block]:
    """The matching words in characters. Words end together; of the white space before them the nearer part counts."""
    blocks: list[Block] = []
    for i, j, count in matches:
        for sent_word, got_word in zip(range(i, i + count), range(j, j + count), strict=True):
            sent_end, got_end = sent_at[sent_word + 1], got_at[got_word + 1]
            size = min(sent_end - sent_at[sent_word], got_end - got_at[got_word])
            if blocks:
                first, origin, before = blocks[-1]
                if (first + before, origin + before) == (got_end - size, sent_end - size):
                    blocks[-1] = (first, origin, before + size)
                    continue
            blocks.append((got_end - size, sent_end - size, size))
    return blocks


@dataclass(frozen=True, slots=True)
class _Change:
    """`missing` of the upstream's text has become `extra`, at character `offset` of the client's text."""

    missing: str
    extra: str
    offset: int
    at_end: bool


def _findings(changes: Sequence[_Change], sent: str, *, complete: bool, stopped: bool) -> list[Finding]:
    lost = {change.missing.strip() for change in changes if not change.extra.strip()}
    added = {change.extra.strip() for change in changes if not change.missing.strip()}
    moved = lost & added
    out: list[Finding] = []
    for change in changes:
        missing, extra, offset = change.missing.strip(), change.extra.strip(), change.offset
        if not missing and not extra:
            continue
        if change.at_end and missing.startswith(extra) and missing not in moved:
            # A word may have been cut in two.
            rest = change.missing.lstrip()[len(extra) :]
            if complete and stopped:
                out.append(_difference(SHORTENED, offset + len(change.extra), rest, ""))
            elif complete:
                out.append(_difference(LOST, offset + len(change.extra), rest, ""))
        elif not extra:
            if missing not in moved:
                out.append(_difference(LOST, offset, change.missing, ""))
        elif not missing:
            rule = REORDERED if extra in moved else DUPLICATED if extra in sent else ALTERED
            out.append(_difference(rule, offset, "", change.extra))
        else:
            out.append(_difference(ALTERED, offset, change.missing, change.extra))
    if not out and complete:
        out.append(WHITESPACE.found("Only white space differs."))
    return out[:MAX_DIFFERENCES]


_WORDS = {
    LOST: "Text that the upstream wrote never reached the client",
    SHORTENED: "The reply ends before the upstream's text does, and the upstream was stopped",
    DUPLICATED: "Text reached the client twice",
    REORDERED: "Text reached the client in another place than the upstream wrote it",
    ALTERED: "Text reached the client changed",
}


def _difference(rule: Rule, offset: int, missing: str, extra: str) -> Finding:
    return rule.found(
        f"{_WORDS[rule]}, at character {offset} of the reply.",
        got=_excerpt(extra) if extra else None,
        expected=(_excerpt(missing),) if missing else (),
    )


def _shortened(sent: str, got: str, *, stopped: bool) -> Finding:
    missing = sent[len(got) :]
    if not missing.strip():
        return WHITESPACE.found("Only white space differs.")
    if stopped:
        return _difference(SHORTENED, len(got), missing, "")
    return _difference(LOST, len(got), missing, "")


def _origin(blocks: Sequence[Block], position: int) -> int | None:
    """The place in the upstream's text of a character of the client's."""
    index = bisect_left(blocks, position + 1, key=lambda block: block[0]) - 1
    if index < 0:
        return None
    first, origin, size = blocks[index]
    return origin + position - first if position < first + size else None


def _starts(words: Sequence[str]) -> list[int]:
    """Where each word begins, and where the text ends."""
    starts = [0]
    for word in words:
        starts.append(starts[-1] + len(word))
    return starts


def _common_prefix(one: str, other: str) -> int:
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return index
    return min(len(one), len(other))


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= EXCERPT_CHARS else text[: EXCERPT_CHARS - 1] + "…")
