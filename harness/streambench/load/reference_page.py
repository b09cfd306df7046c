"""The tables of `docs/reference/scenario.md`, made from the keys' declarations."""

from __future__ import annotations

import re

from streambench.load.bounds import SECTION as LIMITS
from streambench.load.commands import SECTION as COMMAND
from streambench.load.executors import PHASE_TYPES
from streambench.load.fields import Section
from streambench.load.phases import SECTION as LOAD
from streambench.load.prompts import SECTION as PROMPTS
from streambench.load.scenario import SECTION as SCENARIO
from streambench.load.scenario import TIMEOUTS_SECTION as TIMEOUTS
from streambench.load.serve import SECTION as SERVE
from streambench.load.targets import SECTION as TARGET

# By the name in the page's marks.
TABLES: dict[str, Section] = {
    "scenario": SCENARIO,
    "serve": SERVE,
    "command": COMMAND,
    "target": TARGET,
    "prompts": PROMPTS,
    "load": LOAD,
    **{kind.key: kind.section for kind in PHASE_TYPES},
    "timeouts": TIMEOUTS,
    "limits": LIMITS,
}

_MARKED = re.compile(r"(<!-- keys of (\w+), made from their declarations -->\n).*?(\n<!-- end of keys -->)", re.DOTALL)


def rewritten(page: str) -> str:
    """The page with every marked table made anew. Raises KeyError for a mark of a table that does not exist."""
    return _MARKED.sub(lambda match: f"{match[1]}\n{TABLES[match[2]].table()}\n{match[3]}", page)


def tables_in(page: str) -> list[str]:
    """The names of the tables that a page shows."""
    return [match[2] for match in _MARKED.finditer(page)]
