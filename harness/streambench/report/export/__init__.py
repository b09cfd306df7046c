"""The formats of a report: each module of this package is the format of that name.

Each has a function `write(summary, folder, plots)`, which writes the format's files into the run folder and returns the
main one. A new format is one new file here; the command line finds it by itself.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from streambench.analysis.summary import Summary

DEFAULT_FORMATS = ("html", "junit", "markdown")


class Exporter(Protocol):
    """A module that writes a run in one format."""

    def write(self, summary: Summary, folder: Path, *, plots: bool) -> Path:
        """Write into `folder`, which exists; returns the format's main file. `plots`: with pictures, where it has any.

        Raises OSError where the folder cannot be written to, and MissingDependency where a package is not installed.
        """
        ...


@cache
def formats() -> tuple[str, ...]:
    """The names of all formats; none of them is loaded for that."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def exporter(name: str) -> Exporter:
    """The exporter of a format. A name that is not one of `formats` is a ModuleNotFoundError."""
    return cast("Exporter", import_module(f"{__name__}.{name}"))
