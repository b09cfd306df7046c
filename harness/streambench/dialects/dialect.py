"""A dialect: how one chat protocol names its events, what it puts in them, and in which order they come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from streambench.dialects.checks.check import CheckFactory
from streambench.dialects.decoding import decode_data, plain_data
from streambench.dialects.milestone import Milestone
from streambench.dialects.templates import RenderedRequest, RequestTemplate, SetupStep
from streambench.grammar import Automaton
from streambench.paths import Getter
from streambench.wire.framings import FRAMINGS
from streambench.wire.message import WireMessage

UNKNOWN = "?"

# The rule of a decoded message, or in words why it has none.
Classifier = Callable[[WireMessage, Any], "EventRule | str"]


class SchemaValidator(Protocol):
    """A compiled JSON Schema, as jsonschema-rs makes it."""

    def is_valid(self, instance: Any) -> bool:
        """Whether a decoded message satisfies the schema."""
        ...

    def validate(self, instance: Any) -> None:
        """Raises what is wrong first."""
        ...

    def iter_errors(self, instance: Any) -> Any:
        """What is wrong with a decoded message; all of it is found out before the first is told."""
        ...


class TextMode(StrEnum):
    """How the text of an event stands to what came before it."""

    DELTA = "delta"
    """It is new."""
    SNAPSHOT = "snapshot"
    """It is all the text so far."""
    WHOLE = "whole"
    """It is the whole text once more, or for the first time where no piece of it has come."""


@dataclass(slots=True, frozen=True)
class EventRule:
    """What a dialect says of one event.

    `content` reads the text it carries, as its `mode` says, of the reply or of one of several texts that `by` tells
    apart. `error` reads the text of a failure, `tokens` the number of tokens that the protocol reports. `condition` is
    its `when` in words, `of` the event that it refines. `undispatched`: it comes as an SSE block without data, which
    the specification does not dispatch and the protocol's own clients nevertheless take as an event. `schema` is
    `json_schema`, compiled.
    """

    name: str
    of: str | None = None
    condition: str | None = None
    literal: str | None = None
    content: Getter | None = None
    content_path: str | None = None
    mode: TextMode = TextMode.DELTA
    by: Getter | None = None
    error: Getter | None = None
    error_path: str | None = None
    tokens: Getter | None = None
    tokens_path: str | None = None
    schema: SchemaValidator | None = None
    json_schema: Any = None
    terminal: bool = False
    interrupts: bool = False
    anywhere: bool = False
    undispatched: bool = False

    @property
    def is_delta(self) -> bool:
        """Whether it adds a text and does nothing else, so that it may be followed by many like it."""
        adds_text = self.content is not None and self.mode is TextMode.DELTA
        return adds_text and not (self.error or self.tokens or self.terminal or self.interrupts or self.anywhere)


@dataclass(slots=True, frozen=True)
class Dialect:
    """A loaded dialect file; one instance serves any number of streams.

    `is_json`: the data of a message is JSON, and not plain text. `alike(one, other)`: whether two decoded messages that
    differ only in strings that are not empty, and in numbers, are surely the same event. `terminal` are the events
    after which a stream is complete; empty where the protocol ends by closing, and `needs_terminal` says that no stream
    is complete without one. `path` is the request's path below the target's URL, empty where the URL is the endpoint
    itself. `steps` are HTTP requests that each prompt takes before its `request`, which on a socket may then be empty.
    `variables` are those that the templates need, with their defaults; None where the target must give a value.
    `milestones` are the moments of a reply that have a name.
    """

    name: str
    version: int
    summary: str
    transport: str
    source_path: Path
    request: RequestTemplate
    steps: tuple[SetupStep, ...]
    setup: tuple[SetupStep, ...]
    variables: Mapping[str, str | None]
    events: Mapping[str, EventRule]
    literals: Mapping[str, EventRule]
    classify: Classifier
    alike: Callable[[Any, Any], bool]
    is_json: bool
    grammar: str
    automaton: Automaton
    interrupt: str | None
    interrupt_automaton: Automaton | None
    terminal: tuple[str, ...]
    needs_terminal: bool
    anywhere: frozenset[str]
    unknown_is_violation: bool
    may_be_empty: bool
    checks: tuple[CheckFactory, ...]
    milestones: tuple[Milestone, ...] = ()

    @property
    def path(self) -> str:
        """The request's path below the target's URL."""
        return self.request.path

    @property
    def has_text(self) -> bool:
        """Whether any of its events carries text."""
        return any(rule.content is not None for rule in self.events.values())

    @property
    def is_socket(self) -> bool:
        """The connection outlives a reply."""
        return FRAMINGS[self.transport].is_socket

    def render_request(self, variables: Mapping[str, str]) -> RenderedRequest:
        """The request of one prompt.

        `variables` holds the prompt and whatever setup captured. Raises ConfigurationError for a missing value.
        """
        return self.request.render(self.with_defaults(variables))

    def with_fields(self, fields: Mapping[str, Any]) -> Dialect:
        """The same dialect with fields added to the JSON of its request, or of the last step that has any.

        Raises ValueError where there is none.
        """
        try:
            return replace(self, request=self.request.with_fields(fields))
        except ValueError:
            for index in reversed(range(len(self.steps))):
                step = self.steps[index]
                if isinstance(step.request.json, dict):
                    changed = replace(step, request=step.request.with_fields(fields))
                    return replace(self, steps=(*self.steps[:index], changed, *self.steps[index + 1 :]))
            raise

    def with_defaults(self, variables: Mapping[str, str]) -> dict[str, str]:
        """The variables, and the dialect's own values for those that were not given.

        `user` is a short name that differs from one simulated user to the next; where nobody gives it, there is one.
        """
        defaults = {name: value for name, value in self.variables.items() if value is not None}
        return {"user": "1", **defaults, **variables}

    @property
    def decode(self) -> Callable[[WireMessage], tuple[Any, str | None]]:
        """The function that decodes a message's data: the value, and in words what is wrong with it, or None."""
        return decode_data if self.is_json else plain_data

    def identify(self, message: WireMessage) -> tuple[str, Any]:
        """The name of a message's event (`?` where the dialect has none) and its decoded data, outside any stream.

        It is how setup recognises the event that it waits for.
        """
        rule = self.literals.get(message.data) if self.literals else None
        if rule is not None:
            return rule.name, message.data
        data, problem = self.decode(message)
        if problem is not None:
            return UNKNOWN, message.data
        found = self.classify(message, data)
        return UNKNOWN if isinstance(found, str) else found.name, data
