"""Every output, with every hostile word in every place that a server, a scenario or a file can fill."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import orjson
import pytest
from desk import Done, Jobs
from words import WORDS, HostileWord

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
COLOURS = re.compile("\x1b\\[[0-9;]*m")
TEXTS = ("summary.md", "junit.xml", "report.html", "summary.json", "streambench.sarif", "streams.csv", "chunks.csv")
MS = 1_000_000
# Pictures take most of the time, and one escape makes all their words.
DRAWN = {word.text for word in WORDS if word.name in ("title", "svg", "bidi")} | {"drawn"}


def records(word: str) -> list[dict[str, Any]]:
    """A run whose every word of others is the hostile one: messages, names of events and targets, findings, URLs."""
    name = "".join(character for character in word if character.isprintable())[:200] or "x"
    target = {"dialect": name, "transport": word, "url": f"http://x/{word}", "two_sided": False}
    header = {
        "kind": "header",
        "schema": "streambench.records/1",
        "streambench": word,
        "scenario": {"name": word, "path": word, "hash": word},
        "started": word,
        "start_ns": 0,
        "seed": 0,
        "targets": {name: target},
        "gates": ["violations == 0", f"{name}: ttfc.p95 < 800ms", word],
        "settings": {"stall_after_ms": 500.0, "reading_wpm": 250.0},
        "warmup_s": 0,
        "phases": [word],
        "environment": {"cpu": word, "cores": 2, "platform": word, "python": word},
    }
    finding = {"axis": "content", "rule": word, "message": word, "got": word, "expected": [word], "event_index": 1}
    stream = {
        "kind": "stream",
        "id": f"{name}/0",
        "target": name,
        "dialect": name,
        "phase": 0,
        "user": 0,
        "iteration": 0,
        "warmup": False,
        "mark": word,
        "worker": word,
        "intended_ns": 0,
        "start_ns": 1,
        "connected": 1,
        "sent": 2,
        "reused_connection": False,
        "connect_ahead": None,
        "headers": 3,
        "status": 200,
        "end": 9 * MS,
        "outcome": "completed",
        "error": None,
        "error_message": word,
        "ending": "fin",
        "close_code": None,
        "terminal_event": True,
        "stamps": "kernel",
        "reads": 2,
        "coalesced_reads": 0,
        "wire_bytes": 9,
        "tokens": None,
        "text": word,
        "findings": [finding],
        "findings_dropped": 1,
        "upstream": [],
        "further": [{**finding, "count": 1}],
        "events": {"names": [word], "name": [0, 0], "at": [4 * MS, 5 * MS], "chars": [1, 2], "read": [0, 1]},
    }
    failed = {**stream, "id": f"{name}/1", "outcome": "failed", "error": name}
    reasons = {"valid": False, "reasons": [word], "stamps": word, "lost": [word], "server_wait": {word: 0.5}}
    return [header, stream, failed, {"kind": "end", "at_ns": 9 * MS, "reason": "finished", "generator": reasons}]


def report(jobs: Jobs, folder: Path, word: str) -> Done:
    lines = b"".join(json.dumps(line).encode() + b"\n" for line in records(word))
    (folder / "records.jsonl").write_bytes(lines)
    formats = "html,junit,markdown,csv,sarif"
    plots = () if word in DRAWN else ("--no-plots",)
    return jobs.run("report", ".", "--format", formats, *plots, cwd=folder, environ={"FORCE_COLOR": "1"})


class Tags(HTMLParser):
    """Counts the elements of a page, and the attributes that run code."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.names += [
            key
            for key, value in attrs
            if key.startswith("on") or (key in ("href", "src") and "javascript:" in (value or ""))
        ]


def tags(page: str) -> set[str]:
    parser = Tags()
    parser.feed(page)
    return set(parser.names)


@pytest.fixture(scope="module")
def plain(jobs: Jobs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run with a word that is none of this: in `drawn`, with pictures."""
    folder = tmp_path_factory.mktemp("plain")
    report(jobs, folder, "plain")
    (folder / "drawn").mkdir()
    report(jobs, folder / "drawn", "drawn")
    return folder


@pytest.mark.parametrize("word", WORDS, ids=[word.name for word in WORDS])
def test_no_output_obeys_a_word(jobs: Jobs, tmp_path: Path, plain: Path, word: HostileWord) -> None:
    done = report(jobs, tmp_path, word.text)
    plain = plain / "drawn" if word.text in DRAWN else plain
    assert (done.code, done.is_bug) == (4, False), done.err
    written = {name: (tmp_path / name).read_text("utf-8") for name in TEXTS}
    written |= {path.name: path.read_text("utf-8") for path in (tmp_path / "plots").glob("*.svg")}
    for name, text in {**written, "out": COLOURS.sub("", done.out), "err": done.err}.items():
        assert not CONTROLS.search(text.replace("\r\n", "\n") if name.endswith(".csv") else text), name
    # What stands in a code span is text, and no backtick of a word ends one.
    written["summary.md, outside of code"] = without_code = re.sub("`[^`\n]*`", "", written["summary.md"])
    assert not re.search(r"(?<!\\)\]\(", without_code)
    for name in (
        "report.html",
        "summary.md, outside of code",
        "junit.xml",
        *(name for name in written if name.endswith(".svg")),
    ):
        for mark in word.marks:
            assert mark not in written[name], name
    assert tags(written["report.html"]) == tags((plain / "report.html").read_text("utf-8"))
    assert len(ET.fromstring(written["junit.xml"]).findall(".//testcase")) == len(
        ET.fromstring((plain / "junit.xml").read_text("utf-8")).findall(".//testcase")
    )
    for name in ("summary.json", "streambench.sarif"):
        orjson.loads(written[name])
    for name in ("streams.csv", "chunks.csv"):
        rows = list(csv.reader(io.StringIO(written[name])))
        assert {len(row) for row in rows} == {len(rows[0])}
        assert not [cell for row in rows for cell in row if re.match(r"[=+@\t\r]|-(?![\d.]+$)", cell)], name
    markdown, other = written["summary.md"].splitlines(), (plain / "summary.md").read_text("utf-8").splitlines()
    assert len(markdown) == len(other)
    assert [line[:3] for line in markdown if line.startswith("#")] == [line[:3] for line in other if line[:1] == "#"]


@pytest.mark.parametrize("word", WORDS[:-1], ids=[word.name for word in WORDS[:-1]])
def test_check_shows_a_word_and_does_not_obey_it(jobs: Jobs, tmp_path: Path, word: HostileWord) -> None:
    body = json.dumps({"type": word.text, word.text: word.text, "content": word.text})
    (tmp_path / "capture.sse").write_text(f"event: x\ndata: {body}\n\ndata: {body[:-1]}\n\n")
    for extra in ((), ("--events",), ("--json",)):
        done = jobs.run("check", "capture.sse", "--dialect", "chat-stream", *extra, cwd=tmp_path)
        assert (done.code, done.is_bug) == (3, False), done.err
        assert not CONTROLS.search(done.out + done.err)
