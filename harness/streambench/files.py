"""Reads files from untrusted sources, within a size bound.

A scenario from a pull request may name any path. So only regular files and pipes are read, never a device; no more is
read than the bound; and what is not the expected text is named, never quoted.
"""

from __future__ import annotations

import os
import select
import stat
from pathlib import Path
from typing import IO

from streambench.errors import ConfigurationError

PIPE_WAIT_S = 10.0  # how long somebody may take to write into a pipe
BLOCK_BYTES = 1 << 20

_KINDS = (
    (stat.S_ISDIR, "is a folder, not a file"),
    (stat.S_ISCHR, "is a device, not a file"),
    (stat.S_ISBLK, "is a device, not a file"),
    (stat.S_ISSOCK, "is a socket, not a file"),
)


def is_there(path: Path) -> bool:
    """Whether something that may be read is at `path`; of a path that cannot be one, it is not."""
    try:
        return path.exists() and not path.is_dir()
    except (OSError, ValueError):
        return False


def read_file(path: Path, max_bytes: int) -> bytes:
    """The bytes of a regular file or of a pipe.

    Raises ConfigurationError where it cannot be read, is neither, holds more than `max_bytes`, or is a pipe into which
    nobody writes for `PIPE_WAIT_S`.
    """
    try:
        # Without waiting for somebody who opens the other end of a pipe.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = error.strerror if isinstance(error, OSError) else "it is no path"
        raise ConfigurationError(f"cannot be read: {reason}", path=str(path)) from None
    try:
        mode = os.fstat(fd).st_mode
        for is_kind, reason in _KINDS:
            if is_kind(mode):
                raise ConfigurationError(f"cannot be read: it {reason}", path=str(path))
        return _read(fd, path, max_bytes, is_pipe=stat.S_ISFIFO(mode))
    finally:
        os.close(fd)


def read_text(path: Path, max_bytes: int) -> str:
    """The same as UTF-8 text, without a byte order mark. Raises ConfigurationError, also for what is not UTF-8."""
    data = read_file(path, max_bytes)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigurationError("is not UTF-8 text", path=str(path), line=line) from None


def read_all(file: IO[bytes], max_bytes: int) -> bytes:
    """What an open file holds. Raises ConfigurationError beyond `max_bytes`."""
    data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise _too_large(file.name, max_bytes)
    return data


def _read(fd: int, path: Path, max_bytes: int, *, is_pipe: bool) -> bytes:
    data = bytearray()
    while len(data) <= max_bytes:
        if is_pipe and not select.select([fd], [], [], PIPE_WAIT_S)[0]:
            raise ConfigurationError(f"nothing came through this pipe for {PIPE_WAIT_S:g} s", path=str(path))
        try:
            block = os.read(fd, min(BLOCK_BYTES, max_bytes + 1 - len(data)))
        except BlockingIOError:
            continue
        except OSError as error:
            raise ConfigurationError(f"cannot be read: {error.strerror}", path=str(path)) from None
        if not block:
            return bytes(data)
        data += block
    raise _too_large(str(path), max_bytes)


def _too_large(path: str, max_bytes: int) -> ConfigurationError:
    return ConfigurationError(f"is larger than {max_bytes:,} bytes", path=path)
