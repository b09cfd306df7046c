"""The house is in order: no circle of imports, a purpose for every module, and the page that lists them up to date."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.imports import ROOT, as_text, circles, import_graph, module_files
from tools.modules import PAGE, objection, page

FILES = module_files()


def test_no_circle_of_files() -> None:
    graph = import_graph(FILES)
    found = circles(graph)
    assert not found, "\n\n".join(as_text(circle, graph, FILES) for circle in found)


@pytest.mark.parametrize(
    "line",
    [
        "from house.second import thing",
        "from .second import thing",
        "from . import second",
        "import house.second",
        "def late():\n    from house import second",
        "if TYPE_CHECKING:\n    from house.second import thing",
    ],
)
def test_a_circle_is_found_wherever_the_import_stands(tmp_path: Path, line: str) -> None:
    (tmp_path / "__init__.py").touch()
    (tmp_path / "first.py").write_text(f"import os\n{line}\n")
    (tmp_path / "second.py").write_text("from house.third import thing\n")
    (tmp_path / "third.py").write_text("from house import first\n")
    (tmp_path / "aside.py").write_text("from house import first, second\n")
    graph = import_graph(module_files({"house": tmp_path}))
    assert circles(graph) == [["house.first", "house.second", "house.third"]]


@pytest.mark.parametrize("module", FILES)
def test_a_module_says_its_purpose_in_one_sentence(module: str) -> None:
    assert objection(FILES[module]) is None, f"{FILES[module].relative_to(ROOT)}: {objection(FILES[module])}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import os\n", "has no docstring"),
        ('"""Reads a file, line by\nline."""\n', "its first sentence goes on after its first line"),
        ('"""Reads a file"""\n', "its first line is not a sentence"),
        ('"""Reads a file. Writes another."""\n', "its first line is more than one sentence"),
        ('"""Reads `a. b`, in HTTP/1.1.\n\nMore of it. And more.\n"""\n', None),
    ],
)
def test_what_is_no_purpose(tmp_path: Path, text: str, reason: str | None) -> None:
    (tmp_path / "module.py").write_text(text)
    assert objection(tmp_path / "module.py") == reason


def test_the_page_of_modules_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == page(FILES), "write it anew: python -m tools.modules"
