"""When the process of a locustfile says that it was too busy to measure."""

from __future__ import annotations

import logging

import pytest

from streambench.locust.lateness import Lateness


@pytest.mark.parametrize(
    ("own_ms", "ttfc_ms", "late", "told"),
    [
        (1.9, 5.0, 100, False),  # less than 2 ms never matters
        (40.0, 1000.0, 100, False),  # nor do 4% of a figure
        (60.0, 1000.0, 2, True),
        (60.0, 1000.0, 1, False),  # one in a hundred changes no p99
    ],
)
def test_it_is_said_where_a_quantile_may_be_wrong(
    caplog: pytest.LogCaptureFixture, own_ms: float, ttfc_ms: float, late: int, told: bool
) -> None:
    lateness = Lateness()
    for number in range(100):
        lateness.take(ttfc_ms, own_ms if number < late else 0.1)
    with caplog.at_level(logging.WARNING):
        lateness.tell()
        lateness.tell()  # of the next run, in which nothing came
    assert [f"in {late} of 100 replies, up to {own_ms:.0f} ms" in text for text in caplog.messages] == [True] * told
