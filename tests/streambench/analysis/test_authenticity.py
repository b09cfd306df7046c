"""The verdict on synthetic time lines: systems that forward, batch, buffer and pace, exactly as they say."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from streambench.analysis.alignment import align
from streambench.analysis.authenticity import judge, starvation
from streambench.analysis.metrics import Settings
from streambench.analysis.stream import analyse
from streambench.analysis.stream_verdict import bursts, guess_stream, judge_stream, robust_slope
from streambench.analysis.verdicts import Authenticity, StreamAuthenticity, Verdict, Why
from streambench.record.model import StreamRecord, UpstreamExchange

MS = 1_000_000
N = 40
WORDS = [f"w{i} " for i in range(N)]
STEADY = [20.0 * i for i in range(N)]

Chunks = list[tuple[float, str]]


def uneven(seed: int = 3) -> list[float]:
    """Write times as a model has them: bursts of two, gaps between 5 and 60 ms."""
    draw, at, out = random.Random(seed), 0.0, []
    for i in range(N):
        if i % 2 == 0:
            at += draw.uniform(5, 60)
        out.append(at)
    return out


@pytest.fixture
def judged(
    make_record: Callable[..., StreamRecord], make_exchange: Callable[..., UpstreamExchange]
) -> Callable[[Sequence[float], Chunks], StreamAuthenticity]:
    """The verdict on words written at some moments (ms), all of them `late_ms` late, and what the client got."""

    def judge_it(written: Sequence[float], got: Chunks, late_ms: float = 0) -> StreamAuthenticity:
        exchange = make_exchange(list(zip(written, WORDS, strict=False)))
        exchange.scheduled_ns = [round((at - late_ms) * MS) for at in written]
        alignment = align(make_record(got, upstream=[exchange], terminal_event=False))
        assert alignment is not None
        assert alignment.findings == ()
        return judge_stream(alignment)

    return judge_it


def forward(written: Sequence[float], lag_ms: float) -> Chunks:
    return [(at + lag_ms, word) for at, word in zip(written, WORDS, strict=True)]


def batch(written: Sequence[float], size: int, lag_ms: float = 2, words: int = N) -> Chunks:
    """So many words are gathered and leave with the last of them."""
    return [(written[i + size - 1] + lag_ms, "".join(WORDS[i : i + size])) for i in range(0, words, size)]


def pace(written: Sequence[float], period_ms: float, lag_ms: float = 5) -> Chunks:
    """Everything is awaited, and then typed out."""
    return [(written[-1] + lag_ms + period_ms * i, word) for i, word in enumerate(WORDS)]


@pytest.mark.parametrize("written", [STEADY, uneven()], ids=["steady", "uneven"])
class TestTwoSided:
    @pytest.mark.parametrize("lag_ms", [0.1, 2.5, 30])
    def test_forwarded(self, judged: Callable[..., StreamAuthenticity], written: list[float], lag_ms: float) -> None:
        found = judged(written, forward(written, lag_ms))
        assert found.verdict is Verdict.FORWARDED
        assert found.lag_ms == pytest.approx(lag_ms)
        assert found.slope == pytest.approx(1)
        assert found.granularity == 1
        assert found.overlap is not None
        assert found.overlap > 0.9
        assert found.period_ms is None

    def test_late_but_at_the_upstreams_own_pace_is_forwarded(
        self, judged: Callable[..., StreamAuthenticity], written: list[float]
    ) -> None:
        found = judged(written, forward(written, written[-1] / 2))
        assert found.verdict is Verdict.FORWARDED
        assert found.overlap is not None
        assert found.overlap < 0.7

    @pytest.mark.parametrize("size", [8, 10, 20])
    def test_batched(self, judged: Callable[..., StreamAuthenticity], written: list[float], size: int) -> None:
        found = judged(written, batch(written, size))
        assert found.verdict is Verdict.BATCHED
        assert found.overlap is not None
        assert found.overlap > 0.4
        assert found.granularity is not None
        assert found.granularity < 0.35

    @pytest.mark.parametrize("spread_ms", [0, 0.01, 0.5, 9])
    def test_buffered(self, judged: Callable[..., StreamAuthenticity], written: list[float], spread_ms: float) -> None:
        found = judged(written, pace(written, spread_ms))
        assert found.verdict is Verdict.BUFFERED
        assert found.overlap == 0
        assert found.held == 1

    @pytest.mark.parametrize("late_ms", [0, 50])
    def test_a_buffered_reply_that_comes_in_two_goes_was_held_all_the_same(
        self, judged: Callable[..., StreamAuthenticity], written: list[float], late_ms: float
    ) -> None:
        """A busy machine sends the rest a little later; nor does it matter how late the upstream wrote."""
        goes = [(written[-1] + 3, "".join(WORDS[: N // 2])), (written[-1] + 12, "".join(WORDS[N // 2 :]))]
        found = judged(written, goes, late_ms)
        assert (found.verdict, found.held, found.bursts) == (Verdict.BUFFERED, 1, 2)

    def test_one_piece_after_all_is_buffered(
        self, judged: Callable[..., StreamAuthenticity], written: list[float]
    ) -> None:
        assert judged(written, [(written[-1] + 3, "".join(WORDS))]).verdict is Verdict.BUFFERED

    @pytest.mark.parametrize("period_ms", [10, 50, 200])
    def test_paced_with_its_period(
        self, judged: Callable[..., StreamAuthenticity], written: list[float], period_ms: float
    ) -> None:
        found = judged(written, pace(written, period_ms))
        assert found.verdict is Verdict.PACED
        assert found.overlap == 0
        assert found.held == 1
        assert found.period_ms == pytest.approx(period_ms)

    def test_paced_while_the_upstream_writes(
        self, judged: Callable[..., StreamAuthenticity], written: list[float]
    ) -> None:
        """Typed out from the first word on, but three times slower than the upstream writes."""
        period_ms = 3 * written[-1] / N
        found = judged(written, [(written[0] + 1 + period_ms * i, word) for i, word in enumerate(WORDS)])
        assert found.verdict is Verdict.PACED
        assert found.slope is not None
        assert found.slope == pytest.approx(3, rel=0.3)

    def test_a_time_line_that_stands_still_at_the_end(
        self, judged: Callable[..., StreamAuthenticity], written: list[float]
    ) -> None:
        """The first half is forwarded, the rest is held back to the end."""
        half = forward(written, 1)[: N // 2]
        rest = [(written[-1] + 1, "".join(WORDS[N // 2 :]))]
        assert judged(written, half + rest).verdict is Verdict.BATCHED


@pytest.mark.parametrize("size", [2, 3, 5])
def test_a_small_buffer_is_told_from_none(judged: Callable[..., StreamAuthenticity], size: int) -> None:
    """Its lag, from the newest character, is that of a forwarder, and its bursts are not few."""
    words = N - N % size
    found = judged(STEADY, batch(STEADY, size, words=words))
    assert found.verdict is Verdict.BATCHED
    assert found.lag_ms == pytest.approx(2)
    assert found.held == pytest.approx((size - 1) / size, abs=0.1)
    assert found.hold_ms == pytest.approx(20 * (size - 1) + 2)


@pytest.mark.parametrize("size", [3, 5, 10])
def test_a_buffer_shows_where_the_upstream_writes_two_words_at_a_time(
    judged: Callable[..., StreamAuthenticity], size: int
) -> None:
    written = uneven()
    chunks = [(written[min(i + size, N) - 1] + 2, "".join(WORDS[i : i + size])) for i in range(0, N, size)]
    assert judged(written, chunks).verdict is Verdict.BATCHED


def test_a_buffer_of_what_the_upstream_writes_at_a_time_cannot_show(judged: Callable[..., StreamAuthenticity]) -> None:
    found = judge([judged(uneven(), batch(uneven(), 2))])
    assert found.verdict is Verdict.FORWARDED
    assert "a buffer of 2" in found.evidence
    assert "`fixed`" in found.evidence


def test_a_path_that_spreads_more_than_the_upstream_pauses_says_nothing_of_small_buffers(
    judged: Callable[..., StreamAuthenticity],
) -> None:
    """Text comes in bursts of two or three and up to 30 ms late, as on a machine without a free core."""
    draw = random.Random(1)
    chunks, at = [], 0.0
    for i, word in enumerate(WORDS):
        at = max(at, STEADY[i] + draw.choice((1.0, 1.0, 12.0, 30.0)))
        chunks.append((at, word))
    found = judged(STEADY, chunks)
    assert found.verdict in (Verdict.FORWARDED, Verdict.UNKNOWN)
    assert found.held is None


def test_short_replies_say_nothing_of_a_buffer(judged: Callable[..., StreamAuthenticity]) -> None:
    written = [2.4 * i for i in range(N)]
    found = judged(written, pace(written, 0.1))
    assert (found.verdict, found.why) == (Verdict.UNKNOWN, Why.TOO_SHORT)
    assert "longer replies" in judge([found]).evidence


@pytest.mark.parametrize(
    ("got", "verdict", "period_ms"),
    [
        ([(503.0, "".join(WORDS))], Verdict.BUFFERED, None),
        ([(503.0 + 0.1 * i, word) for i, word in enumerate(WORDS)], Verdict.BUFFERED, None),
        # Sent at once by a server that had to wait for a CPU four times.
        ([(503.0 + 40 * (i // 10), word) for i, word in enumerate(WORDS)], Verdict.BUFFERED, None),
        ([(503.0 + 50 * i, word) for i, word in enumerate(WORDS)], Verdict.PACED, 50),
    ],
)
def test_an_upstream_that_was_asked_for_the_whole_reply_is_proof_enough(
    make_record: Callable[..., StreamRecord],
    make_exchange: Callable[..., UpstreamExchange],
    got: Chunks,
    verdict: Verdict,
    period_ms: float | None,
) -> None:
    alignment = align(make_record(got, upstream=[make_exchange([(500, "".join(WORDS))], stream=False)]))
    assert alignment is not None
    found = judge_stream(alignment)
    assert (found.verdict, found.period_ms) == (verdict, period_ms)
    assert "without `stream`" in judge([found]).evidence


def test_a_stream_whose_mark_reached_nobody_says_so(make_record: Callable[..., StreamRecord]) -> None:
    record = make_record([(at, "word ") for at in range(0, 400, 20)], mark="m.1")
    found = analyse(record, Settings()).authenticity
    assert found is not None
    assert (found.verdict, found.why) == (Verdict.UNKNOWN, Why.NO_MARK)
    assert "OPENAI_BASE_URL=http://127.0.0.1:1/v1?" in judge([found], "http://127.0.0.1:1").evidence


def test_a_reply_that_was_written_at_once_tells_nothing(judged: Callable[..., StreamAuthenticity]) -> None:
    assert judged([0.0] * N, forward([0.0] * N, 3)).verdict is Verdict.UNKNOWN
    assert judged([0.01 * i for i in range(N)], pace([0.0] * N, 50)).verdict is Verdict.UNKNOWN


def test_a_journal_whose_last_write_came_first_says_nothing(judged: Callable[..., StreamAuthenticity]) -> None:
    written = list(reversed(uneven()))
    verdict = judged(written, forward(sorted(written), 2))
    assert (verdict.verdict, verdict.why) == (Verdict.UNKNOWN, Why.WROTE_ONCE)


def test_two_writes_are_enough_to_tell(judged: Callable[..., StreamAuthenticity]) -> None:
    assert judged([0, 100], [(1, "w0 "), (101, "w1 ")]).verdict is Verdict.FORWARDED
    assert judged([0, 100], [(101, "w0 "), (101, "w1 ")]).verdict is Verdict.BUFFERED


def test_a_small_buffers_evidence_counts_bursts_and_writes(judged: Callable[..., StreamAuthenticity]) -> None:
    evidence = judge([judged(STEADY, batch(STEADY, 5))]).evidence
    assert "40 upstream writes arrived in 8 bursts" in evidence
    assert "had waited 82.0 ms" in evidence


def test_other_text_and_a_reply_written_at_once_are_told_apart(
    judged: Callable[..., StreamAuthenticity],
    make_record: Callable[..., StreamRecord],
    make_exchange: Callable[..., UpstreamExchange],
) -> None:
    other = analyse(
        make_record([(5, "I cannot say.")], upstream=[make_exchange([(0, "One "), (20, "two")])]), Settings()
    )
    assert other.authenticity is not None
    assert judge([other.authenticity]).evidence == "the client's text matches none of the texts that the upstream wrote"
    assert "wrote each reply in one go" in judge([judged([0.0] * N, forward([0.0] * N, 3))]).evidence


def test_two_heaps_after_everything_are_buffered_however_alike_their_lags_are(
    judged: Callable[..., StreamAuthenticity],
) -> None:
    """The newest text of both heaps is about as old; but what came at once did not come in the upstream's rhythm."""
    got = [(STEADY[-1] + 85, "".join(WORDS[:38])), (STEADY[-1] + 90, "".join(WORDS[38:]))]
    assert judged(STEADY, got).verdict is Verdict.BUFFERED


