"""A transcript, checked and drawn: the result of one stream of a run or a probe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from streambench.errors import ConfigurationError

if TYPE_CHECKING:
    from streambench.dialects import Dialect
    from streambench.record.model import StreamRecord

BEGINNING = b'{"kind":"transcript"'


def is_transcript(beginning: bytes) -> bool:
    """Whether a file that begins so is a transcript."""
    return beginning.startswith(BEGINNING)


def read_transcript(path: Path, dialect_name: str | None) -> StreamRecord:
    """The record that a transcript gives, by the dialect that is named in it or by another one.

    Raises ConfigurationError.
    """
    from streambench.dialects import bundled_dialects, load_dialect
    from streambench.record.transcript import replay

    def find(name: str) -> Dialect:
        if dialect_name is None and name not in bundled_dialects():
            raise ConfigurationError(
                f"the stream was read with a dialect of your own: name its file with --dialect ({name})"
            )
        return load_dialect(dialect_name or name)

    return replay(path, find)
