"""A dialect's grammar as a Mermaid state diagram, drawn from the automaton that checks it.

A state is what may still follow; an arrow carries the events that lead on. A slice, `each(path){…}`, is drawn as a
state with a diagram of its own inside, of which one copy runs per value of the path. What may come at any time stands
beside it: the events that interrupt a stream, and those that may come anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable

from streambench.dialects.dialect import Dialect
from streambench.grammar import Automaton

INDENT = "    "
NAMES_A_LINE = 2


def diagram(dialect: Dialect) -> str:
    """Mermaid source, without a final line break; the same dialect always gives the same text."""
    lines = ["stateDiagram-v2", f"{INDENT}direction TB"]
    lines += _automaton(dialect.automaton, "s", INDENT)
    if dialect.interrupt_automaton is not None:
        lines.append(f'{INDENT}state "from any state" as interrupt {{')
        lines += _automaton(dialect.interrupt_automaton, "i", INDENT * 2)
        lines.append(f"{INDENT}}}")
    if dialect.anywhere:
        lines.append(f'{INDENT}state "anywhere: {_names(sorted(dialect.anywhere))}" as anywhere')
    return "\n".join(lines)


def _automaton(automaton: Automaton, prefix: str, indent: str) -> list[str]:
    """The statements of one automaton; `prefix` keeps the names of its states apart from those of others."""
    drawn: set[int] = set()
    lines: list[str] = []
    start_is_target = any(0 in row.values() for row in automaton.rows)
    if start_is_target or automaton.accepting[0]:
        lines.append(f"{indent}[*] --> {prefix}0")
    for state in range(len(automaton.rows)):
        if state == 0 and not (start_is_target or automaton.accepting[0]):
            continue
        if not automaton.is_final(state):
            lines += _state(automaton, state, prefix, indent, drawn)
    for state, row in enumerate(automaton.rows):
        source = f"{prefix}{state}" if state or start_is_target or automaton.accepting[0] else "[*]"
        for target, symbols in sorted(_by_target(row).items()):
            labels = [_label(automaton, state, symbol) for symbol in symbols]
            shown = [label for label in labels if label]
            if not shown and target == state:
                continue  # what goes on inside a slice is drawn there
            end = "[*]" if automaton.is_final(target) else f"{prefix}{target}"
            lines.append(f"{indent}{source} --> {end}" + (f" : {_names(shown)}" if shown else ""))
        if automaton.accepting[state] and row:
            lines.append(f"{indent}{source} --> [*]")
    return lines


def _state(automaton: Automaton, state: int, prefix: str, indent: str, drawn: set[int]) -> list[str]:
    """A state's own statement. The first state in which a slice is open holds the slice's diagram."""
    opened = sorted(automaton.open_slices[state])
    if not opened:
        return [f'{indent}state " " as {prefix}{state}']
    title = " and ".join(f"each {automaton.slices[index].path}" for index in opened)
    new = [index for index in opened if index not in drawn]
    drawn.update(new)
    if not new:
        return [f'{indent}state "{title}" as {prefix}{state}']
    lines = [f'{indent}state "{title}" as {prefix}{state} {{']
    for position, index in enumerate(new):
        if position:
            lines.append(f"{indent}{INDENT}--")
        lines += _automaton(automaton.slices[index].automaton, f"{prefix}{state}_{index}_", indent + INDENT)
    return [*lines, f"{indent}}}"]


def _by_target(row: dict[str, int]) -> dict[int, list[str]]:
    targets: dict[int, list[str]] = {}
    for symbol, target in row.items():
        targets.setdefault(target, []).append(symbol)
    return targets


def _label(automaton: Automaton, state: int, symbol: str) -> str:
    """What an arrow says of a symbol; nothing for a slice, whose events are drawn inside of it."""
    if automaton.slice_with(symbol) is not None:
        return ""
    return f"{symbol} (tolerated)" if (state, symbol) in automaton.tolerated else symbol


def _names(names: Iterable[str]) -> str:
    """Names for a label, a few to a line. A colon would end a label early, so its entity stands for it."""
    safe = [name.replace(":", "#58;") for name in names]
    lines = [", ".join(safe[at : at + NAMES_A_LINE]) for at in range(0, len(safe), NAMES_A_LINE)]
    return ",<br/>".join(lines)
