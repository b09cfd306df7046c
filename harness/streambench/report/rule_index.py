"""All rules there are, for what lists them: reports in which every rule is explained, and the reference."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

import streambench
from streambench.dialects.invariants import ENTRY_POINTS
from streambench.rules import Rule, declared_rules

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