def test_an_upstream_that_was_late_itself_shows_nothing_of_the_system_behind_it(
    make_record: Callable[..., StreamRecord], make_exchange: Callable[..., UpstreamExchange]
) -> None:
    """The machine was busy: every third write was 60 ms late, and text came in heaps."""
    late = [at + (60 if i % 3 == 0 else 0) for i, at in enumerate(STEADY)]
    written = [max(late[: i + 1]) for i in range(N)]
    exchange = make_exchange(list(zip(written, WORDS, strict=True)))
    exchange.scheduled_ns = [round(at * MS) for at in STEADY]
    chunks = [(written[min(i + 7, N - 1)] + 3, "".join(WORDS[i : i + 8])) for i in range(0, N, 8)]
    alignment = align(make_record(chunks, upstream=[exchange]))
    assert alignment is not None
    found = judge_stream(alignment)
    assert (found.verdict, found.why, found.held) == (Verdict.UNKNOWN, Why.UPSTREAM_LATE, None)
    assert "upstream itself wrote late" in judge([found]).evidence


# Of a target


def of(verdict: Verdict, why: Why | None = None, **numbers: float) -> StreamAuthenticity:
    filled = {"overlap": 0.9, "granularity": 1.0, "slope": 1.0, "lag_ms": 2.0, **numbers}
    return StreamAuthenticity(verdict, **filled, why=why)


