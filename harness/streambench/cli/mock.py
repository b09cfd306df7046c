"""`streambench mock`: becomes the fake upstream's own process.

The harness must not share code with the upstream that it is checked against, so the options are the upstream's own
and this process is replaced by it; signals then go where they belong.
"""

from __future__ import annotations

import os
import sys

import click


@click.command(
    "mock",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Start the fake OpenAI upstream and the reference chat server."""
    sys.stdout.flush()
    environ = {**os.environ, "MOCK_OPENAI_COMMAND": "streambench mock"}  # what its help calls it
    os.execve(sys.executable, [sys.executable, "-m", "mock_openai", *arguments], environ)  # noqa: S606 - no shell
