"""What a message is about, by its words: enough to steer a prompt and to suggest next questions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

MAX_ENTITIES = 20

_INTENTS: dict[str, frozenset[str]] = {
    "greeting": frozenset({"hello", "hey", "hi", "morning", "evening"}),
    "recommendation": frozenset({"best", "find", "recommend", "restaurant", "restaurants", "suggest", "which"}),
    "booking": frozenset({"book", "order", "reservation", "reserve", "table", "ticket", "tickets"}),
    "explanation": frozenset({"describe", "difference", "does", "explain", "how", "mean", "what", "why"}),
}
_SUGGESTIONS: dict[str, tuple[str, ...]] = {
    "greeting": ("What can you do?", "Help me plan something"),
    "recommendation": ("Show me more like this", "Which one is the cheapest?", "Book the first one"),
    "booking": ("Change the time", "Cancel the booking"),
    "explanation": ("Give me an example", "Explain it more simply"),
    "other": ("Tell me more", "Start over"),
}
_WORD = re.compile(r"[a-z]+")
# Words with a capital letter inside a sentence: names, as a rule.
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]+(?: [A-Z][a-z]+)*")


@dataclass(frozen=True, slots=True)
class Context:
    """What is known of a conversation: what it is about now, the names that came up, and how many turns it has."""

    intent: str = "other"
    entities: tuple[str, ...] = ()
    turns: int = 0

    def after(self, message: str) -> Context:
        """The context once `message` was said. A message that says nothing new keeps the intent."""
        intent = intent_of(message)
        entities = tuple(dict.fromkeys((*self.entities, *_NAME.findall(message))))[-MAX_ENTITIES:]
        return Context(self.intent if intent == "other" else intent, entities, self.turns + 1)

    def to_json(self) -> dict[str, Any]:
        """As the `context` event and the store have it."""
        return {"intent": self.intent, "entities": list(self.entities), "turns": self.turns}

    def instructions(self) -> str:
        """The context as a part of the system prompt."""
        about = f" It is about: {', '.join(self.entities)}." if self.entities else ""
        return f"The user's intent is: {self.intent}.{about}"

    def suggestions(self) -> list[str]:
        """Questions that the user may want to ask next."""
        return list(_SUGGESTIONS[self.intent])


def intent_of(message: str) -> str:
    """The intent with the most of its words in the message; `other` without any."""
    words = set(_WORD.findall(message.lower()))
    best = max(_INTENTS, key=lambda name: len(words & _INTENTS[name]))
    return best if words & _INTENTS[best] else "other"
