"""What is replied: the text or the tool calls of each choice, before any protocol gives it a form."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mock_openai.upstream.params import Ask
from mock_openai.upstream.plans import Plan
from mock_openai.upstream.schemas import example
from mock_openai.upstream.text import STYLES, Tokens, accented, generate_tokens, split_tokens

MAX_REPLY_TOKENS = 200_000
"""Of all choices together; what a real model has room for is about as much."""

_JSON_PIECES = re.compile(r"\W*\w+|\W+")


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call; the concatenation of `pieces` is its arguments as JSON."""

    id: str
    name: str
    pieces: list[str]

    @property
    def arguments(self) -> str:
        """The arguments as JSON."""
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the replies of a request: text tokens, or tool calls. `finish`: stop, length or tool_calls."""

    pieces: Tokens
    finish: str
    calls: tuple[Call, ...] = ()

    @property
    def text(self) -> str:
        """The text of the choice; empty for tool calls."""
        return self.pieces.text

    @property
    def tokens(self) -> int:
        """How many tokens it has, of text or of arguments."""
        return len(self.pieces) + sum(len(call.pieces) for call in self.calls)


@dataclass(frozen=True, slots=True)
class Reply:
    """All choices of one request; a token of each is due at the same moment."""

    choices: tuple[Choice, ...]

    @property
    def text(self) -> str:
        """The text of the first choice, which is the one that the journal follows."""
        return self.choices[0].text

    @property
    def tokens(self) -> int:
        """How many tokens all choices have together, as `usage` tells."""
        return sum(choice.tokens for choice in self.choices)

    @property
    def longest(self) -> int:
        """How many tokens the longest choice has: that long the reply takes."""
        return max(choice.tokens for choice in self.choices)

    @property
    def weight(self) -> int:
        """Roughly how many bytes of memory the texts take."""
        return sum(choice.pieces.weight for choice in self.choices)


def compose(plan: Plan, ask: Ask, draw: random.Random, *, wide: bool) -> Reply:
    """The reply that `plan` gives to `ask`. `wide`: generated text has characters of several bytes."""
    return Reply(tuple(_choice(plan, ask, draw, wide=wide) for _ in range(ask.n)))


def _choice(plan: Plan, ask: Ask, draw: random.Random, *, wide: bool) -> Choice:
    calls = _calls(plan, ask, draw)
    if calls:
        return Choice(Tokens([]), "tool_calls", calls)
    tokens = _tokens(plan, ask, draw, wide=wide)
    tokens, finish = _stopped(tokens, ask.stop), "stop"
    limit = MAX_REPLY_TOKENS // ask.n
    limit = limit if ask.limit is None else min(limit, ask.limit)
    if len(tokens) > limit:
        tokens, finish = tokens[:limit], "length"
    return Choice(Tokens(tokens), finish)


def _tokens(plan: Plan, ask: Ask, draw: random.Random, *, wide: bool) -> list[str]:
    if plan.text is not None:
        return split_tokens(plan.text)
    if plan.profile.trace is not None:
        return [text for _, text in plan.profile.trace.chunks]
    if ask.schema is not None:
        return _json_pieces(example(ask.schema, draw) if ask.schema else {"reply": _sentence(draw)})
    tokens = STYLES[plan.style](plan.tokens, draw)
    return accented(tokens) if wide else tokens


def _sentence(draw: random.Random) -> str:
    return "".join(generate_tokens(8, draw))


def _json_pieces(value: Any) -> list[str]:
    return _JSON_PIECES.findall(json.dumps(value, ensure_ascii=False))


def _stopped(tokens: list[str], stop: Sequence[str]) -> list[str]:
    """The tokens up to the first stop sequence, which itself is not part of the reply."""
    if not stop:
        return tokens
    text = "".join(tokens)
    end = min((position for position in (text.find(item) for item in stop) if position >= 0), default=None)
    if end is None:
        return tokens
    kept: list[str] = []
    for token in tokens:
        kept.append(token[:end])
        end -= len(kept[-1])
        if end == 0:
            break
    return [token for token in kept if token]


def _calls(plan: Plan, ask: Ask, draw: random.Random) -> tuple[Call, ...]:
    schemas: Mapping[str, Mapping[str, Any]] = {tool.name: tool.schema for tool in ask.tools}
    wanted = [(call.name, call.arguments) for call in plan.tool_calls] if ask.tools else []
    if not wanted and ask.call is not None:
        wanted = [(ask.call, None)]
    calls = []
    for name, arguments in wanted:
        if arguments is None:
            arguments = json.dumps(example(schemas.get(name, {}), draw), ensure_ascii=False)
        calls.append(Call(f"call_{draw.getrandbits(96):024x}", name, _JSON_PIECES.findall(arguments)))
    return tuple(calls)
