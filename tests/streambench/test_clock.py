import pytest

from streambench.clock import FakeClock, MonotonicClock


def test_the_real_clock_never_goes_back() -> None:
    clock = MonotonicClock()
    seen = [clock.now_ns() for _ in range(1000)]
    assert seen == sorted(seen)


def test_the_fake_clock_moves_only_when_told() -> None:
    clock = FakeClock(5)
    assert clock.now_ns() == 5
    clock.advance(7)
    assert clock.now_ns() == 12
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance(-1)
