"""Which file imports which, and the circles that they form.

Read from the syntax tree, so an import counts wherever it stands: at the top, inside a function, or under
`TYPE_CHECKING`. A circle that only a type checker sees still means that neither file can be understood, moved or
tested without the other. That importing a module also runs the `__init__` of its packages is not counted: Python does
that for every module, and no file can avoid it.

`python tools/imports.py` prints the circles, and exits with 1 where there are any.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"streambench": ROOT / "harness/streambench", "mock_openai": ROOT / "mock_openai"}

Graph = Mapping[str, Mapping[str, int]]
"""For each module the modules that it imports, with the line of the first import."""


def module_files(packages: Mapping[str, Path] = PACKAGES) -> dict[str, Path]:
    """The file of every module, by its dotted name; a package's is its `__init__.py`."""
    files = {}
    for package, folder in packages.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


def import_graph(files: Mapping[str, Path]) -> dict[str, dict[str, int]]:
    """What each of these modules imports of the others."""
    graph: dict[str, dict[str, int]] = {}
    for module, path in files.items():
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        targets = graph.setdefault(module, {})
        for name, line in _imported(ast.parse(path.read_text("utf-8")), package):
            target = name
            while target and target not in files:
                target = target.rpartition(".")[0]
            if target and target != module:
                targets.setdefault(target, line)
    return graph


def _imported(tree: ast.Module, package: str) -> Iterator[tuple[str, int]]:
    """Dotted names that a module imports, with their lines; a name of `from m import n` is given as `m.n`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: -(node.level - 1) or None] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((f"{source}.{alias.name}", node.lineno) for alias in node.names)


def circles(graph: Graph) -> list[list[str]]:
    """For each group of modules that reach one another: the shortest way round, beginning with its first name."""
    found = []
    left = set(graph)
    for module in sorted(graph):
        if module not in left:
            continue
        way = _way_back(graph, module)
        if way:
            found.append(way)
            left -= {other for other in left if module in _reachable(graph, other)} & _reachable(graph, module)
    return found


def _way_back(graph: Graph, start: str) -> list[str]:
    """The shortest way from a module back to itself, without its end; empty where there is none."""
    reached: dict[str, str] = {}
    front = [start]
    while front:
        following = []
        for module in front:
            for target in graph[module]:
                if target == start:
                    way = [module]
                    while way[-1] != start:
                        way.append(reached[way[-1]])
                    return way[::-1]
                if target not in reached:
                    reached[target] = module
                    following.append(target)
        front = following
    return []


def _reachable(graph: Graph, start: str) -> set[str]:
    seen: set[str] = set()
    open_ends = [start]
    while open_ends:
        new = set(graph[open_ends.pop()]) - seen
        seen |= new
        open_ends.extend(new)
    return seen


def as_text(circle: list[str], graph: Graph, files: Mapping[str, Path]) -> str:
    """One circle for a person: each import on a line, with its place."""
    lines = []
    for module, target in zip(circle, [*circle[1:], circle[0]], strict=True):
        place = files[module].relative_to(ROOT) if files[module].is_relative_to(ROOT) else files[module]
        lines.append(f"{place}:{graph[module][target]} imports {target}")
    return "\n".join(lines)


def main() -> int:
    """Prints the circles; returns 1 where there are any."""
    files = module_files()
    graph = import_graph(files)
    found = circles(graph)
    print("\n\n".join(as_text(circle, graph, files) for circle in found) or "no circle of imports")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
