"""A records file that was damaged is read as far as it can be trusted, and says what is missing."""

from __future__ import annotations

import copy
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from streambench.analysis.summary import summarize
from streambench.errors import ConfigurationError, ExitCode
from streambench.record.run_file import read_run

RUN = Path(__file__).parent.parent / "analysis" / "runs" / "two-sided.jsonl.gz"
WRONG: tuple[Any, ...] = (None, True, 1.5, 1 << 63, "x", [], [1.5], {"a": "b"})


def lines_of(run: Path) -> list[dict[str, Any]]:
    """One line of each kind, the first three of streams."""
    lines = [orjson.loads(line) for line in gzip.decompress(run.read_bytes()).splitlines()]
    streams = [line for line in lines if line["kind"] == "stream" and not line["warmup"]]
    generator = next((line for line in lines if line["kind"] == "generator"), {"kind": "generator", "at_ns": 1})
    begun = {"kind": "begun", "at_ns": 1, "streams": 3}
    return [lines[0], begun, *streams[:3], generator, {**lines[-1], "streams": 3}]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a line; of a list, its first item."""
    if path:
        yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, item in inside:
        yield from places(item, (*path, key))


def edited(line: dict[str, Any], path: tuple[Any, ...], value: Any, *, remove: bool = False) -> dict[str, Any]:
    """The line with one value replaced, or removed."""
    out = copy.deepcopy(line)
    holder: Any = out
    for key in path[:-1]:
        holder = holder[key]
    if remove:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return out


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.jsonl"


def test_every_single_edit_leaves_a_run_that_can_be_judged(path: Path) -> None:
    lines = lines_of(RUN)
    assert not read_run(write(path, lines)).damage
    edits = 0
    for number, line in enumerate(lines):
        for place in () if number in (3, 4) else places(line):
            for value in WRONG:
                edits += 1
                changed = [*lines[:number], edited(line, place, value), *lines[number + 1 :]]
                try:
                    run = read_run(write(path, changed))
                except ConfigurationError:
                    assert number == 0
                    continue
                summary = summarize(run)
                assert len(run.records) + run.skipped["stream"] + run.skipped["unknown"] >= 2
                if run.skipped:
                    assert summary.exit_code is ExitCode.INVALID, (number, place, value)
    assert edits > 500


@pytest.mark.parametrize("key", ["start_ns", "events", "target", "outcome", "tokens", "upstream", "findings"])
def test_a_record_of_wrong_types_is_skipped_and_the_run_is_invalid(path: Path, key: str) -> None:
    lines = lines_of(RUN)
    run = read_run(write(path, [*lines[:3], edited(lines[3], (key,), 1.5), *lines[4:]]))
    summary = summarize(run)
    assert run.skipped == {"stream": 1}
    assert len(run.records) == 2
    assert summary.exit_code is ExitCode.INVALID
    assert summary.verdict == "invalid"
    told = " ".join(summary.generator["reasons"])
    assert "1 line of the records could not be read (stream 1; line 4: " in told
    assert "3 streams had begun, and the file has 2 records of streams" in told


def test_records_that_do_not_add_up_make_the_run_invalid(path: Path) -> None:
    lines = lines_of(RUN)
    summary = summarize(read_run(write(path, [*lines[:3], *lines[4:]])))
    assert summary.exit_code is ExitCode.INVALID
    assert summary.generator["reasons"] == ["3 streams had begun, and the file has 2 records of streams"]


@pytest.mark.parametrize("key", ["scenario", "started", "start_ns", "targets", "gates", "settings", "environment"])
def test_a_damaged_header_does_not_hide_the_streams(path: Path, key: str) -> None:
    lines = lines_of(RUN)
    for header in (edited(lines[0], (key,), 7.5), edited(lines[0], (key,), None, remove=True)):
        summary = summarize(read_run(write(path, [header, *lines[1:]])))
        assert summary.exit_code is ExitCode.INVALID
        assert sum(target.counts["started"] for target in summary.targets.values()) == 3
        assert key in summary.generator["reasons"][0]


def test_a_header_that_is_no_json_does_not_hide_the_streams(path: Path) -> None:
    write(path, lines_of(RUN))
    path.write_bytes(b"\xff{" + path.read_bytes())
    summary = summarize(read_run(path))
    assert summary.exit_code is ExitCode.INVALID
    assert sum(target.counts["started"] for target in summary.targets.values()) == 3


def test_a_damaged_last_line_is_not_a_kill(path: Path) -> None:
    lines = lines_of(RUN)
    summary = summarize(read_run(write(path, [*lines[:-1], {"kind": "end", "at_ns": "x"}])))
    assert summary.exit_code is ExitCode.INVALID


def test_a_killed_run_says_how_many_streams_were_open(path: Path) -> None:
    lines = lines_of(RUN)
    begun = {"kind": "begun", "at_ns": 1, "streams": 8}
    write(path, [lines[0], *lines[2:5], begun])
    path.write_bytes(path.read_bytes() + b'{"kind":"stream","id":"r')
    summary = summarize(read_run(path))
    assert (summary.exit_code, summary.open_at_kill) == (ExitCode.INTERRUPTED, 5)
    assert summary.verdict == "inconclusive"


def test_a_stream_of_no_target_is_not_lost_in_silence(path: Path) -> None:
    lines = lines_of(RUN)
    summary = summarize(read_run(write(path, [*lines[:2], edited(lines[2], ("target",), "other"), *lines[3:]])))
    assert summary.exit_code is ExitCode.INVALID
    assert "the header has no target 'other'" in summary.generator["reasons"][0]
