"""A server of the user's own, as `serve` of a scenario file declares it: what starts it, and when it is ready."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from streambench.errors import ConfigurationError
from streambench.load.fields import Field, Given, Nested, Section
from streambench.load.kinds import Duration, Integer, ScalarMap, Schema, Text
from streambench.load.values import PORT, PYTHON, Values
from streambench.located import Located
from streambench.units import NS_PER_S

READY_NS = 30 * NS_PER_S


class Words:
    """A command line: a text that is split as a shell would split it, or the list of its words."""

    def read(self, node: Located, values: Values, what: str) -> tuple[str, ...]:
        """The words, at least one. Raises ConfigurationError."""
        if isinstance(node.value, list):
            words = [values.scalar(item, f"a word of {what}") for item in node.value]
        else:
            try:
                words = shlex.split(values.text(node, what))
            except ValueError as error:
                raise node.error(f"{what} cannot be split into words: {error}") from None
        if not words:
            raise node.error(f"{what} is empty: write the program and its arguments")
        return tuple(words)

    def schema(self) -> Schema:
        """A text, or a list of words."""
        words = {"type": "array", "minItems": 1, "items": {"type": ["string", "number", "boolean"]}}
        return {"anyOf": [{"type": "string", "pattern": r"\S"}, words]}

    def show(self, value: Any) -> str:
        """Never shown: there is no default."""
        return ""


COMMAND: Field[tuple[str, ...]] = Field(
    "command",
    Words(),
    "the command that starts it: a string, split into words as a shell would, or a list of words. No "
    'shell runs it; for one, write `[sh, -c, "…"]`',
    (),
    required=True,
)
ENV: Field[dict[str, str]] = Field(
    "env",
    ScalarMap("the variable"),
    "environment variables, in addition to those of `streambench`; `PORT` is always set",
    {},
    shown="",
)
CWD = Field("cwd", Text(), "its working directory, relative to the scenario file", ".")
OWN_PORT: Field[int | None] = Field("port", Integer(1, 65_535), "the port it listens on", None, shown="a free one")
HTTP: Field[str | None] = Field(
    "http",
    Text(("/.*",)),
    "the path of a `GET` request that is answered with a status below 400 once it is ready",
    None,
    shown="when the port is open",
)
WITHIN = Field("within", Duration(some=True), "how long it may take to become ready", READY_NS)
READY: Field[Given | None] = Field("ready", Nested(Section("'ready'", HTTP, WITHIN)), "when it counts as ready", None)
SECTION = Section("a server with a 'command'", COMMAND, ENV, CWD, OWN_PORT, READY)


@dataclass(frozen=True, slots=True)
class Command:
    """A server to start. `port` None: a free one; `ready_path` None: it is ready when its port is open.

    Its texts may hold `${port}`, `${python}` and `${serve.…}`, which are known when it is started.
    """

    name: str
    words: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    port: int | None = None
    ready_path: str | None = None
    within_ns: int = READY_NS
    place: Located | None = field(default=None, compare=False, repr=False)  # where the file says it

    def cannot_start(self, reason: str) -> ConfigurationError:
        """The error to raise when the program cannot be started; a misspelt one is told from the names on the PATH."""
        program = self.words[0]
        message = f"serve.{self.name}: {program!r} cannot be started: {reason}."
        if self.place is None:
            return ConfigurationError(message)
        return self.place.error(message, text=program, valid=() if "/" in program else _programs(self.env))

    def at(self, port: int, urls: Mapping[str, str]) -> Command:
        """The command with its port and the URLs of the other servers in place."""

        def fill(text: str) -> str:
            text = text.replace(f"${{{PORT}}}", str(port)).replace(f"${{{PYTHON}}}", sys.executable)
            for name, url in urls.items():
                text = text.replace(f"${{serve.{name}}}", url)
            return text

        env = {"PORT": str(port), **{name: fill(value) for name, value in self.env.items()}}
        return replace(self, words=tuple(map(fill, self.words)), env=env, port=port)


def _programs(env: Mapping[str, str]) -> set[str]:
    """The names that the command's own PATH knows, or else ours."""
    names: set[str] = set()
    for folder in env.get("PATH", os.environ.get("PATH", "")).split(os.pathsep):
        with contextlib.suppress(OSError):
            names.update(item.name for item in Path(folder or ".").iterdir())
    return names


def _program_of(node: Located) -> Located:
    """The word that names the program."""
    return node.value[0] if isinstance(node.value, list) else node


def read_command(name: str, node: Located, values: Values) -> Command:
    """The server called `name`. Raises ConfigurationError."""
    given = SECTION.read(node, values)
    with values.known_later(PORT, PYTHON):
        words, env = given[COMMAND], given[ENV]
    cwd = values.path.parent / given[CWD]
    if not cwd.is_dir():
        raise (given.get(CWD) or node).error(f"there is no folder {cwd}")
    ready = given[READY]
    path = ready[HTTP] if ready is not None else None
    if ready is not None and path is not None and not path.startswith("/"):
        raise ready.at(HTTP).error("'http' is a path of the server, such as /health", text=path)
    within_ns = READY_NS if ready is None else ready[WITHIN]
    return Command(name, words, cwd, env, given[OWN_PORT], path, within_ns, _program_of(given.at(COMMAND)))
