"""What commands print: text from servers and files is shown, but cannot act on the terminal."""

from __future__ import annotations

import json
from typing import Any

import click

from streambench.printable import printable_json, printable_lines


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print lines; what would act on a terminal in them becomes an escape."""
    click.echo(printable_lines(text), err=err, nl=nl)


def say_json(value: Any, *, err: bool = False, indent: int | None = None) -> None:
    """Print a value as a JSON document."""
    click.echo(json_text(value, indent=indent), err=err)


def json_text(value: Any, *, indent: int | None = None) -> str:
    """A value as a JSON document that can be printed."""
    return printable_json(json.dumps(value, indent=indent, ensure_ascii=False))
