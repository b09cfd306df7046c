"""Which users leave."""

from __future__ import annotations

from streambench.drivers.leaving import Leave


def test_the_share_of_the_streams_that_are_left() -> None:
    some = Leave(1, probability=0.3, seed=7)
    left = {number for number in range(10_000) if some.concerns(f"t/{number}")}
    assert 2_800 < len(left) < 3_200
    assert left == {number for number in range(10_000) if some.concerns(f"t/{number}")}, "the same ones again"
    assert left != {number for number in range(10_000) if Leave(1, probability=0.3, seed=8).concerns(f"t/{number}")}
    assert all(Leave(1).concerns(str(number)) for number in range(100))
    assert not any(Leave(1, probability=0.0).concerns(str(number)) for number in range(100))
