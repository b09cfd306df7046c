"""The key `milestones` of a dialect file, and of a target.

milestones:
  first_document: search_documents            # the first event of that name
  plan: {event: plan_start, from: sent}       # measured from the request, and not from the intended start
  second_document: {event: search_documents, from: first_document}
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from streambench.dialects.dialect import EventRule, TextMode
from streambench.dialects.milestone import INTENDED, MAX_MILESTONES, MOMENTS, NAME, RESERVED, Milestone
from streambench.located import Located

KEYS = ("event", "from", "text")


def read_milestones(
    node: Located, events: Mapping[str, EventRule], known: Sequence[Milestone] = ()
) -> tuple[Milestone, ...]:
    """The milestones of a file, behind those that are `known` already and not named anew.

    Raises a located ConfigurationError for an event that does not exist, and for one that is measured from itself.
    """
    named = node.mapping("'milestones'")
    found = {milestone.name: milestone for milestone in known}
    for name, item in named.items():
        if re.fullmatch(NAME, name) is None or name in RESERVED:
            raise node.key_error(
                name,
                f"{name!r} cannot be the name of a milestone: use up to 64 letters, digits and _, and none of "
                f"{', '.join(RESERVED)}",
            )
        found[name] = _read(name, item, events)
    if len(found) > MAX_MILESTONES:
        raise node.error(f"there are {len(found)} milestones, and {MAX_MILESTONES} are the most")
    for name, item in named.items():
        _check_origin(found, name, item)
    return tuple(found.values())


def _read(name: str, node: Located, events: Mapping[str, EventRule]) -> Milestone:
    if not isinstance(node.value, dict):
        meant, text = _events(node, events)
        return Milestone(name, meant, needs_text=text)
    keys = node.mapping(f"milestone {name!r}", KEYS)
    if "event" not in keys:
        raise node.error(f"milestone {name!r} needs 'event', the name of an event or a list of names")
    meant, text = _events(keys["event"], events)
    if "text" in keys:
        if not isinstance(keys["text"].value, bool):
            raise keys["text"].error("'text' takes true or false")
        text = keys["text"].value
    since = keys["from"].string("'from'") if "from" in keys else INTENDED
    return Milestone(name, meant, since, needs_text=text)


def _events(node: Located, events: Mapping[str, EventRule]) -> tuple[tuple[str, ...], bool]:
    """The events meant, those that refine a named one included, and whether only their text is looked for."""
    items = node.value if isinstance(node.value, list) else [node]
    if not items:
        raise node.error("the list is empty: name an event")
    names: list[str] = []
    for item in items:
        name = item.string("an event of a milestone")
        if name not in events:
            raise item.error(f"there is no event {name!r}.", text=name, valid=events)
        names.append(name)
    refining = [other for other, rule in events.items() if rule.of in names and not rule.anywhere]
    return tuple(dict.fromkeys((*names, *refining))), all(_only_adds_text(events[name]) for name in names)


def _only_adds_text(rule: EventRule) -> bool:
    """Whether an event says nothing beside its text, so that it has not come as long as it brings none."""
    says_more = rule.error or rule.tokens or rule.terminal or rule.interrupts
    return rule.content is not None and rule.mode is not TextMode.WHOLE and not says_more


def _check_origin(found: Mapping[str, Milestone], name: str, node: Located) -> None:
    """What a milestone is measured from exists, and is not measured from it in turn."""
    since, passed = found[name].since, {name}
    while since not in MOMENTS:
        if since not in found or since in passed:
            place = node.value["from"] if isinstance(node.value, dict) and "from" in node.value else node
            if since in passed:
                raise place.error(f"milestone {name!r} is measured from itself")
            raise place.error(
                f"there is no milestone {since!r} to measure from; it may also be {' or '.join(MOMENTS)}.",
                text=since,
                valid=(*MOMENTS, *(other for other in found if other != name)),
            )
        passed.add(since)
        since = found[since].since
