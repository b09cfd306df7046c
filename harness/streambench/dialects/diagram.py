"""A dialect's grammar as a Mermaid state diagram, drawn from the expression that the checker is compiled from.

A node is an event, or events that may stand for one another; an arrow leads to what may come next. Two things are
drawn as a box with a diagram of its own inside: a slice, `each(path){…}`, of which one copy runs per value of the path,
and an interleaving, whose parts run side by side. What may come at any time stands beside the grammar: the events that
interrupt a stream, and those that may come anywhere. A note says which milestone an event reaches.

Nodes are the positions of the expression, arrows their follow relation (Glushkov 1961). Two liberties make it easier to
read: `a+`, which is `a a*` to the checker, is one node that leads back to itself, and a box that may stay empty is
passed through.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from streambench.dialects.dialect import Dialect
from streambench.grammar import expression as ex
from streambench.grammar.notation import ParsedGrammar, parse_grammar

INDENT = "    "
NAMES_A_LINE = 2
START = END = "[*]"


def diagram(dialect: Dialect) -> str:
    """Mermaid source, without a final line break; the same dialect always gives the same text."""
    lines = ["stateDiagram-v2", f"{INDENT}direction TB"]
    drawing = _Drawing(parse_grammar(dialect.grammar, ex.Algebra()), "n", _noted(dialect))
    lines += drawing.lines(INDENT)
    if dialect.interrupt is not None:
        lines.append(f'{INDENT}state "at any time" as interrupt {{')
        lines += _Drawing(parse_grammar(dialect.interrupt, ex.Algebra()), "i").lines(INDENT * 2)
        lines.append(f"{INDENT}}}")
    if dialect.anywhere:
        lines.append(f'{INDENT}state "anywhere: {_label(sorted(dialect.anywhere))}" as anywhere')
    return "\n".join(lines)


def _noted(dialect: Dialect) -> dict[str, list[str]]:
    """The milestones that each event may reach, by its name."""
    noted: dict[str, list[str]] = {}
    for milestone in dialect.milestones:
        for event in milestone.events:
            noted.setdefault(event, []).append(milestone.name)
    return noted


@dataclass(slots=True, frozen=True)
class _Part:
    """What a part of the expression begins and ends with, as names of nodes."""

    first: tuple[str, ...]
    last: tuple[str, ...]
    nullable: bool


@dataclass(slots=True)
class _Drawing:
    """The statements of one grammar. `prefix` keeps the names of its nodes apart from those of others, `noted` are the
    milestones of events.
    """

    grammar: ParsedGrammar
    prefix: str
    noted: Mapping[str, Sequence[str]] = field(default_factory=dict)
    nodes: list[list[str]] = field(default_factory=list)  # the statements of each node
    arrows: dict[tuple[str, str], None] = field(default_factory=dict)  # in the order of their discovery

    def lines(self, indent: str) -> list[str]:
        whole = self._part(self.grammar.expression)
        self._lead((START,), whole.first)
        self._lead(whole.last, (END,))
        if whole.nullable:
            self._lead((START,), (END,))
        statements = [line for node in self.nodes for line in node]
        return [f"{indent}{line}" for line in (*statements, *(f"{a} --> {b}" for a, b in self.arrows))]

    def _lead(self, sources: Iterable[str], targets: Sequence[str]) -> None:
        self.arrows.update({(source, target): None for source in sources for target in targets})

    def _part(self, expression: ex.Expression) -> _Part:
        match expression:
            case ex.Name():
                return self._node([expression])
            case ex.Sequence():
                return self._sequence(_items(expression))
            case ex.Alternatives(options=options, nullable=nullable):
                return self._alternatives(options, nullable=nullable)
            case ex.Repetition(body=body):
                return self._repeated(self._part(body), nullable=True)
            case ex.Slice(index=index, nullable=nullable):
                part = self.grammar.slices[index]
                return self._box(f"each {part.path}{', if any' if nullable else ''}", [part.inner])
            case ex.Interleaving(parts=parts):
                return self._box("side by side", [ParsedGrammar(p, self.grammar.slices, ()) for p in parts])
        return _Part((), (), nullable=True)

    def _sequence(self, items: list[ex.Expression | list[ex.Expression]]) -> _Part:
        """A sequence; an item that is a list is repeated, once at least."""
        whole = _Part((), (), nullable=True)
        for item in items:
            if isinstance(item, list):
                inner = self._sequence([*item])
                part = self._repeated(inner, nullable=inner.nullable)
            else:
                part = self._part(item)
            self._lead(whole.last, part.first)
            whole = _Part(
                whole.first + (part.first if whole.nullable else ()),
                part.last + (whole.last if part.nullable else ()),
                whole.nullable and part.nullable,
            )
        return whole

    def _alternatives(self, options: Sequence[ex.Expression], *, nullable: bool) -> _Part:
        names = [option for option in options if isinstance(option, ex.Name)]
        parts = [self._node(names)] if names else []
        parts += [self._part(option) for option in options if not isinstance(option, (ex.Name, ex.Empty))]
        first = tuple(node for part in parts for node in part.first)
        last = tuple(node for part in parts for node in part.last)
        return _Part(first, last, nullable)

    def _repeated(self, part: _Part, *, nullable: bool) -> _Part:
        self._lead(part.last, part.first)
        return _Part(part.first, part.last, nullable)

    def _node(self, names: Sequence[ex.Name]) -> _Part:
        node = f"{self.prefix}{len(self.nodes)}"
        ordered = sorted(names, key=lambda name: name.order)
        label = _label(name.name if name.strict else f"{name.name} (tolerated)" for name in ordered)
        noted = dict.fromkeys(milestone for name in ordered for milestone in self.noted.get(name.name, ()))
        note = [f"note right of {node} : milestone {', '.join(noted)}"] if noted else []
        self.nodes.append([f'state "{label}" as {node}', *note])
        return _Part((node,), (node,), nullable=False)

    def _box(self, title: str, regions: Sequence[ParsedGrammar]) -> _Part:
        node = f"{self.prefix}{len(self.nodes)}"
        lines = [f'state "{title}" as {node} {{']
        self.nodes.append(lines)
        for number, region in enumerate(regions):
            if number:
                lines.append(f"{INDENT}--")
            lines += _Drawing(region, f"{node}_{number}_", self.noted).lines(INDENT)
        lines.append("}")
        return _Part((node,), (node,), nullable=False)


def _items(expression: ex.Expression) -> list[ex.Expression | list[ex.Expression]]:
    """The items of a sequence; `x x*`, which is how `x+` is kept, becomes one item, the list of what x is made of."""
    items: list[ex.Expression | list[ex.Expression]] = []
    while isinstance(expression, ex.Sequence):
        items.append(expression.head)
        expression = expression.tail
    items.append(expression)
    at = 0
    while at < len(items):
        item = items[at]
        if isinstance(item, ex.Repetition):
            body = _plain_items(item.body)
            start = at - len(body)
            if start >= 0 and items[start:at] == body:
                items[start : at + 1] = [body]
                at = start
        at += 1
    return items


def _plain_items(expression: ex.Expression) -> list[ex.Expression]:
    items = []
    while isinstance(expression, ex.Sequence):
        items.append(expression.head)
        expression = expression.tail
    return [*items, expression]


def _label(names: Iterable[str]) -> str:
    """Names for a node, a few to a line. A colon would end a label early, so its entity stands for it."""
    safe = [name.replace(":", "#58;") for name in names]
    lines = [", ".join(safe[at : at + NAMES_A_LINE]) for at in range(0, len(safe), NAMES_A_LINE)]
    return ",<br/>".join(lines)
