"""Exit codes, and the exceptions for our own mistakes and the user's.

What a server does wrong is never an exception that reaches a user: it is data in the record. An exception here
means a configuration that cannot be run, a target that cannot be reached at all, or a bug.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum

MAX_NAME_CHARS = 200
MAX_REASON_CHARS = 1_000  # a value of the user's that is quoted may be as long as its file


class ExitCode(IntEnum):
    """What the process tells the shell. Documented in docs/reference/exit-codes.md."""

    PASSED = 0
    PERFORMANCE = 1
    USAGE = 2
    CONFORMANCE = 3
    INVALID = 4
    UNREACHABLE = 5
    INTERNAL = 70
    INTERRUPTED = 130
    TERMINATED = 143

    @classmethod
    def worst(cls, codes: Iterable[ExitCode]) -> ExitCode:
        """The one to exit with where several hold: unreachable, invalid, interrupted, conformance, performance."""
        found = set(codes)
        for code in (
            cls.UNREACHABLE,
            cls.INVALID,
            cls.INTERRUPTED,
            cls.TERMINATED,
            cls.CONFORMANCE,
            cls.PERFORMANCE,
        ):
            if code in found:
                return code
        return cls.PASSED


class StreambenchError(Exception):
    """Base of every error that streambench raises on purpose; its text is for the user and names the remedy."""

    exit_code: ExitCode = ExitCode.INTERNAL


class ConfigurationError(StreambenchError):
    """A scenario, dialect, gate or option that cannot be run.

    `line` and `column` count from 1. `text` is the offending text, `suggestion` the nearest valid name.
    """

    exit_code = ExitCode.USAGE

    def __init__(
        self,
        reason: str,
        *,
        path: str | None = None,
        line: int | None = None,
        column: int | None = None,
        text: str | None = None,
        suggestion: str | None = None,
    ) -> None:
        if len(reason) > MAX_REASON_CHARS:
            reason = f"{reason[: MAX_REASON_CHARS // 2]} … {reason[-MAX_REASON_CHARS // 2 :]}"
        super().__init__(reason)
        self.reason = reason
        self.path = path
        self.line = line
        self.column = column
        self.text = text
        self.suggestion = suggestion

    @property
    def location(self) -> str | None:
        """`file:line:column`, as far as it is known; editors and CI logs make it clickable."""
        parts = [str(part) for part in (self.path, self.line, self.column) if part is not None]
        return ":".join(parts) or None

    def __str__(self) -> str:
        where = f"{self.location}: " if self.location else ""
        if not self.suggestion:
            return f"{where}{self.reason}"
        return f"{where}{self.reason.rstrip('.')}. Did you mean '{self.suggestion}'?"


class MissingDependency(ConfigurationError):
    """A feature whose optional packages are not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs optional packages: pip install 'streambench[{extra}]'")


class TargetUnreachable(StreambenchError):
    """No connection to the system under test could be made at all."""

    exit_code = ExitCode.UNREACHABLE


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name that `name` was probably meant to be, or None when nothing is close."""
    if len(name) > MAX_NAME_CHARS:  # the search costs the square of the length
        return None
    matches = difflib.get_close_matches(name, list(valid), n=5, cutoff=0.6)
    # Letters in the wrong order are the commonest mistake of all, and difflib thinks little of them.
    swapped = [match for match in matches if sorted(match) == sorted(name)]
    return next(iter([*swapped, *matches]), None)
