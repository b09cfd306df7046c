"""The streaming modes and the sentence limit as functions of pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mock_openai.chat import modes
from mock_openai.chat.intent import Context, intent_of
from mock_openai.chat.limits import parse_rate
from mock_openai.chat.sentences import cut_sentences, first_sentences

PIECES = st.lists(st.text(alphabet="ab .!?\n\"'é👋", max_size=6), max_size=12)


async def several(pieces: list[str]) -> AsyncIterator[str]:
    for piece in pieces:
        yield piece


@settings(deadline=None)
@given(PIECES)
@pytest.mark.parametrize("mode", ["real", "rapid", "sentence", "hold-2", "hold-5", "slide-4", "blocking-typed"])
async def test_a_mode_keeps_the_text(mode: str, pieces: list[str]) -> None:
    assert "".join([piece async for piece in modes.MODES[mode].pieces(several(pieces))]) == "".join(pieces)


@settings(deadline=None)
@given(PIECES)
@pytest.mark.parametrize("mode", ["real", "rapid"])
async def test_exactly_one_piece_is_the_last(mode: str, pieces: list[str]) -> None:
    marked = [item async for item in modes.with_last(several(pieces), mode)]
    assert [last for _, last in marked] == [False] * (len(marked) - 1) + [True]
    assert "".join(piece for piece, _ in marked) == "".join(pieces)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "pause" not in request.node.name:
        monkeypatch.setattr(modes, "WORD_PAUSE_S", 0.0)


async def test_a_pause_follows_every_word_that_is_typed_the_last_included(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[Any] = []

    async def sleep(delay_s: float) -> None:
        log.append(delay_s)

    monkeypatch.setattr(modes.asyncio, "sleep", sleep)
    async for piece in modes.blocking_typed(several(["one t", "wo "])):
        log.append(piece)
    assert log == ["one ", 0.05, "two ", 0.05, "", 0.05]


async def test_so_many_words_leave_at_a_time() -> None:
    pieces = [" one", " two three", " four", " five"]
    assert [piece async for piece in modes.MODES["hold-2"].pieces(several(pieces))] == [
        " one two",
        " three four",
        " five",
    ]


async def test_each_piece_waits_for_so_many_later_ones() -> None:
    log: list[str] = []

    async def pieces() -> AsyncIterator[str]:
        for piece in ("a", "b", "c"):
            log.append(f"+{piece}")
            yield piece

    async for piece in modes.MODES["slide-1"].pieces(pieces()):
        log.append(piece)
    assert log == ["+a", "+b", "a", "+c", "b", "c"]


async def test_paced_types_word_by_word() -> None:
    assert [piece async for piece in modes.paced(several(["one t", "wo ", "three"]))] == ["one", " two", " three"]


@settings(deadline=None)
@given(PIECES, st.integers(1, 3))
async def test_the_sentence_limit_is_the_same_in_pieces_and_at_once(pieces: list[str], count: int) -> None:
    limited = "".join([piece async for piece in first_sentences(several(pieces), count)])
    assert limited == cut_sentences("".join(pieces), count)


async def test_the_sentence_limit_asks_for_no_more_than_it_needs() -> None:
    asked = []

    async def pieces() -> AsyncIterator[str]:
        for piece in ("It costs 3.", "5 euros", ". Is", ' it "mine', '?" No', " more", " please"):
            asked.append(piece)
            yield piece

    assert "".join([piece async for piece in first_sentences(pieces(), 2)]) == 'It costs 3.5 euros. Is it "mine?"'
    assert asked[-1] == '?" No'


@pytest.mark.parametrize(
    ("message", "intent"),
    [
        ("hi there", "greeting"),
        ("Recommend the best one", "recommendation"),
        ("book a table", "booking"),
        ("...", "other"),
    ],
)
def test_intents(message: str, intent: str) -> None:
    assert intent_of(message) == intent
    assert Context().after(message).suggestions()


def test_a_context_grows_and_stays_bounded() -> None:
    context = Context()
    for number in range(60):
        context = context.after(f"go to Town{'abcdefghijklmnopqrstuvwxyz'[number % 26] * (number // 26 + 1)} please")
    assert context.turns == 60
    assert len(context.entities) == 20


@pytest.mark.parametrize(("text", "per_s"), [("5/s", 5.0), ("90/min", 1.5), ("36/h", 0.01), ("0.5/s", 0.5)])
def test_rates(text: str, per_s: float) -> None:
    assert parse_rate(text) == pytest.approx(per_s)


@pytest.mark.parametrize("text", ["", "5", "five/s", "-1/s", "0/s", "5/fortnight", "nan/s"])
def test_what_is_not_a_rate(text: str) -> None:
    with pytest.raises(ValueError, match="5/s"):
        parse_rate(text)
