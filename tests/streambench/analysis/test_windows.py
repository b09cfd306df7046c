"""Text that waits for later writes against text on a slow path, on time lines that are exactly that."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import accumulate

import pytest

from streambench.analysis.alignment import align
from streambench.analysis.authenticity import judge
from streambench.analysis.stream_verdict import judge_stream
from streambench.analysis.verdicts import StreamAuthenticity, Verdict, Why
from streambench.analysis.windows import Moment, find_window, moments
from streambench.record.model import StreamRecord, UpstreamExchange

MS = 1_000_000
N = 40
WORDS = [f"word{'x' * (i * 7 % 5)}{i} " for i in range(N)]
SIZES = list(accumulate(len(word) for word in WORDS))
EVEN = [20.0 * i for i in range(N)]


def uneven(seed: int = 1) -> list[float]:
    """A model's rhythm, a pause of a second in its middle."""
    draw, at, out = random.Random(seed), 0.0, []
    for i in range(N):
        at += draw.uniform(8, 60) + (1000 if i == N // 2 else 0)
        out.append(at)
    return out


def on_a_path(released: Sequence[float], path_ms: float, spread_ms: float = 0.3, seed: int = 2) -> list[float]:
    """When texts arrive that leave at these moments, in their order."""
    draw, out = random.Random(seed), [0.0]
    for at in released:
        out.append(max(out[-1], at + path_ms + draw.uniform(0, spread_ms)))
    return out[1:]


def slide(written: Sequence[float], writes: int) -> list[float]:
    return [written[min(i + writes, N - 1)] for i in range(N)]


def slide_chars(written: Sequence[float], chars: int) -> list[float]:
    return [written[next((j for j in range(N) if SIZES[j] >= size + chars), N - 1)] for size in SIZES]


@pytest.fixture
def judged(
    make_record: Callable[..., StreamRecord], make_exchange: Callable[..., UpstreamExchange]
) -> Callable[[Sequence[float], Sequence[float]], StreamAuthenticity]:
    def judge_it(written: Sequence[float], arrived: Sequence[float]) -> StreamAuthenticity:
        words = WORDS[: len(written)]
        exchange = make_exchange(list(zip(written, words, strict=True)))
        alignment = align(make_record(list(zip(arrived, words, strict=True)), upstream=[exchange]))
        assert alignment is not None
        return judge_stream(alignment)

    return judge_it


@pytest.mark.parametrize("written", [EVEN, uneven()], ids=["even", "uneven"])
@pytest.mark.parametrize("path_ms", [0.4, 3, 70])
class TestOneStream:
    @pytest.mark.parametrize("writes", [1, 2, 4, 10])
    def test_a_sliding_window_is_named_with_its_width(
        self, judged: Callable[..., StreamAuthenticity], written: list[float], path_ms: float, writes: int
    ) -> None:
        found = judged(written, on_a_path(slide(written, writes), path_ms))
        assert (found.verdict, found.why, found.window) == (Verdict.BATCHED, Why.WINDOW, writes)
        assert found.held is not None
        assert found.held > 0.9
        assert found.hold_ms is not None
        assert found.hold_ms > path_ms + 15 * writes
        evidence = judge([found]).evidence
        assert f"waits for the upstream's next {f'{writes} writes' if writes > 1 else 'write'}" in evidence

    def test_a_slow_path_is_none(
        self, judged: Callable[..., StreamAuthenticity], written: list[float], path_ms: float
    ) -> None:
        found = judged(written, on_a_path(written, path_ms))
        assert found.verdict is Verdict.FORWARDED
        assert found.held == pytest.approx(0, abs=0.05)

    def test_a_window_of_characters_is_one_too(
        self, judged: Callable[..., StreamAuthenticity], written: list[float], path_ms: float
    ) -> None:
        found = judged(written, on_a_path(slide_chars(written, 30), path_ms))
        assert (found.verdict, found.why) == (Verdict.BATCHED, Why.WINDOW)


def test_a_window_in_a_rhythm_that_slows_down_is_no_typing(judged: Callable[..., StreamAuthenticity]) -> None:
    # The text then arrives twice as slowly as it was written: what who types would make of it.
    slowing = [50.0 * 2**i for i in range(8)]
    released = [slowing[min(i + 1, 7)] for i in range(8)]
    found = judged(slowing, on_a_path(released, 1))
    assert found.slope is not None
    assert found.slope > 1.5
    assert (found.verdict, found.why) == (Verdict.BATCHED, Why.WINDOW)


def test_a_path_that_varies_more_than_the_rhythm_leaves_it_open_and_says_what_would_tell(
    judged: Callable[..., StreamAuthenticity],
) -> None:
    found = judged(EVEN, on_a_path(EVEN, 150, 60))
    assert (found.verdict, found.why) == (Verdict.UNKNOWN, Why.PATH_OR_WINDOW)
    evidence = judge([found]).evidence
    assert "longer pauses" in evidence
    assert "`fixed`" in evidence or '"fixed"' in evidence


@pytest.mark.parametrize(("writes", "verdict"), [(0, Verdict.FORWARDED), (2, Verdict.BATCHED)])
def test_streams_together_decide_what_each_leaves_open(
    judged: Callable[..., StreamAuthenticity], writes: int, verdict: Verdict
) -> None:
    streams = [judged(EVEN, on_a_path(slide(EVEN, writes), 60, 40, seed)) for seed in range(40)]
    assert sum(stream.verdict is Verdict.UNKNOWN for stream in streams) > 4
    assert judge(streams).verdict is verdict
    assert judge(streams).shares == {str(verdict): 1.0}


def test_writes_of_one_burst_are_one_moment() -> None:
    writes = [(0, 3, 5 * MS), (MS, 3, 4 * MS), (20 * MS, 3, 21 * MS), (40 * MS, 3, None)]
    assert moments(writes, 2 * MS) == [Moment(MS, 6, 5 * MS), Moment(20 * MS, 9, 21 * MS)]


def test_a_few_writes_say_nothing() -> None:
    assert find_window([]).score is None
    assert find_window([Moment(20 * MS * i, i + 1, 20 * MS * i + 30 * MS) for i in range(3)]).score is None


def test_text_that_leaves_before_the_next_write_waits_for_none() -> None:
    assert find_window([Moment(20 * MS * i, i + 1, 20 * MS * i + 15 * MS) for i in range(N)]).score is None
