"""The JSON Schema of the scenario file, for editors.

The loader says the same with more exact errors.
"""

from __future__ import annotations

from typing import Any

from streambench.dialects import bundled_dialects
from streambench.load.loading import CHAT_KEYS, OPENAI_KEYS, TOP_KEYS
from streambench.load.targets import TARGET_KEYS
from streambench.load.workload import ARRIVALS, PHASE_KEYS

_TEXT = {"type": "string"}
_FLAG = {"type": "boolean"}
_DURATION = {"type": ["string", "integer"], "pattern": r"^\s*\d+(\.\d+)?\s*(ns|us|µs|ms|s|m|min|h)?\s*$|^\$\{"}
_RATE = {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*/\s*(s|min|m|h)\s*$|^\$\{"}
_TEXTS = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}


def scenario_schema() -> dict[str, Any]:
    """The schema, draft 2020-12."""
    top = _object(
        TOP_KEYS,
        version=_described({"const": 1}, "version of this file format"),
        name=_described({"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]*$"}, "name, and folder of its runs"),
        serve=_described(
            _object(
                ("openai", "chat"),
                openai=_described(
                    _nullable(
                        _object(
                            OPENAI_KEYS,
                            profile=_described({"type": ["string", "object"]}, "latency profile: a name or an object"),
                            seed=_count("seed of texts and latencies"),
                            tokens=_count("length of a reply"),
                        )
                    ),
                    "the fake upstream",
                ),
                chat=_described(
                    _nullable(
                        _object(
                            CHAT_KEYS,
                            streaming=_described(
                                {"enum": ["real", "paced", "rapid", "sentence"]}, "how it hands replies on"
                            ),
                            db=_described(_TEXT, "its SQLite file, or :memory:"),
                            users=_described(_TEXTS, "more users: name and token"),
                            rate_limit=_described(_RATE, "requests of one user"),
                        )
                    ),
                    "the reference chat server",
                ),
            ),
            "bundled servers to start on free loopback ports",
        ),
        target=_described({"$ref": "#/$defs/target"}, "the one system under test"),
        targets=_described(
            {"type": "object", "minProperties": 1, "additionalProperties": {"$ref": "#/$defs/target"}},
            "systems under test by name; each gets the whole load",
        ),
        prompts=_described(
            _object(
                ("text", "file", "tokens", "profile", "faults"),
                text=_described({"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]}, "what users say"),
                file=_described(_TEXT, "JSON Lines or CSV with `text` and `tokens`"),
                tokens=_count("length of the fake upstream's reply"),
                profile=_described({"type": ["string", "object"]}, "latency profile of the fake upstream"),
                faults=_described({"type": "array"}, "what the fake upstream gets wrong on purpose"),
            ),
            "what simulated users say",
        ),
        load=_described(
            {
                "anyOf": [
                    _object(
                        ("warmup", "phases"),
                        warmup=_described(_DURATION, "recorded but not judged"),
                        phases={"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/phase"}},
                    ),
                    _phase(warmup=_described(_DURATION, "recorded but not judged")),
                ]
            },
            "one phase, or several in turn",
        ),
        timeouts=_described(
            _object(
                ("connect", "first_chunk", "idle", "total"),
                connect=_described(_DURATION, "for a connection"),
                first_chunk=_described(_DURATION, "for the first content"),
                idle=_described(_DURATION, "between two reads"),
                total=_described(_DURATION, "for a whole stream"),
            ),
            "how long to wait",
        ),
        gates=_described({"type": "array", "items": _TEXT}, "what must hold, such as `ttfc.p95 < 800ms`"),
        seed=_count("seed of arrivals, texts and latencies"),
        stall_after=_described(_DURATION, "a longer gap is a stall"),
        reading_wpm=_described({"type": "number", "minimum": 1, "maximum": 10000}, "reading speed, words a minute"),
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "streambench scenario",
        **top,
        "oneOf": [{"required": ["target"]}, {"required": ["targets"]}],
        "$defs": {"target": _target(), "phase": _phase()},
    }


def _target() -> dict[str, Any]:
    return {
        **_object(
            TARGET_KEYS,
            dialect=_described(
                {"anyOf": [{"enum": list(bundled_dialects())}, {"type": "string", "pattern": r"\.ya?ml$|/"}]},
                "the protocol: a bundled dialect, or a file",
            ),
            url=_described(_TEXT, "the endpoint; ${NAME} is read from the environment"),
            headers=_described(_TEXTS, "request headers"),
            query=_described(_TEXTS, "query parameters"),
            auth=_described(
                _object(("bearer", "cookie"), bearer=_TEXT, cookie=_TEXT), "credentials; never written out"
            ),
            variables=_described(_TEXTS, "values for the dialect's placeholders"),
            setup=_described(
                {"type": "array", "items": {"type": "object"}}, "done once a user before the first prompt"
            ),
            upstream=_described({"type": ["string", "null"]}, "the fake upstream's base URL, or none"),
            tls=_described(_object(("verify",), verify={"type": ["boolean", "string"]}), "certificate verification"),
            http=_described({"enum": [1, 2]}, "HTTP version"),
            proxy=_described(_TEXT, "URL of an HTTP proxy"),
            stamps=_described({"enum": ["auto", "kernel", "user"]}, "who stamps arrivals"),
        ),
        "required": ["dialect", "url"],
    }


def _phase(**more: dict[str, Any]) -> dict[str, Any]:
    return _object(
        (*PHASE_KEYS, *more),
        **more,
        users=_described({"type": ["integer", "string"]}, "closed model: users who take turns"),
        rate=_described(
            {"anyOf": [_RATE, {**_object(("from", "to"), **{"from": _RATE, "to": _RATE}), "required": ["from", "to"]}]},
            "open model: streams started a second, or a ramp",
        ),
        arrivals=_described({"enum": list(ARRIVALS)}, "the arrival process"),
        cv=_described({"type": "number"}, "coefficient of variation of gamma arrivals"),
        trace=_described(_TEXT, "CSV file of arrival times in seconds"),
        duration=_described(_DURATION, "the phase ends after it"),
        streams=_described({"type": ["integer", "string"]}, "the phase ends after so many streams"),
        think=_described(_DURATION, "a user's pause between streams"),
        max_active=_count("arrivals beyond so many open streams are dropped"),
    )


def _object(keys: tuple[str, ...], **properties: dict[str, Any]) -> dict[str, Any]:
    assert set(keys) == set(properties), set(keys) ^ set(properties)
    return {"type": "object", "additionalProperties": False, "properties": {key: properties[key] for key in keys}}


def _described(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {**schema, "description": description}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "type": ["object", "null"]}


def _count(description: str) -> dict[str, Any]:
    return _described({"type": ["integer", "string"], "minimum": 0}, description)
