"""All rules: for lists such as the reference, and for rules that users name by id."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

import streambench
from streambench.dialects.invariants import ENTRY_POINTS
from streambench.rules import Rule, declared_rules, id_pattern

# The packages in which something can find a rule broken; those that are not there are passed over.
PACKAGES = ("wire", "grammar", "dialects", "record", "transport", "drivers", "analysis")


@cache
def known_rules() -> tuple[Rule, ...]:
    """Every rule of streambench and of the checks that are plugged in, in the order of their ids.

    Rules are declared beside the code that finds them broken, so all of that code is imported.
    """
    for package in pkgutil.iter_modules(streambench.__path__, "streambench."):
        if package.name.rpartition(".")[2] in PACKAGES:
            module = import_module(package.name)
            for inner in pkgutil.walk_packages(module.__path__, f"{package.name}."):
                import_module(inner.name)
    for plugged in entry_points(group=ENTRY_POINTS):
        plugged.load()
    return tuple(sorted(declared_rules(), key=lambda rule: rule.id))


def check_rule(rule_id: str) -> str | None:
    """None where there is such a rule, or a family with such a member; else what is wrong with the name."""
    if any(rule.covers(rule_id) for rule in known_rules()):
        return None
    return f"there is no rule {rule_id!r}; `docs/reference/rules.md` lists them."


def rule_pattern() -> str:
    """The names that `check_rule` knows, as a regular expression without anchors."""
    return f"({'|'.join(id_pattern(rule.id) for rule in known_rules())})"


def rule_names() -> list[str]:
    """The ids of all rules and families."""
    return [rule.id for rule in known_rules()]
