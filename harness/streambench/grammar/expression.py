"""The algebra of event grammars: regular expressions over event names, with interleaving and slices.

Every expression is interned by an `Algebra`, so equal expressions are one object and compare by identity. The smart
constructors keep a normal form (alternatives are flat, sorted and without doubles; nothing is concatenated to the
empty word), which is what makes the number of different derivatives finite (Brzozowski 1964; Owens, Reppy, Turon 2009).

A slice expression `each(path){...}` stands in the outer grammar for any number of events of its inner grammar. The
inner grammar runs once per value of the path, beside the outer automaton (see `checker`). A slice that has been
entered is a different expression (`entered`) from one that has not, so that a state tells which slices are open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(slots=True, frozen=True, eq=False)
class Expression:
    """One of the subclasses below. `order` is the interning order and serves for sorting."""

    order: int
    nullable: bool  # it accepts the empty word
    first: frozenset[str]  # the names that a word of it can begin with
    slices: frozenset[int]  # indexes of the entered slices in it


@dataclass(slots=True, frozen=True, eq=False)
class Nothing(Expression):
    """The empty language."""


@dataclass(slots=True, frozen=True, eq=False)
class Empty(Expression):
    """The empty word."""


@dataclass(slots=True, frozen=True, eq=False)
class Name(Expression):
    """One event. One that is not strict is accepted and reported as information."""

    name: str
    strict: bool


@dataclass(slots=True, frozen=True, eq=False)
class Sequence(Expression):
    """The events of `head`, then those of `tail`."""

    head: Expression
    tail: Expression


@dataclass(slots=True, frozen=True, eq=False)
class Alternatives(Expression):
    """The events of one of the options."""

    options: tuple[Expression, ...]


@dataclass(slots=True, frozen=True, eq=False)
class Repetition(Expression):
    """The events of the body any number of times."""

    body: Expression


@dataclass(slots=True, frozen=True, eq=False)
class Interleaving(Expression):
    """The events of all parts, in any mixture that keeps the order within each part."""

    parts: tuple[Expression, ...]


@dataclass(slots=True, frozen=True, eq=False)
class Slice(Expression):
    """Any number of events of slice `index`, which the outer automaton sees as the one name `symbol`."""

    index: int
    symbol: str
    entered: bool


class Algebra:
    """Makes expressions, and takes their derivatives."""

    def __init__(self) -> None:
        self._interned: dict[tuple[object, ...], Expression] = {}
        self._derivatives: dict[tuple[Expression, str, bool], Expression] = {}
        nobody: frozenset[str] = frozenset()
        self.nothing: Expression = self._intern(("nothing",), lambda n: Nothing(n, False, nobody, frozenset()))
        self.empty: Expression = self._intern(("empty",), lambda n: Empty(n, True, nobody, frozenset()))

    def _intern(self, key: tuple[object, ...], make: Callable[[int], Expression]) -> Expression:
        found = self._interned.get(key)
        if found is None:
            found = self._interned[key] = make(len(self._interned))
        return found

    def name(self, name: str, *, strict: bool = True) -> Expression:
        """One event."""
        return self._intern(
            ("name", name, strict), lambda n: Name(n, False, frozenset((name,)), frozenset(), name, strict)
        )

    def slice(self, index: int, symbol: str, *, required: bool = False, entered: bool = False) -> Expression:
        """Events of slice `index`; at least one where it is `required` and none was `entered` yet."""
        return self._intern(
            ("slice", index, symbol, required, entered),
            lambda n: Slice(
                n,
                entered or not required,
                frozenset((symbol,)),
                frozenset((index,)) if entered else frozenset(),
                index,
                symbol,
                entered,
            ),
        )

    def sequence(self, head: Expression, tail: Expression) -> Expression:
        """One expression after the other, nested to the right, without what is empty."""
        if head is self.nothing or tail is self.nothing:
            return self.nothing
        if head is self.empty:
            return tail
        if tail is self.empty:
            return head
        if isinstance(head, Sequence):
            return self.sequence(head.head, self.sequence(head.tail, tail))
        first = head.first | tail.first if head.nullable else head.first
        return self._intern(
            ("sequence", head, tail),
            lambda n: Sequence(n, head.nullable and tail.nullable, first, head.slices | tail.slices, head, tail),
        )

    def alternatives(self, options: Iterable[Expression]) -> Expression:
        """One of several expressions, each of them once, in a fixed order."""
        flat: set[Expression] = set()
        for option in options:
            if isinstance(option, Alternatives):
                flat.update(option.options)
            elif option is not self.nothing:
                flat.add(option)
        if not flat:
            return self.nothing
        if len(flat) == 1:
            return flat.pop()
        if self.empty in flat and any(option.nullable and option is not self.empty for option in flat):
            flat.discard(self.empty)
            return self.alternatives(flat)
        ordered = tuple(sorted(flat, key=_order))
        return self._intern(
            ("alternatives", *ordered),
            lambda n: Alternatives(
                n,
                any(option.nullable for option in ordered),
                frozenset().union(*(option.first for option in ordered)),
                frozenset().union(*(option.slices for option in ordered)),
                ordered,
            ),
        )

    def repetition(self, body: Expression) -> Expression:
        """An expression any number of times."""
        if body is self.nothing or body is self.empty:
            return self.empty
        if isinstance(body, Repetition):
            return body
        return self._intern(("repetition", body), lambda n: Repetition(n, True, body.first, body.slices, body))

    def interleaving(self, parts: Iterable[Expression]) -> Expression:
        """Several expressions in any mixture."""
        flat: list[Expression] = []
        for part in parts:
            if part is self.nothing:
                return self.nothing
            if isinstance(part, Interleaving):
                flat.extend(part.parts)
            elif part is not self.empty:
                flat.append(part)
        if not flat:
            return self.empty
        if len(flat) == 1:
            return flat[0]
        ordered = tuple(sorted(flat, key=_order))
        return self._intern(
            ("interleaving", *ordered),
            lambda n: Interleaving(
                n,
                all(part.nullable for part in ordered),
                frozenset().union(*(part.first for part in ordered)),
                frozenset().union(*(part.slices for part in ordered)),
                ordered,
            ),
        )

    def derivative(self, expression: Expression, name: str, *, strict_only: bool = False) -> Expression:
        """What may still follow in `expression` after an event `name`.

        With `strict_only`, names that are not strict do not count.
        """
        if name not in expression.first:
            return self.nothing
        key = (expression, name, strict_only)
        found = self._derivatives.get(key)
        if found is None:
            found = self._derivatives[key] = self._derive(expression, name, strict_only)
        return found

    def _derive(self, expression: Expression, name: str, strict_only: bool) -> Expression:
        match expression:
            case Name(strict=strict):
                return self.empty if strict or not strict_only else self.nothing
            case Slice(index=index, symbol=symbol):
                return self.slice(index, symbol, entered=True)
            case Sequence(head=head, tail=tail):
                after_head = self.sequence(self.derivative(head, name, strict_only=strict_only), tail)
                if not head.nullable:
                    return after_head
                return self.alternatives((after_head, self.derivative(tail, name, strict_only=strict_only)))
            case Alternatives(options=options):
                return self.alternatives(self.derivative(option, name, strict_only=strict_only) for option in options)
            case Repetition(body=body):
                return self.sequence(self.derivative(body, name, strict_only=strict_only), expression)
            case Interleaving(parts=parts):
                return self.alternatives(
                    self.interleaving(
                        (*parts[:i], self.derivative(part, name, strict_only=strict_only), *parts[i + 1 :])
                    )
                    for i, part in enumerate(parts)
                )
        return self.nothing


def _order(expression: Expression) -> int:
    return expression.order
