"""Replies that compression holds back, told from those that it does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streambench.analysis.encodings import compare_encodings
from streambench.findings import Severity
from streambench.record.model import StreamRecord

FLOWING = [(100.0 + 20 * i, "word ") for i in range(20)]
LATE = [(500.0, "word ")] * 20
IN_TWO = [(300.0, "word ")] * 10 + [(500.0, "word ")] * 10


@pytest.mark.parametrize(
    ("compressed", "encoding", "plain", "held"),
    [
        (LATE, "gzip", FLOWING, True),
        (IN_TWO, "br", FLOWING, True),
        (FLOWING, "gzip", FLOWING, False),
        (LATE, None, FLOWING, False),  # not compressed: what held it is something else
        (LATE, "gzip", LATE, False),  # so it comes without compression too
        ([], "gzip", FLOWING, False),
    ],
)
def test_what_compression_holds_back(
    compressed: list[tuple[float, str]],
    encoding: str | None,
    plain: list[tuple[float, str]],
    held: bool,
    make_record: Callable[..., StreamRecord],
) -> None:
    found = compare_encodings(make_record(compressed, encoding=encoding), make_record(plain))
    assert (found is not None) is held
    if found is not None:
        assert (found.rule, found.severity, found.got) == ("http.encoding", Severity.INFO, encoding)
        assert "in 20 bursts" in found.message
        assert "res.flush()" in found.message
