"""What pages print for a reader to type: commands, files to save, and how a command is said to end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/tutorial/first-run.md", "docs/howto/gate-a-build.md", "docs/reference/commands.md")

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\S+\.ya?ml)\n")


@dataclass(frozen=True)
class Printed:
    """A command (`text` without its `$`), or a file to save (`name`)."""

    text: str
    name: str | None = None
    fails: bool = False


def printed(page: str) -> Iterator[Printed]:
    """All of a page, in its order."""
    for language, block in _BLOCK.findall((ROOT / page).read_text("utf-8")):
        found = _FILE.match(block)
        if language == "yaml" and found and "/" not in found[1]:
            yield Printed(block, name=found[1])
        if language:
            continue
        commands = list(re.finditer(r"^\$ (.+)$", block, re.MULTILINE))
        for i, match in enumerate(commands):
            output = block[match.end() : commands[i + 1].start() if i + 1 < len(commands) else len(block)]
            yield Printed(match[1], fails=output.lstrip("\n").startswith("FAILED"))