def test_streams_that_agree_give_the_verdict_and_medians() -> None:
    found = judge([of(Verdict.FORWARDED, lag_ms=lag) for lag in (1, 2, 30)])
    assert (found.verdict, found.lag_ms, found.streams) == (Verdict.FORWARDED, 2, 3)
    assert found.shares == {"forwarded": 1.0}
    assert "2.0 ms" in found.evidence


@pytest.mark.parametrize(("forwarded", "verdict"), [(8, Verdict.FORWARDED), (7, Verdict.MIXED), (2, Verdict.BUFFERED)])
def test_four_fifths_have_to_agree(forwarded: int, verdict: Verdict) -> None:
    streams = [of(Verdict.FORWARDED)] * forwarded + [of(Verdict.BUFFERED, overlap=0.0)] * (10 - forwarded)
    found = judge(streams)
    assert found.verdict is verdict
    assert found.shares == {"forwarded": forwarded / 10, "buffered": (10 - forwarded) / 10}
    if verdict is Verdict.MIXED:
        assert "70% forwarded" in found.evidence


def test_the_numbers_are_those_of_the_streams_behind_the_verdict() -> None:
    streams = [of(Verdict.FORWARDED, lag_ms=1)] * 9 + [of(Verdict.BUFFERED, lag_ms=900)]
    assert judge(streams).lag_ms == 1


