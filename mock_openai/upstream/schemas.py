"""Values that satisfy a JSON schema: the arguments of a tool call, and replies in a wanted format."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from mock_openai.upstream.text import generate_tokens

MAX_DEPTH = 12


def example(schema: Mapping[str, Any], draw: random.Random) -> Any:
    """A value of the schema: every property is filled in; what the schema leaves open is a generated word."""
    return _value(schema, schema, draw, 0)


def _value(schema: Any, root: Mapping[str, Any], draw: random.Random, depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        return None
    schema = _resolved(schema, root)
    if "const" in schema:
        return schema["const"]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return draw.choice(schema["enum"])
    for name in ("anyOf", "oneOf", "allOf"):
        options = schema.get(name)
        if isinstance(options, list) and options:
            return _value(options[0], root, draw, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = next((item for item in kind if item != "null"), "null")
    # Gemini writes the same types in capitals.
    match str(kind).lower():
        case "object":
            properties = schema.get("properties")
            if not isinstance(properties, Mapping):
                return {}
            return {str(name): _value(part, root, draw, depth + 1) for name, part in properties.items()}
        case "array":
            count = schema.get("minItems", 2)
            count = count if isinstance(count, int) and 0 <= count <= 20 else 2
            return [_value(schema.get("items", {}), root, draw, depth + 1) for _ in range(count)]
        case "integer":
            low = schema.get("minimum", 0)
            return int(low if isinstance(low, int | float) else 0) + draw.randrange(10)
        case "number":
            low = schema.get("minimum", 0)
            return (low if isinstance(low, int | float) else 0) + draw.randrange(100) / 10
        case "boolean":
            return draw.random() < 0.5
        case "null":
            return None
    return "".join(generate_tokens(draw.randint(1, 3), draw)).rstrip(".")


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema that a local `$ref` points to; a reference that leads nowhere is any value."""
    for _ in range(MAX_DEPTH):
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        target: Any = root
        for part in reference.removeprefix("#").strip("/").split("/"):
            target = target.get(part) if isinstance(target, Mapping) and part else target
        if not isinstance(target, Mapping):
            return {}
        schema = target
    return {}
