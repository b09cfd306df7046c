"""The JSON Schema of the scenario file, made from the declarations of its keys, for editors.

The loader says the same with more exact errors.
"""

from __future__ import annotations

from typing import Any

from streambench.dialects.requests import STEP_KEYS
from streambench.load.kinds import Duration
from streambench.load.phases import phase_schema
from streambench.load.scenario import SECTION
from streambench.load.targets import SECTION as TARGET_SECTION


def scenario_schema() -> dict[str, Any]:
    """The schema, draft 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "streambench scenario",
        **SECTION.schema(),
        "$defs": {"target": TARGET_SECTION.schema(), "phase": phase_schema(), "setup_step": _setup_step()},
    }


def _setup_step() -> dict[str, Any]:
    text, texts = {"type": "string"}, {"type": "object", "additionalProperties": {"type": "string"}}
    known = {
        "method": text,
        "path": text,
        "headers": texts,
        "body": text,
        "emit": {"type": "array", "minItems": 1, "prefixItems": [text]},
        "await": text,
        "if": text,
        "within": Duration().schema(),
        "capture": texts,
    }
    on_sockets = {"not": {"anyOf": [{"required": [key]} for key in ("send", "emit", "await", "if")]}}
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {key: known.get(key, {}) for key in STEP_KEYS},
        "anyOf": [{"required": [key]} for key in ("path", "send", "emit", "await")],
        "not": {"required": ["json", "body"]},
        "dependentRequired": {"if": ["await", "within"], "within": ["if"]},
        "if": {"required": ["path"]},
        "then": on_sockets,
    }
