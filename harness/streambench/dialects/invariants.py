"""Checks across the events of a stream, named and composable: what a grammar cannot express.

A dialect lists them under `invariants`, in one of two forms:

    - content.concat == ai_response.data.accumulated      # the content so far equals this field of this event
    - timestamp.nondecreasing                             # PATH.CHECK, or EVENT.PATH.CHECK for one event only
    - {check: closed, start: text-start, end: text-end, by: id}

A check is a small object with the state of one stream. Kinds of checks have names; others are added with
`register_check`, or found as entry points of the group `streambench.checks`. Those that are shipped are in `checks`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from streambench.dialects.checks import SHIPPED
from streambench.dialects.checks.check import CheckFactory, CheckKind, Parameters
from streambench.located import Located

ENTRY_POINTS = "streambench.checks"

_registered: dict[str, CheckKind] = {}


def check_kinds() -> dict[str, CheckKind]:
    """All kinds of checks by name: the shipped ones and those that were registered."""
    return {**SHIPPED, **_registered}


def register_check(name: str, kind: CheckKind) -> None:
    """Make a kind of check known to dialect files as `check: name`.

    `kind` is called once per dialect with its parameters and returns what makes the check of each stream.
    """
    _registered[name] = kind


def read_invariants(node: Located, variants: Mapping[str, frozenset[str]]) -> tuple[CheckFactory, ...]:
    """The checks of a dialect's `invariants`. Raises a located ConfigurationError."""
    return tuple(_read_invariant(item, variants) for item in node.sequence("invariants"))


def _read_invariant(item: Located, variants: Mapping[str, frozenset[str]]) -> CheckFactory:
    values = _from_text(item, variants) if isinstance(item.value, str) else item.mapping("an invariant")
    if "check" not in values:
        raise item.error("an invariant needs 'check', the name of its kind", valid=check_kinds())
    kind_node = values["check"]
    name = kind_node.string("'check'")
    kind = _find_kind(name)
    if kind is None:
        raise kind_node.error(f"there is no check {name!r}.", text=name, valid=check_kinds())
    parameters = Parameters(item, values, variants)
    factory = kind(parameters)
    parameters.finish()
    return factory


def _find_kind(name: str) -> CheckKind | None:
    kind = check_kinds().get(name)
    if kind is None:
        from importlib.metadata import entry_points

        for entry in entry_points(group=ENTRY_POINTS, name=name):
            register_check(name, entry.load())
        kind = _registered.get(name)
    return kind


def _from_text(item: Located, variants: Mapping[str, frozenset[str]]) -> dict[str, Located]:
    """`content.concat == EVENT.PATH` and `[EVENT.]PATH.CHECK` as parameters."""
    text = item.string("an invariant").strip()

    def part(value: str) -> Located:
        return Located(value, item.path, item.line, item.column)

    left, equals, right = (piece.strip() for piece in text.partition("=="))
    if equals:
        if left != "content.concat":
            raise item.error(
                f"{left!r} cannot be compared: write content.concat == EVENT.PATH",
                text=left,
                valid=("content.concat",),
            )
        event, path = _split_event(right, variants)
        if event is None or not path:
            first = right.split(".")[0]
            raise item.error(
                f"{right!r} must begin with the name of an event, then the path of its field.",
                text=first,
                valid=variants,
            )
        return {"check": part("concat"), "event": part(event), "path": part(path)}
    target, _, name = text.rpartition(".")
    if not target:
        raise item.error(f"{text!r} is not an invariant: write PATH.CHECK", text=name, valid=check_kinds())
    event, path = _split_event(target, variants)
    values = {"check": part(name), "path": part(path)}
    if event is not None:
        values["event"] = part(event)
    return values


def _split_event(text: str, names: Iterable[str]) -> tuple[str | None, str]:
    """Event and path of `EVENT.PATH`; the longest event name that fits, for names have dots as well."""
    for name in sorted(names, key=len, reverse=True):
        if text.startswith(f"{name}."):
            return name, text[len(name) + 1 :]
    return None, text
