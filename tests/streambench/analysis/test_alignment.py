"""Both sides of a stream: where the client's text came from, and what happened to it on the way."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streambench.analysis.alignment import Alignment, align
from streambench.analysis.differences import Comparison, Sent, compare
from streambench.analysis.metrics import Settings
from streambench.analysis.stream import analyse
from streambench.findings import Severity
from streambench.record.model import EventColumns, Outcome, StreamRecord, UpstreamExchange

MS = 1_000_000
TEXT = "Alpha beta gamma delta. Epsilon zeta eta theta. Iota kappa lambda mu."


def compared(sent: str, got: str, *, complete: bool = True, stopped: bool = False) -> Comparison:
    return compare([Sent(sent, stopped)], got, complete=complete)


def rules(sent: str, got: str, *, complete: bool = True, stopped: bool = False) -> list[tuple[str, bool]]:
    """The rules that a difference breaks, and whether that is a violation."""
    found = compared(sent, got, complete=complete, stopped=stopped).findings
    return [(finding.rule.removeprefix("content."), finding.severity is Severity.VIOLATION) for finding in found]


def origins(sent: str, got: str) -> list[int | None]:
    """The place in `sent` of each character of `got`."""
    out: list[int | None] = [None] * len(got)
    for piece in compared(sent, got).pieces:
        for i in range(piece.size):
            out[piece.first + i] = piece.origin + i
    return out


def cut(text: str, places: Sequence[int]) -> list[str]:
    """`text` in pieces, cut at the places."""
    return [text[a:b] for a, b in pairwise([0, *sorted({p for p in places if 0 < p < len(text)}), len(text)])]


words = st.lists(st.text("abcdeéß漢😀", min_size=1, max_size=6), min_size=1, max_size=25, unique=True)
spaces = st.sampled_from([" ", "  ", "\n", "\n\n"])
cuts = st.lists(st.integers(1, 200), max_size=40)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(words.map(" ".join), cuts, cuts)
def test_however_the_text_is_cut_every_chunk_finds_its_own_write(
    text: str, written: list[int], arrived: list[int]
) -> None:
    writes, chunks = cut(text, written), cut(text, arrived)
    offset = list(accumulate(map(len, writes)))
    exchange = UpstreamExchange(1, 0, 200, text, ended="complete", offset=offset)
    exchange.written_ns = exchange.scheduled_ns = list(range(1000, 1000 + len(writes)))
    at_ns = list(range(5000, 5000 + len(chunks)))
    record = StreamRecord("s", "t", "d", 0, 0, text=text, terminal_event=True, upstream=[exchange])
    record.events = EventColumns(at_ns, ["c"] * len(chunks), [len(chunk) for chunk in chunks], list(range(len(chunks))))
    found = align(record)
    assert found is not None
    assert found.findings == ()
    assert list(found.arrived_ns) == at_ns
    assert list(found.chars) == [len(chunk) for chunk in chunks]
    ends = [end - 1 for end in accumulate(map(len, chunks))]
    assert list(found.ends) == ends
    assert list(found.written_ns) == [1000 + bisect_left(offset, end + 1) for end in ends]
    assert found.lag_ns == [a - w for a, w in zip(found.arrived_ns, found.written_ns, strict=True)]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(words, st.data())
def test_other_white_space_is_no_violation_and_moves_no_word(parts: list[str], data: st.DataObject) -> None:
    def joined() -> tuple[str, list[int]]:
        """The words with some white space between them, and where each of them ends."""
        text, ends = data.draw(st.sampled_from(["", " ", "\n"])), []
        for i, part in enumerate(parts):
            text += part if i == 0 else data.draw(spaces) + part
            ends.append(len(text) - 1)
        return text + data.draw(st.sampled_from(["", " ", "\n"])), ends

    (sent, sent_ends), (got, got_ends) = joined(), joined()
    assert all(not violation for _, violation in rules(sent, got))
    assert {rule for rule, _ in rules(sent, got)} <= {"whitespace"}
    found = origins(sent, got)
    assert [found[end] for end in got_ends] == sent_ends


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(words, words, st.booleans(), st.booleans())
def test_any_two_texts_can_be_compared(one: list[str], other: list[str], complete: bool, stopped: bool) -> None:
    sent, got = " ".join(one), " ".join(other)
    found = compared(sent, got, complete=complete, stopped=stopped)
    assert sent == got or found.findings or not complete or got.split() == sent.split()
    end = 0
    for piece in found.pieces:
        assert piece.first >= end
        assert piece.origin >= 0
        theirs = sent[piece.origin : piece.origin + piece.size]
        assert got[piece.first : piece.first + piece.size].split() == theirs.split()
        end = piece.first + piece.size
    assert end <= len(got)


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (TEXT, []),
        # lost
        (TEXT.replace(" zeta", ""), [("lost", True)]),
        (TEXT.replace("Alpha ", ""), [("lost", True)]),
        (TEXT.removesuffix(" lambda mu."), [("lost", True)]),
        (TEXT.removesuffix("da mu."), [("lost", True)]),
        ("", [("lost", True)]),
        (TEXT.replace(" beta gamma", "").replace(" eta theta.", ""), [("lost", True), ("lost", True)]),
        # doubled
        (TEXT.replace(" zeta", " zeta zeta"), [("duplicated", True)]),
        (TEXT + " lambda mu.", [("duplicated", True)]),
        # moved
        (TEXT.replace(" zeta", "").replace("Iota", "zeta Iota"), [("reordered", True)]),
        (TEXT.replace("gamma delta.", "delta. gamma"), [("reordered", True)]),
        # changed
        (TEXT.replace("zeta", "ZETA"), [("altered", True)]),
        (TEXT.replace("mu.", "Omega"), [("altered", True)]),
        # added: the service's own words
        (TEXT + " Omega", [("added", False)]),
        ("Here you are: " + TEXT, [("added", False)]),
        ("Here you are:\n\n" + TEXT + "\n\nSources: one, two", [("added", False), ("added", False)]),
        (TEXT.replace(" Iota", " [searching] Iota"), [("added", False)]),
        (TEXT.replace(" zeta", "") + " Sources: beta", [("lost", True), ("added", False)]),
        ("Something else entirely", [("altered", True)]),
        # only white space
        (TEXT + "\n", [("whitespace", False)]),
        ("\n" + TEXT, [("whitespace", False)]),
        (TEXT.replace(" ", "  ") + "  ", [("whitespace", False)]),
        (TEXT.replace(". ", ".\n"), [("whitespace", False)]),
    ],
)
def test_what_happened_to_the_text(got: str, expected: list[tuple[str, bool]]) -> None:
    assert rules(TEXT, got) == expected


def test_white_space_that_the_upstream_wrote_last_may_be_trimmed() -> None:
    assert rules(TEXT + " \n", TEXT) == [("whitespace", False)]
    assert rules(TEXT + " \n", TEXT.replace(" ", "  ")) == [("whitespace", False)]


def test_other_white_space_does_not_hide_what_is_lost() -> None:
    assert rules(TEXT, TEXT.replace(" zeta", "").replace(" ", "  ") + "\n") == [("lost", True)]


@pytest.mark.parametrize("got", ["Alpha beta gamma delta.", "Alpha beta gamma", "Alpha be", ""])
def test_a_reply_that_was_cut_on_purpose_is_a_prefix(got: str) -> None:
    assert rules(TEXT, got, stopped=True) == [("shortened", False)]
    assert rules(TEXT, got, stopped=False) == [("lost", True)]
    # A stream that broke off has its own finding, and what is missing at its end is no second one.
    assert rules(TEXT, got, complete=False) == []


def test_a_shortened_reply_still_shows_what_is_wrong_before_its_end() -> None:
    got = "Alpha gamma delta. Epsilon"
    assert rules(TEXT, got, stopped=True) == [("lost", True), ("shortened", False)]
    assert rules(TEXT, got, complete=False) == [("lost", True)]


@pytest.mark.parametrize(("complete", "stopped"), [(True, True), (False, True), (False, False)])
def test_what_is_missing_before_the_end_is_lost_however_the_stream_ended(complete: bool, stopped: bool) -> None:
    got = TEXT.replace(" zeta", "")
    assert rules(TEXT, got, complete=complete, stopped=stopped) == [("lost", True)]


def test_a_cut_word_is_no_altered_word() -> None:
    got = TEXT.replace(" ", "  ")[:-2]
    assert rules(TEXT, got, stopped=True) == [("shortened", False)]
    assert rules(TEXT, got) == [("lost", True)]
    assert rules(TEXT, got, complete=False) == []


def test_a_finding_says_where_and_shows_both_texts() -> None:
    (finding,) = compared(TEXT, TEXT.replace("zeta", "ZETA")).findings
    assert f"at character {TEXT.index(' zeta') + 1} of" in finding.message
    assert "ZETA" in (finding.got or "")
    assert "zeta" in finding.expected[0]
    (finding,) = compared("a " * 2 + "b " * 500, "a a").findings
    assert len(finding.expected[0]) < 100


def test_thousands_of_differences_are_told_in_a_few() -> None:
    sent = " ".join(f"w{i}" for i in range(3000))
    got = " ".join(f"w{i}" if i % 2 else f"x{i}" for i in range(3000))
    assert 0 < len(compared(sent, got).findings) <= 20


def test_a_text_too_long_to_compare_word_by_word_is_compared_to_its_first_difference() -> None:
    sent = " ".join(f"w{i}" for i in range(9000))
    got = sent.replace("w8000 ", "W8000 ")
    found = compared(sent, got)
    assert [finding.rule for finding in found.findings] == ["content.altered"]
    assert [(piece.first, piece.origin, piece.size) for piece in found.pieces] == [(0, 0, sent.index("w8000 "))]


# Records


def test_the_time_line_of_a_lost_word_is_that_of_the_words_that_came(
    make_record: Callable[..., StreamRecord], make_exchange: Callable[..., UpstreamExchange]
) -> None:
    upstream = make_exchange([(0, "one"), (10, " two"), (20, " three"), (30, " four")])
    found = align(make_record([(1, "one"), (21, " three"), (31, " four")], upstream=[upstream]))
    assert found is not None
    assert [finding.rule for finding in found.findings] == ["content.lost"]
    assert [lag / MS for lag in found.lag_ns] == [1, 1, 1]


def test_text_that_the_upstream_never_wrote_is_in_no_time_line(
    make_record: Callable[..., StreamRecord], make_exchange: Callable[..., UpstreamExchange]
) -> None:
    upstream = make_exchange([(0, "one"), (10, " two"), (20, " three")])
    found = align(make_record([(1, "one"), (5, " NOT"), (11, " two"), (21, " three")], upstream=[upstream]))
    assert found is not None
    assert [at / MS for at in found.arrived_ns] == [1, 11, 21]
    assert [at / MS for at in found.written_ns] == [0, 10, 20]
    assert list(found.rows) == [0, 2, 3]


def test_events_without_content_are_no_chunks(
    make_record: Callable[..., StreamRecord], make_exchange: Callable[..., UpstreamExchange]
) -> None:
    upstream = make_exchange([(0, "one"), (10, " two")])
    found = align(make_record([(0, ""), (1, "one"), (5, ""), (11, " two")], upstream=[upstream]))
    assert found is not None
    assert list(found.rows) == [1, 3]
    assert [lag / MS for lag in found.lag_ns] == [1, 1]


def test_a_stopped_upstream_makes_a_shorter_reply_right(
    make_record: Callable[..., StreamRecord], make_exchange: Callable[..., UpstreamExchange]
) -> None:
    for ended, severity in (("cancelled", Severity.INFO), ("complete", Severity.VIOLATION)):
        upstream = make_exchange([(0, "One."), (10, " Two."), (20, " Three.")], ended=ended)
        found = align(make_record([(1, "One."), (11, " Two.")], upstream=[upstream]))
        assert found is not None
        assert [finding.severity for finding in found.findings] == [severity]


def test_only_what_the_upstream_wrote_can_be_missing(
    make_record: Callable[..., StreamRecord], make_exchange: Callable[..., UpstreamExchange]
) -> None:
    """The journal knows the whole planned text; a stopped upstream wrote the beginning of it."""
    upstream = make_exchange([(0, "One."), (10, " Two.")], text="One. Two. Three. Four.", ended="cancelled")
    found = align(make_record([(1, "One."), (11, " Two.")], upstream=[upstream]))
    assert found is not None
    assert found.findings == ()


def test_of_several_attempts_the_last_one_that_wrote_counts(
    make_record: Callable[..., StreamRecord], make_exchange: Callable[..., UpstreamExchange]
) -> None:
    refused = make_exchange([], status=500)
    first, second = make_exchange([(0, "uno")]), make_exchange([(50, "one")], attempt=2)
    record = make_record([(51, "one")], upstream=[refused, first, second, refused])
    found = align(record)
    assert found is not None
    assert found.upstream is second
    assert [lag / MS for lag in found.lag_ns] == [1]


def test_one_side_alone_is_no_alignment(
    make_record: Callable[..., StreamRecord], make_exchange: Callable[..., UpstreamExchange]
) -> None:
    assert align(make_record([(1, "one")])) is None
    assert align(make_record([(1, "one")], upstream=[make_exchange([])])) is None
    assert align(make_record([(1, "one")], upstream=[make_exchange([(0, "one")])], text=None)) is None


def test_deliveries_are_the_upstreams_writes_that_reached_the_client_whole(
    make_record: Callable[..., StreamRecord], make_exchange: Callable[..., UpstreamExchange]
) -> None:
    upstream = make_exchange([(0, "ab"), (10, "cd"), (20, "ef"), (30, "gh")])

    def deliveries(*chunks: tuple[float, str]) -> list[tuple[float, float]]:
        found = align(make_record(chunks, upstream=[upstream], terminal_event=False))
        assert isinstance(found, Alignment)
        return [(written / MS, arrived / MS) for written, arrived in found.deliveries()]

    assert deliveries((1, "ab"), (11, "cd"), (21, "ef"), (31, "gh")) == [(0, 1), (10, 11), (20, 21), (30, 31)]
    assert deliveries((15, "abcd"), (35, "efgh")) == [(0, 15), (10, 15), (20, 35), (30, 35)]
    assert deliveries((1, "a"), (2, "bc"), (12, "d"), (22, "e")) == [(0, 2), (10, 12)]
    assert deliveries() == []


# Several requests for one reply

Exchange = Callable[..., UpstreamExchange]
Record = Callable[..., StreamRecord]
REPLY = [(20.0 * i, word) for i, word in enumerate(["One ", "two ", "three ", "four ", "five."])]
TITLE = [(1.0, "Numbers "), (2.0, "in "), (3.0, "words")]


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("title_ms", [0.0, 40.0, 5000.0])
def test_a_title_is_asked_for_under_the_same_mark(
    make_record: Record, make_exchange: Exchange, place: str, title_ms: float
) -> None:
    reply = make_exchange(REPLY)
    title = make_exchange([(title_ms + at, word) for at, word in TITLE])
    exchanges = [title, reply] if place == "before" else [reply, title]
    found = align(make_record([(at + 1, word) for at, word in REPLY], upstream=exchanges))
    assert found is not None
    assert (found.exchanges, found.findings) == ((reply,), ())
    assert [lag / MS for lag in found.lag_ns] == [1] * 5


def test_a_reply_of_three_generations_with_the_services_own_words(make_record: Record, make_exchange: Exchange) -> None:
    texts = ["Alpha beta gamma.", "Delta epsilon zeta.", "Eta theta iota."]
    exchanges = [
        make_exchange([(100 * n + 20 * i, f"{word} ") for i, word in enumerate(text.split())])
        for n, text in enumerate(texts)
    ]
    unused = make_exchange([(10, "call "), (20, "search")])
    chunks = [(0.5, "Let me see. ")]
    for n, text in enumerate(texts):
        chunks += [(100 * n + 20 * i + 1, f"{word} ") for i, word in enumerate(text.split())]
    chunks += [(301.0, "\n\nSources: example.org")]
    found = align(make_record(chunks, upstream=[exchanges[0], unused, exchanges[1], exchanges[2]]))
    assert found is not None
    assert found.exchanges == tuple(exchanges)
    assert [finding.rule for finding in found.findings] == ["content.added"] * 2
    assert all(finding.severity is Severity.INFO for finding in found.findings)
    assert [lag / MS for lag in found.lag_ns] == [1] * 9
    assert [size for _, size, _ in found.writes()] == [len(word) + 1 for text in texts for word in text.split()]


def test_texts_that_are_joined_with_no_space_between_are_whole(make_record: Record, make_exchange: Exchange) -> None:
    """The last word of one and the first of the next look like one word; so does a preface glued to the first."""
    texts = (["One ", "two ", "three."], ["Four ", "five."], ["Six ", "seven."])
    writes = [[(100.0 * n + 20 * i, word) for i, word in enumerate(text)] for n, text in enumerate(texts)]
    chunks = [(at + 1, word) for text in writes for at, word in text]
    found = align(make_record(chunks, upstream=[make_exchange(text) for text in writes]))
    assert found is not None
    assert found.findings == ()
    assert [lag / MS for lag in found.lag_ns] == [1] * len(chunks)

    glued = [(0.5, "**Answer:**"), *chunks, (300.0, "[1]")]
    found = align(make_record(glued, upstream=[make_exchange(text) for text in writes]))
    assert found is not None
    assert [finding.rule for finding in found.findings] == ["content.added"] * 2
    assert [finding.got for finding in found.findings] == ["'**Answer:**'", "'[1]'"]
    assert [lag / MS for lag in found.lag_ns] == [1] * len(chunks)


def test_a_retry_goes_on_after_what_came(make_record: Record, make_exchange: Exchange) -> None:
    cut = make_exchange([(0, "Uno "), (20, "due ")], text="Uno due tre", ended="fault", faults=["cut-rst"])
    whole = make_exchange([(100, "One "), (120, "two "), (140, "three")], attempt=2)
    chunks = [(1, "Uno "), (21, "due "), (101, "One "), (121, "two "), (141, "three")]
    found = align(make_record(chunks, upstream=[cut, whole]))
    assert found is not None
    assert (found.exchanges, found.findings) == ((cut, whole), ())


def test_what_the_upstream_really_wrote_is_the_truth(make_record: Record, make_exchange: Exchange) -> None:
    """A chunk was ordered to be lost and another to come twice: that is not the target's doing."""
    planned = [(0, "One "), (20, "two "), (40, "three "), (60, "four")]
    upstream = make_exchange(planned, wrote="One three three four", wrote_offset=[4, 4, 16, 20])
    chunks = [(1, "One "), (41, "three three "), (61, "four")]
    found = align(make_record(chunks, upstream=[upstream]))
    assert found is not None
    assert found.findings == ()
    assert [lag / MS for lag in found.lag_ns] == [1, 1, 1]


