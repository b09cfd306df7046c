"""Captures of our own making, valid and broken, of every bundled dialect: which rule speaks up, at which event.

`findings.yaml` in each folder of tests/captures says what is wrong with each of its files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from streambench.dialects import DialectStream, bundled_dialects, load_dialect
from streambench.findings import Severity
from streambench.wire.framings import capture_decoder

CAPTURES = Path(__file__).parents[2] / "captures"
EXPECTED = {name: YAML(typ="safe").load(CAPTURES / name / "findings.yaml") for name in bundled_dialects()}


def files() -> Iterator[tuple[str, str]]:
    for name, expected in EXPECTED.items():
        for file in expected:
            yield name, file


@pytest.mark.parametrize(("name", "file"), list(files()), ids=str)
def test_what_is_wrong_with_a_capture(name: str, file: str) -> None:
    dialect = load_dialect(name)
    decoder, stream = capture_decoder(dialect.transport), DialectStream(dialect)
    data = (CAPTURES / name / file).read_bytes()
    found = []
    for message in [*decoder.feed(data), *decoder.finish()]:
        found += stream.feed(message).findings
    found += [*decoder.take_findings(), *stream.finish("response_end")]
    violations = [finding for finding in found if finding.severity is Severity.VIOLATION]
    assert [f"{finding.event_index} {finding.axis} {finding.rule}" for finding in violations] == EXPECTED[name][file]
    for finding in violations:
        assert finding.message
        assert finding.offset is not None


@pytest.mark.parametrize("name", bundled_dialects())
def test_every_dialect_has_a_valid_capture_and_three_broken_ones(name: str) -> None:
    folder = {path.name for path in (CAPTURES / name).iterdir()} - {"findings.yaml"}
    assert folder == set(EXPECTED[name])
    broken = [file for file, findings in EXPECTED[name].items() if findings]
    assert len(broken) >= 3
    assert len(folder) > len(broken)


@pytest.mark.parametrize("name", bundled_dialects())
def test_the_valid_captures_have_every_kind_of_text(name: str) -> None:
    dialect = load_dialect(name)
    file = next(file for file in EXPECTED[name] if file.startswith("valid."))
    decoder, stream = capture_decoder(dialect.transport), DialectStream(dialect)
    data = (CAPTURES / name / file).read_bytes()
    text = "".join(stream.feed(message).content for message in [*decoder.feed(data), *decoder.finish()])
    assert len(text) > 5
    stream.finish("response_end")
    assert stream.complete
    assert not stream.interrupted
