"""A latency profile of the fake upstream, as a scenario names it."""

from __future__ import annotations

from typing import Any

from streambench.load.kinds import Schema
from streambench.load.values import Values
from streambench.located import Located

PROFILES = ("instant", "fixed", "openai-fast", "openai-slow", "azure-filtered", "contended", "slots", "trace")
"""What the fake upstream knows; its parameters are checked by the upstream itself, when a run orders replies."""


class LatencyProfile:
    """A name, or an object with a name and that profile's parameters."""

    def read(self, node: Located, values: Values, what: str) -> Any:
        """The profile without places, its name checked. Raises ConfigurationError."""
        if not isinstance(node.value, dict):
            return node.choice(what, PROFILES)
        if "name" not in node.value:
            raise node.error(f"{what} needs a name: {{name: fixed, ttft_ms: 200}}")
        node.value["name"].choice(f"the name of {what}", PROFILES)
        return node.plain()

    def schema(self) -> Schema:
        """A known name, or an object that has one."""
        name = {"enum": list(PROFILES)}
        return {"anyOf": [name, {"type": "object", "required": ["name"], "properties": {"name": name}}]}

    def show(self, value: Any) -> str:
        """Never shown: the default is the upstream's."""
        return ""
