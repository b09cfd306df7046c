"""The records file: what is written can be read back, also after a kill, and no secret is in it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from streambench.errors import ConfigurationError
from streambench.findings import Axis, Finding
from streambench.record.journal import RecordWriter
from streambench.record.lines import SCHEMA
from streambench.record.model import Outcome, StreamRecord, UpstreamExchange
from streambench.record.run_file import read_run

SECRET = "s3cr3t-value"


def redact(text: str) -> str:
    return text.replace(SECRET, "***")


def record(number: int, **fields: object) -> StreamRecord:
    out = StreamRecord(f"t/{number}", "t", "d", 1000, 1001)
    for name, value in fields.items():
        setattr(out, name, value)
    return out


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.jsonl"


def header(**fields: object) -> dict[str, object]:
    return {
        "scenario": {"name": "x", "path": "x.yaml", "hash": "0"},
        "started": "2026-01-01T00:00:00+00:00",
        "start_ns": 0,
        "targets": {"t": {"dialect": "d", "transport": "sse", "url": "http://x/", "two_sided": False}},
        "gates": [],
        "settings": {"stall_after_ms": 500.0, "reading_wpm": 250.0},
        "environment": {"cpu": "c", "cores": 2, "platform": "p", "python": "y"},
        "streambench": "0",
        "seed": 0,
        "warmup_s": 0,
        "phases": [],
        **fields,
    }


GENERATOR = {"valid": True, "reasons": []}


def write_run(path: Path, records: int = 3) -> None:
    writer = RecordWriter(path)
    writer.header(header())
    for number in range(records):
        writer.stream(record(number, text="Grüße\u2028\n😀"))
        writer.generator({"at_ns": number, "cpu": 0.5})
    writer.end({"at_ns": 99, "reason": "finished", "streams": records, "generator": GENERATOR})
    writer.close()


def test_a_run_is_read_back(path: Path) -> None:
    write_run(path)
    run = read_run(path)
    assert run.header["schema"] == SCHEMA
    assert run.header["scenario"]["name"] == "x"
    assert [one.id for one in run.records] == ["t/0", "t/1", "t/2"]
    assert run.records[0].text == "Grüße\u2028\n😀"
    assert [line["cpu"] for line in run.generator] == [0.5] * 3
    assert run.end is not None
    assert run.end["reason"] == "finished"
    assert not run.skipped


def test_each_line_is_one_json_object_that_says_its_kind(path: Path) -> None:
    write_run(path)
    lines = path.read_bytes().split(b"\n")
    assert lines.pop() == b""
    kinds = [json.loads(line)["kind"] for line in lines]
    assert kinds == ["header", *["stream", "generator"] * 3, "end"]


def whole_lines(data: bytes) -> list[bytes]:
    """The lines of which nothing is missing, but perhaps the line end."""
    return [line for line in data.split(b"\n") if line and line.count(b"{") == line.count(b"}")]


def test_a_run_killed_anywhere_can_be_read(path: Path) -> None:
    write_run(path)
    data = path.read_bytes()
    header_end = data.index(b"\n") + 1
    for size in range(header_end, len(data) + 1):
        path.write_bytes(data[:size])
        run = read_run(path)
        assert len(run.records) == sum(b'"kind":"stream"' in line for line in whole_lines(data[:size]))
        assert set(run.skipped) <= {"torn"}
        assert not run.damage
    assert run.end is not None


def test_a_line_is_on_disk_as_soon_as_it_is_written(path: Path) -> None:
    writer = RecordWriter(path)
    writer.header(header())
    writer.stream(record(1))
    # Not closed: a killed process would leave exactly this.
    assert len(read_run(path).records) == 1
    assert read_run(path).end is None
    writer.close()


def test_lines_of_several_processes_do_not_mix(path: Path) -> None:
    writer = RecordWriter(path)
    writer.header(header())
    children = []
    for child in range(2):
        pid = os.fork()
        if pid == 0:
            for number in range(50):
                writer.stream(record(child * 100 + number, text="x" * 5000))
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    writer.close()
    run = read_run(path)
    assert not run.skipped
    assert sorted(int(one.id[2:]) for one in run.records) == [*range(50), *range(100, 150)]


def test_damaged_lines_are_counted_and_the_rest_is_read(path: Path) -> None:
    write_run(path)
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = [
        lines[0],
        b"\n",
        b"null\n",
        b"[1]\n",
        b'{"kind":"stream"}\n',
        b'{"kind":"stream","start_ns":0,"ending":"no such"}\n',
        b"\xff\xfe\n",
        b'{"kind":"of a later version"}\n',
        *lines[1:],
    ]
    path.write_bytes(b"".join(damaged))
    run = read_run(path)
    assert len(run.records) == 3
    assert run.skipped == {"stream": 2, "unknown": 4}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"hello\n",
        b'{"kind":"stream"}\n',
        b'{"kind":"header","schema":"other/1"}\n',
        b'{"kind":"hea',
        b"{}\n",
    ],
)
def test_another_file_is_refused_with_its_name(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        read_run(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_refused_with_its_name(path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"records\.jsonl"):
        read_run(path)


def test_no_secret_reaches_the_disk(path: Path) -> None:
    upstream = UpstreamExchange(1, 0, 200, f"it is {SECRET}", faults=[f"x-{SECRET}"])
    finding = Finding(Axis.CONTENT, "rule", f"saw {SECRET}", got=SECRET, expected=(SECRET,))
    writer = RecordWriter(path, redact)
    target = {"dialect": "d", "transport": "sse", "url": f"http://x/?key={SECRET}", "two_sided": False}
    writer.header(header(targets={"t": target}, deep=[{"er": [f"a{SECRET}"]}]))
    writer.stream(record(1, text=SECRET, error_message=f"no {SECRET}", findings=[finding], upstream=[upstream]))
    writer.generator({"note": SECRET})
    writer.end({"at_ns": 9, "reason": "finished", "generator": {**GENERATOR, "reasons": [SECRET]}})
    writer.close()
    assert SECRET.encode() not in path.read_bytes()
    run = read_run(path)
    assert run.header["targets"]["t"]["url"] == "http://x/?key=***"
    assert run.records[0].findings[0].expected == ("***",)


def test_a_secret_that_is_also_one_of_our_words_breaks_nothing(path: Path) -> None:
    """`streaming=${MODE}` makes "paced" a secret; a target of that name is none."""
    words = ("paced", "completed", "header", "kernel", "content")

    def hide(text: str) -> str:
        for word in words:
            text = text.replace(word, "${MODE}")
        return text

    writer = RecordWriter(path, hide)
    url = "http://x/?streaming=paced"
    target = {"dialect": "content", "transport": "kernel", "url": url, "two_sided": False}
    writer.header(header(targets={"paced": target}, gates=["paced: authenticity == paced"]))
    one = record(1, target="paced", id="paced/1", outcome=Outcome.COMPLETED, reads=1, text="paced")
    one.events.append(1002, "content", 5, 0)
    one.findings.append(Finding(Axis.CONTENT, "content.lost", "lost"))
    writer.stream(one)
    writer.close()
    run = read_run(path)
    assert not run.skipped
    assert run.header["targets"]["paced"]["url"] == "http://x/?streaming=${MODE}"
    assert run.header["gates"] == ["paced: authenticity == paced"]
    (found,) = run.records
    assert (found.target, found.id, found.stamps) == ("paced", "paced/1", "kernel")
    assert (found.events.name, found.text) == (["content"], "${MODE}")
    assert found.findings[0].rule == "content.lost"


def test_text_that_utf8_cannot_hold_is_kept_as_far_as_it_goes(path: Path) -> None:
    writer = RecordWriter(path)
    writer.header(header())
    writer.stream(record(1, text="a\ud800b"))
    writer.close()
    assert read_run(path).records[0].text == "a?b"
