"""The page that lists every module with its purpose: the first line of its docstring, which is one sentence.

`python -m tools.modules` writes docs/reference/modules.md anew.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

from tools.imports import ROOT, module_files

PAGE = ROOT / "docs/reference/modules.md"
HEAD = """\
# Modules

Every module with its purpose, from the first line of its docstring: `streambench` from its top layer down, then
`mock_openai`. `python -m tools.modules` generates this page; [ARCHITECTURE.md](../../ARCHITECTURE.md) says how the
packages relate to one another.
"""


def purpose(path: Path) -> str:
    """A module's purpose: the first line of its docstring; empty where it has none."""
    return _docstring(path).partition("\n")[0]


def objection(path: Path) -> str | None:
    """What keeps the first line of a module's docstring from being its purpose; None where it is one sentence."""
    first, _, rest = _docstring(path).partition("\n")
    if not first:
        return "has no docstring"
    if rest and not rest.startswith("\n"):
        return "its first sentence goes on after its first line"
    if not first.endswith((".", "?")):
        return "its first line is not a sentence"
    if re.search(r"[.?!] +\S", re.sub(r"`[^`]*`", "", first)):
        return "its first line is more than one sentence"
    return None


def page(files: Mapping[str, Path]) -> str:
    """The page in Markdown: a section for each package, with its modules in the order of their names."""
    sections = [HEAD]
    ordered = sorted(files, key=lambda module: _place(module, files))
    for package, modules in groupby(ordered, key=lambda module: _home(module, files)):
        lines = [_line(module, files[module]) for module in modules if module != package]
        sections.append("\n".join((f"## `{package}`", "", purpose(files[package]), "", *lines, "")))
    return "\n".join(sections)


def _line(module: str, path: Path) -> str:
    link = Path("../..") / path.relative_to(ROOT)
    return f"- [`{module.rpartition('.')[2]}`]({link}): {purpose(path)}"


def _docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""


def _home(module: str, files: Mapping[str, Path]) -> str:
    """The package that a module is in; a package is in itself."""
    return module if files[module].name == "__init__.py" else module.rpartition(".")[0]


def _place(module: str, files: Mapping[str, Path]) -> tuple[int, str, str]:
    """Where a module stands on the page: packages by their layer, then by name."""
    home = _home(module, files)
    return _layers().get(".".join(home.split(".")[:2]), -1 if home == "streambench" else 99), home, module


def _layers() -> dict[str, int]:
    """The layers that import-linter keeps, numbered from the top."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return {name: number for number, layer in enumerate(layers) for name in re.split(r"[ |:()]+", layer)}


if __name__ == "__main__":
    PAGE.write_text(page(module_files()), "utf-8")
