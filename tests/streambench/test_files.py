"""Files of others: what is no file is not read, nothing is read beyond the bound, and nothing of it is quoted."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from pathlib import Path

import pytest

from streambench.errors import ConfigurationError
from streambench.files import read_all, read_file, read_text


def test_a_file_within_the_bound_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"\xef\xbb\xbfhello")
    assert read_file(path, 8) == b"\xef\xbb\xbfhello"
    assert read_text(path, 8) == "hello"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/dev/zero", "it is a device"),
        ("/dev/null", "it is a device"),
        ("/", "it is a folder"),
        ("missing", "No such file"),
        ("a\0b", "it is no path"),
        ("x" * 300, "File name too long"),
    ],
)
def test_what_is_no_file_is_refused(path: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        read_file(Path(path), 100)


def test_one_byte_more_than_the_bound_is_too_much(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"secret!")
    for read in (read_file, read_text):
        with pytest.raises(ConfigurationError, match="is larger than 6 bytes") as error:
            read(path, 6)
        assert "secret" not in str(error.value)


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_bytes(b"a" * 100_000))
    writer.start()
    assert len(read_file(path, 1 << 20)) == 100_000
    writer.join()


def test_a_pipe_without_an_end_is_left(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def write() -> None:
        with contextlib.suppress(BrokenPipeError), path.open("wb", buffering=0) as pipe:
            while True:
                pipe.write(b"a" * 65536)

    writer = threading.Thread(target=write)
    writer.start()
    with pytest.raises(ConfigurationError, match="is larger than"):
        read_file(path, 1 << 20)
    writer.join()


def test_a_place_that_is_no_utf8_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"a\nb\n\xff")
    with pytest.raises(ConfigurationError, match=":3: is not UTF-8 text"):
        read_text(path, 100)


def test_an_open_file_is_read_within_the_bound() -> None:
    file = io.BytesIO(b"abc")
    file.name = "abc"
    assert read_all(file, 3) == b"abc"
    file.seek(0)
    with pytest.raises(ConfigurationError, match="abc: is larger than 2 bytes"):
        read_all(file, 2)