def test_unknown_streams_do_not_vote() -> None:
    found = judge([of(Verdict.UNKNOWN)] * 9 + [of(Verdict.PACED, overlap=0.0, period_ms=50.0)])
    assert (found.verdict, found.streams) == (Verdict.PACED, 1)
    assert "50 ms" in found.evidence
    for nothing in ([], [of(Verdict.UNKNOWN)]):
        assert judge(nothing).verdict is Verdict.UNKNOWN
        assert judge(nothing).evidence


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict_has_its_evidence(verdict: Verdict) -> None:
    found = judge([of(verdict, overlap=0.0, period_ms=50.0)])
    assert len(found.evidence) > 20
    found = judge([of(verdict, overlap=0.5, slope=2.5, period_ms=50.0)])
    assert len(found.evidence) > 20
    out = found.to_json()
    assert {"verdict", "overlap", "granularity", "lag_ms", "evidence"} <= set(out)


def test_missing_numbers_are_null() -> None:
    assert Authenticity(Verdict.UNKNOWN, "no idea").to_json()["overlap"] is None


# From one side


def at(make_record: Callable[..., StreamRecord], moments: Sequence[float]) -> StreamAuthenticity:
    return guess_stream(make_record([(moment, "word ") for moment in moments]))


def test_guesses_from_the_client_alone_say_that_they_are_guesses(make_record: Callable[..., StreamRecord]) -> None:
    draw = random.Random(5)
    model = [300.0]
    for _ in range(30):
        model.append(model[-1] + draw.lognormvariate(3, 0.8) + 3)
    assert at(make_record, model).verdict is Verdict.LIKELY_STREAMED
    paced = at(make_record, [2000 + 50 * i for i in range(30)])
    assert paced.verdict is Verdict.LIKELY_PACED
    assert paced.period_ms == pytest.approx(50)
    assert at(make_record, [2000 + 0.1 * i for i in range(30)]).verdict is Verdict.LIKELY_BUFFERED
    assert at(make_record, [2000, 2000, 2000, 2000]).verdict is Verdict.UNKNOWN
    assert at(make_record, []).verdict is Verdict.UNKNOWN


