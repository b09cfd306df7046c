"""The page that lists every rule with its axis, what it asks for, and who says so.

`python -m tools.rules` writes docs/reference/rules.md anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from streambench.analysis.rule_index import known_rules
from streambench.findings import Axis, Severity
from streambench.rules import Rule
from tools.imports import ROOT

PAGE = ROOT / "docs/reference/rules.md"
HEAD = """\
# Rules

Every finding names its rule. A rule belongs to one of four axes, which are never mixed: **content** (the text differs
from what was sent), **grammar** (events out of order or malformed), **termination** (how the stream ended), **timing**
(clocks that go back). A fifth kind, **interop**, breaks no rule: popular clients would read the same bytes differently.
It is reported as information.

Violations set the exit code of `check` (3) and count in the metric `violations`; information does neither. Capitals in
a rule's name stand for a name from the dialect: for the event `token`, `schema.EVENT` is `schema.token`.

`python -m tools.rules` generates this page from the code.
"""

SECTIONS = {
    "Order of events": ("grammar.", "data.", "schema."),
    "Checks across events": ("PATH.", "EVENT.", "content.concat"),
    "Text": ("content.",),
    "How the stream ended": ("termination.",),
    "Framing": ("http.", "wire.", "sse.", "ndjson.", "text.", "websocket.", "har."),
    "Engine.IO and Socket.IO": ("engineio.", "socketio."),
    "Other checks": ("",),
}
NOTES = {"Text": "`content.lost` to `content.whitespace` compare with the upstream's own text, in two-sided runs."}


def page(rules: Sequence[Rule]) -> str:
    """The page in Markdown: a table for each section, with its rules in the order of their ids."""
    parts = [HEAD]
    for section in SECTIONS:
        members = [rule for rule in rules if _section(rule) == section]
        if members:
            table = ["| rule | axis | requirement | source |", "|---|---|---|---|", *map(_row, members)]
            note = [NOTES[section]] if section in NOTES else []
            parts.append("\n\n".join([f"## {section}", *note, "\n".join(table)]) + "\n")
    return "\n".join(parts)


def _section(rule: Rule) -> str:
    if rule.axis is Axis.TERMINATION:
        return "How the stream ended"
    matches = {
        section: max((len(prefix) for prefix in prefixes if rule.id.startswith(prefix)), default=-1)
        for section, prefixes in SECTIONS.items()
    }
    return max(matches, key=matches.__getitem__)


def _row(rule: Rule) -> str:
    information = rule.severity is Severity.INFO and rule.axis is not Axis.INTEROP
    requirement = rule.requirement + (" Information." if information else "")
    return f"| `{rule.id}` | {rule.axis} | {_cell(requirement)} | {_cell(rule.source)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(known_rules()), "utf-8")
