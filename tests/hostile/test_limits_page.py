"""The page of limits says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from streambench import located
from streambench.cli import dialects as drafting
from streambench.cli import har
from streambench.dialects import loading as dialect_files
from streambench.dialects.templates import MAX_CAPTURED_CHARS
from streambench.drivers.setup import MAX_ANSWER_BYTES
from streambench.load import loading as scenario_files
from streambench.load import values
from streambench.load.bounds import SECTION
from streambench.load.prompts import MAX_PROMPTS
from streambench.load.scenario import MAX_NAME_CHARS
from streambench.load.trace_file import MAX_ARRIVALS
from streambench.transport.aio.backlog import MAX_BYTES, MAX_LINE_BYTES
from streambench.transport.aio.turns import MESSAGE_COST
from streambench.transport.aio.websocket import MAX_UNSENT_BYTES
from streambench.transport.http1 import MAX_HEADER_BYTES
from streambench.transport.target import Timeouts
from streambench.units import NS_PER_S
from streambench.wire.budget import BURST_S, WINDOW_BYTES
from streambench.wire.json_text import MAX_VALUES
from streambench.wire.portions import BYTES_SHIFT, MOST

PAGE = Path(__file__).parents[2] / "docs/explanation/limits.md"


def test_every_key_is_on_the_page_with_its_default() -> None:
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.read_text().splitlines() if "|" in line]
    shown = {row[2].strip("`"): row[1] for row in rows if len(row) == 4}
    for field in SECTION:
        number = int(re.match(r"[\d,]+", shown[field.name])[0].replace(",", ""))  # type: ignore[index]
        assert number * (1 << 20 if "MiB" in shown[field.name] else 1) == field.default, field.name


KIB, MIB = 1 << 10, 1 << 20
WAITED = Timeouts()


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("| the headers of a response, or one line of its framing | 64 KiB |", [MAX_HEADER_BYTES / KIB]),
        ("| data waiting to be sent to a server that does not read | 16 MiB |", [MAX_UNSENT_BYTES / MIB]),
        ("| JSON values of one event | 100,000 |", [MAX_VALUES]),
        ("| decompressed data, per 4 MiB |", [WINDOW_BYTES / MIB]),
        (
            "A turn takes 64 lines or 16 KiB of a body, or 32 messages of a socket",
            [MOST, MOST << BYTES_SHIFT >> 10, MOST // MESSAGE_COST],
        ),
        ("holds up to 128 KiB of a connection, and 32 MiB of all", [MAX_LINE_BYTES / KIB, MAX_BYTES / MIB]),
        ("| a connection, including TLS | 5 s |", [WAITED.connect_ns / NS_PER_S]),
        ("| until the first content | 30 s |", [WAITED.first_chunk_ns / NS_PER_S]),
        ("| between two reads | 15 s |", [WAITED.idle_ns / NS_PER_S]),
        ("| a whole stream | 120 s |", [WAITED.total_ns / NS_PER_S]),
        ("| all steps of a user's setup together | 120 s |", [WAITED.total_ns / NS_PER_S]),
        ("| an answer to a setup step | 1 MiB |", [MAX_ANSWER_BYTES / MIB]),
        ("| a value captured by the setup | 8,192 characters", [MAX_CAPTURED_CHARS]),
        (
            "| scenario, dialect | 1 MiB, 20,000 values, 40 levels, numbers of 300 characters |",
            [scenario_files.MAX_FILE_BYTES / MIB, located.MAX_NODES, located.MAX_DEPTH, located.MAX_DIGITS],
        ),
        ("| scenario, dialect | 1 MiB", [dialect_files.MAX_FILE_BYTES / MIB]),
        ("| names of scenarios and targets | 100 characters |", [MAX_NAME_CHARS]),
        ("| durations | 10,000 hours |", [values.MAX_DURATION_NS / NS_PER_S / 3600]),
        ("| prompts | 64 MiB, the first 100,000 rows |", [values.MAX_FILE_BYTES / MIB, MAX_PROMPTS]),
        ("| trace | 64 MiB, 1,000,000 arrivals |", [values.MAX_FILE_BYTES / MIB, MAX_ARRIVALS]),
        ("| HAR file | 128 MiB |", [har.MAX_FILE_BYTES / MIB]),
        ("| capture for `dialects new` | 16 MiB |", [drafting.MAX_CAPTURE_BYTES / MIB]),
    ],
)
def test_every_other_bound_is_that_of_the_code(text: str, numbers: list[float]) -> None:
    assert text in PAGE.read_text()
    assert [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", text)] == numbers


def test_what_may_come_at_once() -> None:
    assert BURST_S == 8
    assert "eight seconds' worth may come at once" in " ".join(PAGE.read_text().split())