# The numbers


def test_bursts_begin_after_a_pause() -> None:
    assert bursts([]) == []
    assert bursts([0, 1 * MS, 2 * MS, 5 * MS, 8 * MS]) == [0, 5 * MS, 8 * MS]
    # What trickles in without a pause is one burst, however long it is.
    assert bursts([i * MS for i in range(100)]) == [0]


def test_the_slope_is_robust() -> None:
    x = list(range(0, 1000, 10))
    y = [2 * value + 7 for value in x]
    y[50] = 10**9
    assert robust_slope(x, y) == pytest.approx(2)
    assert robust_slope([1, 1, 1], [1, 2, 3]) is None
    assert robust_slope([1], [1]) is None


# What single streams leave open


def close(verdict: Verdict, held: float, writes: int) -> StreamAuthenticity:
    return of(verdict, held=held, held_of=writes, why=Why.CLOSE)


def test_few_writes_are_close_to_the_limit(judged: Callable[..., StreamAuthenticity]) -> None:
    """One of four writes was late on its way: a hiccup, or a buffer."""
    written = [100.0 * i for i in range(5)]
    found = judged(written, [(1, "w0 "), (101, "w1 "), (301, "w2 "), (302, "w3 "), (401, "w4 ")])
    assert (found.held, found.held_of, found.why) == (0.25, 4, Why.CLOSE)
    clear = judged(STEADY, forward(STEADY, 1))
    assert (clear.held, clear.held_of, clear.why) == (0, N - 1, None)


def test_the_writes_of_all_streams_decide_what_few_writes_leave_open() -> None:
    hiccups = [close(Verdict.BATCHED, 0.25, 4)] * 9 + [close(Verdict.FORWARDED, 0.0, 4)] * 11
    found = judge(hiccups)
    assert (found.verdict, found.shares) == (Verdict.FORWARDED, {"forwarded": 1.0})
    found = judge([close(Verdict.BATCHED, 0.5, 4)] * 12 + [close(Verdict.FORWARDED, 0.0, 4)] * 8)
    assert (found.verdict, found.shares) == (Verdict.BATCHED, {"batched": 1.0})
    # Streams that are clear by themselves are not outvoted.
    found = judge([of(Verdict.BATCHED, held=1.0, held_of=39)] * 6 + [close(Verdict.FORWARDED, 0.0, 4)] * 14)
    assert (found.verdict, found.shares) == (Verdict.MIXED, {"forwarded": 0.7, "batched": 0.3})


def test_nothing_is_decided_where_servers_had_no_cpu() -> None:
    starved = {"valid": False, "server_wait": {"openai": 0.2, "chat": 0.69}, "upstream_late_p95_ms": 20.0}
    assert starvation({**starved, "valid": True}) is None
    assert starvation({**starved, "server_wait": {"chat": 0.1}}) is None
    assert "160 ms late" in str(starvation({"valid": False, "server_wait": {}, "upstream_late_p95_ms": 160.0}))
    found = judge([of(Verdict.BATCHED)] * 20, None, starvation(starved))
    assert found.verdict is Verdict.UNKNOWN
    assert found.evidence.startswith("the server 'chat' spent 69% of the time waiting for a CPU. It looked batched: ")
    assert found.shares == {"batched": 1.0}
