"""A milestone: a moment of a reply that matters to a product, and how it is detected event by event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

INTENDED, SENT = "intended", "sent"
MAX_MILESTONES = 32
# From what a milestone may be measured beside other milestones, in words.
ORIGINS = {INTENDED: "the intended start", SENT: "the request's last byte"}
MOMENTS = tuple(ORIGINS)
RESERVED = (*MOMENTS, "first_text")  # a moment of `leave`
NAME = r"[A-Za-z][A-Za-z0-9_]{0,63}"


@dataclass(frozen=True, slots=True)
class Milestone:
    """A named moment: the first of `events` that comes, after milestone `since` where it is measured from one.

    `since`: what it is measured from; `intended` and `sent` are moments of the stream. `needs_text`: an event without
    text does not count.
    """

    name: str
    events: tuple[str, ...]
    since: str = INTENDED
    needs_text: bool = False

    def to_json(self) -> dict[str, Any]:
        """What the header of a run says of it."""
        return {"events": list(self.events), "from": self.since, "text": self.needs_text}

    @classmethod
    def from_json(cls, name: str, data: Mapping[str, Any]) -> Milestone:
        """Read back what `to_json` wrote."""
        return cls(name, tuple(data["events"]), data["from"], data["text"])


class Watch:
    """Which milestones a stream has reached. It is told of its `events` in order, of which others may be left out;
    `reached` has the index of the event for each.
    """

    __slots__ = ("_waiting", "events", "reached")

    def __init__(self, milestones: Iterable[Milestone]) -> None:
        self.reached: dict[str, int] = {}
        self._waiting = list(milestones)
        self.events = frozenset(name for milestone in self._waiting for name in milestone.events)

    @property
    def done(self) -> bool:
        """All have been reached."""
        return not self._waiting

    def take(self, index: int, name: str, *, has_text: bool) -> None:
        """Event `index` of the stream."""
        for milestone in self._waiting:
            if name in milestone.events and (has_text or not milestone.needs_text):
                since = milestone.since
                if since in MOMENTS or self.reached.get(since, index) < index:
                    self.reached[milestone.name] = index
        self._waiting = [milestone for milestone in self._waiting if milestone.name not in self.reached]
