"""The values of a scenario file: texts with `${NAME}` in them, durations, rates and numbers, each with its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from streambench.errors import ConfigurationError
from streambench.files import is_there, read_text
from streambench.load.secrets import Secrets
from streambench.located import Located, describe
from streambench.units import NS_PER_S, parse_duration_ns

SERVED = ("openai", "chat")
MAX_DURATION_NS = 10_000 * 3600 * NS_PER_S
MAX_FILE_BYTES = 64 << 20  # of a file of prompts or of arrivals
PORT = "port"
PYTHON = "python"

_REFERENCE = re.compile(r"\$\{([^}]*)\}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

T = TypeVar("T")


class Values:
    """Reads values of one file.

    `served` are the servers that it starts, as far as they have been read, `milestones` those that all its targets
    have; what comes from the environment becomes one of the `secrets`.
    """

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self.path = path
        self.secrets = Secrets()
        self.served: set[str] = set()
        self.milestones: tuple[str, ...] = ()
        self._environ = environ
        self._later: tuple[str, ...] = ()

    @contextmanager
    def known_later(self, *names: str) -> Iterator[None]:
        """Inside it, `${NAME}` stays as it is for these names: somebody else replaces it."""
        self._later = names
        try:
            yield
        finally:
            self._later = ()

    def text(self, node: Located, what: str) -> str:
        """A text, with `${NAME}` from the environment in place; `${serve.…}` stays, it is known later."""
        text = node.string(what)

        def fill(match: re.Match[str]) -> str:
            name, has_default, default = match[1].partition(":-")
            if name.startswith("serve."):
                self._check_served(node, name, match.start(1))
                return match[0]
            if name in self._later:
                return match[0]
            if _VARIABLE.fullmatch(name) is None:
                raise node.error(
                    f"{match[0]!r} is not the name of an environment variable", text=match[0], at=match.start()
                )
            if name in self._environ:
                value = self._environ[name]
                self.secrets.add(value, match[0] if not has_default else f"${{{name}}}")
                return value
            if has_default:
                return default
            raise node.error(
                f"the environment variable {name} is not set: set it, or write ${{{name}:-default}}",
                text=name,
                at=match.start(),
            )

        return _REFERENCE.sub(fill, text)

    def _check_served(self, node: Located, name: str, at: int) -> None:
        served = name.removeprefix("serve.")
        if served in self.served:
            return
        if served in SERVED:
            raise node.error(f"{name} is used, but `serve` does not start it: add serve: {{{served}: {{}}}}", at=at)
        known = sorted({*SERVED, *self.served})
        names = [f"serve.{one}" for one in known]
        reason = f"there is no {name}, or not yet: `serve` can start {' and '.join(SERVED)}, and commands of your own."
        raise node.error(reason, text=name, valid=names, at=at)

    def scalar(self, node: Located, what: str) -> str:
        """A text, number or truth value as text; `what` is how errors call it. Raises ConfigurationError."""
        if isinstance(node.value, dict | list) or node.value is None:
            raise node.error(f"{what} must be a text or a number, not {describe(node.value)}")
        if isinstance(node.value, bool):
            return "true" if node.value else "false"
        return self.text(node, what) if isinstance(node.value, str) else str(node.value)

    def read(self, node: Located, parse: Callable[[str], T], what: str) -> T:
        """A quantity in its own notation. A number is offered as text, so that `0` is a duration."""
        if isinstance(node.value, bool) or not isinstance(node.value, str | int | float):
            raise node.error(f"{what} is {describe(node.value)}, which is not a number with a unit")
        text = self.text(node, what) if isinstance(node.value, str) else str(node.value)
        try:
            return parse(text)
        except ValueError as error:
            raise node.error(f"{what}: {error}", text=text) from None

    def duration(self, node: Located | None, what: str, default: int) -> int:
        """A duration in ns; `default` where there is none. Raises ConfigurationError."""
        if node is None:
            return default
        duration_ns = self.read(node, parse_duration_ns, what)
        if duration_ns > MAX_DURATION_NS:
            raise node.error(f"{what} is longer than any run: at most {MAX_DURATION_NS // NS_PER_S // 3600:,}h")
        return duration_ns

    def number(self, node: Located | None, what: str, low: float, high: float, default: float) -> float:
        """A number from `low` to `high`; `default` where there is none. Raises ConfigurationError."""
        if node is None:
            return default
        value = self.read(node, float, what)
        if not low <= value <= high:
            raise node.error(f"{what} lies between {low:g} and {high:g}", text=str(node.value))
        return value

    def integer(self, node: Located | None, what: str, low: int, high: int, default: int) -> int:
        """A whole number from `low` to `high`; `default` where there is none. Raises ConfigurationError."""
        if node is None:
            return default

        def parse(text: str) -> int:
            try:
                return int(text)
            except ValueError:
                raise ValueError(f"{text!r} is not a whole number") from None

        value = self.read(node, parse, what)
        if not low <= value <= high:
            raise node.error(f"{what} lies between {low:,} and {high:,}", text=str(node.value))
        return value

    def file_beside(self, node: Located, name: str, what: str) -> tuple[Path, str]:
        """A file that the scenario names, in the working directory or beside the scenario, and its text."""
        path = Path(name) if is_there(Path(name)) else self.path.parent / name
        try:
            return path, read_text(path, MAX_FILE_BYTES)
        except ConfigurationError as error:
            line = "" if error.line is None else f" (line {error.line})"
            raise node.error(f"{what}{line} {error.reason}", text=name) from None