@pytest.mark.parametrize(
    ("ended", "faults", "complete", "rules"),
    [
        ("fault", ["cut-fin"], True, ["termination.hidden-truncation"]),
        ("shutdown", [], True, ["termination.hidden-truncation"]),
        ("cancelled", ["stall-forever"], True, ["termination.hidden-truncation"]),
        ("cancelled", [], True, []),  # the service has left on purpose
        ("fault", ["cut-fin"], False, []),  # and the client was told
        ("complete", [], True, []),
    ],
)
def test_half_a_reply_presented_as_a_whole_one(
    make_record: Record, make_exchange: Exchange, ended: str, faults: list[str], complete: bool, rules: list[str]
) -> None:
    upstream = make_exchange([(0, "One. "), (20, "Two.")], text="One. Two. Three.", ended=ended, faults=faults)
    found = align(make_record([(1, "One. "), (21, "Two.")], upstream=[upstream], terminal_event=complete))
    assert found is not None
    assert [finding.rule for finding in found.findings] == rules


def test_an_error_event_before_the_end_hides_nothing(make_record: Record, make_exchange: Exchange) -> None:
    """Some protocols end every reply with the same event, and report the failure in one before it."""
    upstream = make_exchange([(0, "One. "), (20, "Two.")], text="One. Two. Three.", ended="fault", faults=["error"])
    record = make_record([(1, "One. "), (21, "Two.")], upstream=[upstream], terminal_event=True)
    record.outcome, record.error, record.error_message = Outcome.FAILED, "error_event", "Out of capacity"
    found = align(record)
    assert found is not None
    assert found.findings == ()


def test_no_text_of_the_upstreams_has_no_time_line(make_record: Record, make_exchange: Exchange) -> None:
    found = align(make_record([(1, "I cannot say that.")], upstream=[make_exchange(REPLY), make_exchange(TITLE)]))
    assert found is not None
    assert (found.exchanges, list(found.rows)) == ((), [])
    assert [finding.rule for finding in found.findings] == ["content.added"]


@pytest.mark.parametrize(
    ("tokens", "two_sided", "severities"),
    [
        (5, True, []),
        (7, True, []),
        (10, True, [Severity.VIOLATION]),
        (None, True, []),
        (23, False, []),
        (40, False, [Severity.INFO]),
    ],
)
def test_reported_tokens_are_those_of_the_text(
    make_record: Record, make_exchange: Exchange, tokens: int | None, two_sided: bool, severities: list[Severity]
) -> None:
    upstream = [make_exchange(REPLY)] if two_sided else []
    record = make_record([(at + 1, word) for at, word in REPLY], upstream=upstream, tokens=tokens)
    found = [finding for finding in analyse(record, Settings()).findings if finding.rule == "content.usage"]
    assert [finding.severity for finding in found] == severities
