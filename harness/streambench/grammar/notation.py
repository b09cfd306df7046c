"""The notation of event grammars, parsed.

    grammar   = interleaved { "|" interleaved }
    interleaved = sequence { "&" sequence }
    sequence  = { item }
    item      = atom [ "*" | "+" | "?" ]
    atom      = NAME | "~" NAME | "(" grammar ")" | "each" "(" PATH ")" "{" grammar "}"

`~name` accepts the event and reports it as information.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from streambench.grammar.expression import Algebra, Expression
from streambench.paths import parse_path

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:[-.:/][A-Za-z0-9_]+)*")
_TOKEN = re.compile(
    rf"(?P<space>\s+|\#[^\n]*)|each\s*\((?P<each>[^()]*)\)|(?P<name>{_NAME.pattern})|(?P<sign>[|&*+?()~{{}}])"
)
_MAX_DEPTH = 50


class GrammarError(ValueError):
    """A grammar that cannot be used. `position` counts the text's characters from 0."""

    def __init__(self, reason: str, position: int, text: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.position = position
        self.text = text


@dataclass(slots=True, frozen=True)
class NameUse:
    """Where a grammar speaks of an event."""

    name: str
    position: int


@dataclass(slots=True, frozen=True)
class ParsedGrammar:
    """A grammar as an expression. `slices[i]` is what slice i of the expression stands for."""

    expression: Expression
    slices: tuple[ParsedSlice, ...]
    uses: tuple[NameUse, ...]  # of this level; the slices have their own

    def all_uses(self) -> tuple[NameUse, ...]:
        """The uses of this level and of all slices within it, in the order of the text."""
        uses = [*self.uses, *(use for part in self.slices for use in part.inner.all_uses())]
        return tuple(sorted(uses, key=lambda use: use.position))


@dataclass(slots=True, frozen=True)
class ParsedSlice:
    """`each(path){inner}`."""

    path: str
    symbol: str
    position: int
    inner: ParsedGrammar


def is_event_name(text: str) -> bool:
    """Whether the notation can speak of an event of this name."""
    return _NAME.fullmatch(text) is not None and text != "each"


def parse_grammar(text: str, algebra: Algebra) -> ParsedGrammar:
    """Parse the notation. Raises GrammarError with the position of the first mistake."""
    return _Parser(text, algebra).parse()


@dataclass(slots=True)
class _Level:
    """What is gathered of one grammar, the whole or the inside of a slice."""

    slices: list[ParsedSlice] = field(default_factory=list)
    uses: list[NameUse] = field(default_factory=list)


class _Parser:
    """Recursive descent over tokens `(kind, text, position)`; the last token is ("end", "", length)."""

    def __init__(self, text: str, algebra: Algebra) -> None:
        self._text = text
        self._algebra = algebra
        self._tokens = _tokens(text)
        self._at = 0
        self._depth = 0
        self._levels = [_Level()]

    def parse(self) -> ParsedGrammar:
        if self._tokens[0][0] == "end":
            raise GrammarError("the grammar is empty: it would accept no stream", 0)
        expression = self._alternatives()
        _, text, position = self._tokens[self._at]
        if text:
            raise GrammarError(f"{text!r} does not belong here", position, text)
        return self._close_level(expression)

    def _close_level(self, expression: Expression) -> ParsedGrammar:
        level = self._levels.pop()
        outside = {use.name for use in level.uses}
        for i, part in enumerate(level.slices):
            for use in part.inner.all_uses():
                if use.name in outside:
                    raise GrammarError(
                        f"{use.name!r} is used inside each({part.path}){{…}} and outside of it: an event must belong "
                        "to one place, so split it in two with `of` and `when`",
                        use.position,
                        use.name,
                    )
            outside |= {use.name for use in level.slices[i].inner.all_uses()}
        return ParsedGrammar(expression, tuple(level.slices), tuple(level.uses))

    def _peek(self) -> str:
        return self._tokens[self._at][1]

    def _take(self) -> tuple[str, str, int]:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _expect(self, sign: str, why: str) -> int:
        _, text, position = self._take()
        if text != sign:
            raise GrammarError(f"{sign!r} is missing {why}", position, text or None)
        return position

    def _alternatives(self) -> Expression:
        options = [self._interleaved()]
        while self._peek() == "|":
            self._take()
            options.append(self._interleaved())
        return self._algebra.alternatives(options) if len(options) > 1 else options[0]

    def _interleaved(self) -> Expression:
        parts = [self._sequence()]
        while self._peek() == "&":
            self._take()
            parts.append(self._sequence())
        return self._algebra.interleaving(parts) if len(parts) > 1 else parts[0]

    def _sequence(self) -> Expression:
        items: list[Expression] = []
        while self._tokens[self._at][0] != "end" and self._peek() not in ("|", "&", ")", "}"):
            items.append(self._item())
        if not items:
            _, text, position = self._tokens[self._at]
            before = repr(text) if text else "the end"
            raise GrammarError(f"an event is missing before {before}", position, text or None)
        expression = items.pop()
        while items:
            expression = self._algebra.sequence(items.pop(), expression)
        return expression

    def _item(self) -> Expression:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise GrammarError(f"brackets are nested deeper than {_MAX_DEPTH}", self._tokens[self._at][2])
        is_slice = self._tokens[self._at][0] == "each"
        atom = self._slice() if is_slice else self._atom()
        while (sign := self._peek()) and sign in "*+?":
            self._take()
            if is_slice:
                # The slice repeats by itself; a sign only says whether there must be one.
                if sign == "+":
                    part = self._levels[-1].slices[-1]
                    atom = self._algebra.slice(len(self._levels[-1].slices) - 1, part.symbol, required=True)
            elif sign == "*":
                atom = self._algebra.repetition(atom)
            elif sign == "+":
                atom = self._algebra.sequence(atom, self._algebra.repetition(atom))
            else:
                atom = self._algebra.alternatives((atom, self._algebra.empty))
        self._depth -= 1
        return atom

    def _atom(self) -> Expression:
        kind, text, position = self._take()
        if kind == "name":
            return self._name(text, position, strict=True)
        if text == "~":
            kind, text, position = self._take()
            if kind != "name":
                raise GrammarError("`~` belongs before the name of an event", position, text or None)
            return self._name(text, position, strict=False)
        if text == "(":
            inner = self._alternatives()
            self._expect(")", "to close the bracket")
            return inner
        if text and text in "*+?":
            raise GrammarError(f"{text!r} needs an event before it", position, text)
        raise GrammarError(f"{text!r} does not belong here" if text else "the grammar breaks off", position, text)

    def _name(self, name: str, position: int, *, strict: bool) -> Expression:
        self._levels[-1].uses.append(NameUse(name, position))
        return self._algebra.name(name, strict=strict)

    def _slice(self) -> Expression:
        _, path, position = self._take()
        try:
            parse_path(path)
        except ValueError as error:
            raise GrammarError(f"each(…) needs the path of a field: {error}", position, path) from None
        self._expect("{", "after each(…): write each(path){…}")
        self._levels.append(_Level())
        expression = self._alternatives()
        self._expect("}", "to close each(…){…}")
        inner = self._close_level(expression)
        level = self._levels[-1]
        symbol = f"each({path}){{{len(level.slices)}}}"  # no event can have this name
        level.slices.append(ParsedSlice(path, symbol, position, inner))
        return self._algebra.slice(len(level.slices) - 1, symbol)


def _tokens(text: str) -> list[tuple[str, str, int]]:
    """Tokens as (kind, text, position); the text of an `each` is its path."""
    tokens: list[tuple[str, str, int]] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise GrammarError(f"{text[position]!r} means nothing in a grammar", position, text[position])
        kind = match.lastgroup
        assert kind is not None
        if kind != "space":
            tokens.append((kind, match[kind].strip(), position))
        position = match.end()
    tokens.append(("end", "", len(text)))
    return tokens
