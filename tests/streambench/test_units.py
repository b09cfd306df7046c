import pytest

from streambench.units import format_duration, parse_duration_ns, parse_rate_per_s, parse_ratio


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("800ms", 800_000_000),
        ("2s", 2_000_000_000),
        ("1.5s", 1_500_000_000),
        ("5min", 300_000_000_000),
        ("1h", 3_600_000_000_000),
        ("250us", 250_000),
        ("250µs", 250_000),
        ("7 ns", 7),
        ("0", 0),
    ],
)
def test_durations(text: str, ns: int) -> None:
    assert parse_duration_ns(text) == ns


@pytest.mark.parametrize("text", ["800", "", "ms", "-1s", "1 fortnight", "1s 2s", "one second"])
def test_a_duration_without_a_known_unit_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="800ms"):
        parse_duration_ns(text)


@pytest.mark.parametrize(("text", "per_s"), [("10/s", 10.0), ("90/min", 1.5), ("0/s", 0.0), ("7200/h", 2.0)])
def test_rates(text: str, per_s: float) -> None:
    assert parse_rate_per_s(text) == per_s


@pytest.mark.parametrize("text", ["10", "/s", "10/fortnight", "-1/s", "ten/s"])
def test_a_rate_without_a_unit_of_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="10/s"):
        parse_rate_per_s(text)


def test_ratios() -> None:
    assert parse_ratio("1%") == 0.01
    assert parse_ratio("0.25") == 0.25
    with pytest.raises(ValueError, match="1%"):
        parse_ratio("many")


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1_240, "1.24 µs"),
        (81_200_000, "81.2 ms"),
        (812_000_000, "812 ms"),
        (1_240_000_000, "1.24 s"),
        (61_000_000_000, "61.0 s"),
    ],
)
def test_a_duration_is_written_with_three_digits(ns: int, text: str) -> None:
    assert format_duration(ns) == text


@pytest.mark.parametrize("text", ["1e999s", "1e308s"])
def test_a_duration_without_end_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration_ns(text)


@pytest.mark.parametrize("text", ["inf/s", "1e999/s", "nan/s", "-1/s"])
def test_a_rate_without_end_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a rate"):
        parse_rate_per_s(text)
