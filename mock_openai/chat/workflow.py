"""Workflows: the ordered steps that a thread goes through, one answered message a step."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from mock_openai.chat.limits import text_problem
from mock_openai.chat.provider import MAX_TOKENS

CHAT_SENTENCES = 2  # a chat step keeps a conversation going, so it is brief
MAX_STEPS = 20


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `kind` is `chat` (at most two sentences) or `answer` (as long as its tokens last)."""

    name: str
    kind: str = "answer"
    max_tokens: int = MAX_TOKENS
    guidelines: str = ""

    @property
    def max_sentences(self) -> int | None:
        """How long a reply to it may be; None: as long as its tokens last."""
        return CHAT_SENTENCES if self.kind == "chat" else None

    def to_json(self) -> dict[str, Any]:
        """As the store and the routes have it."""
        return asdict(self)


# What a thread does when its creator asks for nothing else: answer, without end.
OPEN: tuple[Step, ...] = ()

WORKFLOWS: dict[str, tuple[Step, ...]] = {
    "open": OPEN,
    "intake": (
        Step("greeting", "chat", 150, "Greet the user and ask what this is about."),
        Step("details", "chat", 150, "Ask for the one detail that matters most."),
        Step("summary", "answer", 400, "Sum up what the user wants, and say what happens next."),
    ),
}


def parse_steps(value: Any) -> tuple[Step, ...] | str:
    """The steps of a user's own workflow, or what is wrong with them."""
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_STEPS:
        return f"`steps` must be a list of 1 to {MAX_STEPS} steps."
    steps = []
    for item in value:
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            return "Every step must be an object with a `name`."
        kind, max_tokens = item.get("kind", "answer"), item.get("max_tokens", MAX_TOKENS)
        problem = text_problem(item, "name", "guidelines")
        if problem is not None:
            return problem
        if kind not in ("chat", "answer"):
            return "`kind` of a step is chat or answer."
        if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or not 1 <= max_tokens <= MAX_TOKENS:
            return f"`max_tokens` of a step must be an integer from 1 to {MAX_TOKENS}."
        steps.append(Step(item["name"], kind, max_tokens, item.get("guidelines") or ""))
    return tuple(steps)
