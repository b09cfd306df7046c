"""Plans: what a reply shall be, ordered in advance under an id, and found again through whatever forwards the prompt.

The id travels in the prompt as `[[sb:<id>]]`. A plan `abc` also serves every member mark `abc.<member>`, so one plan
is enough for a run of many streams while each keeps its own draws and its own journal entries.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mock_openai.upstream.profiles import Profile, profile_from
from mock_openai.upstream.text import generate_tokens, split_tokens

MARK = re.compile(r"\[\[sb:([A-Za-z0-9_-]+)(?:\.([A-Za-z0-9_-]+))?\]\]")
PLAN_ID = re.compile(r"[A-Za-z0-9_-]+\Z")
MAX_PLANS = 10_000
MAX_TOKENS = 100_000


class PlanError(ValueError):
    """A plan that cannot be carried out; the text says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to reply: a text or a number of generated tokens, in which rhythm."""

    id: str | None
    profile: Profile
    seed: int
    tokens: int
    text: str | None = None

    def draw(self, member: str | None, attempt: int) -> random.Random:
        """The source of randomness of one reply; nothing else that runs can change it."""
        return random.Random(f"{self.seed}:{member or self.id}:{attempt}")

    def reply_tokens(self, draw: random.Random) -> list[str]:
        return generate_tokens(self.tokens, draw) if self.text is None else split_tokens(self.text)


@dataclass(frozen=True, slots=True)
class Order:
    """The plan that serves a request, and the rule by which it was found."""

    plan: Plan
    rule: str
    mark: str | None
    member: str | None


class Plans:
    """The plans of a server, and which one a request means."""

    def __init__(self, default: Plan) -> None:
        self.default = default
        self._plans: dict[str, Plan] = {}

    def __len__(self) -> int:
        return len(self._plans)

    def ids(self) -> list[str]:
        return list(self._plans)

    def put(self, data: Any) -> str:
        """Store the plan of a JSON object and return its id. Raises PlanError."""
        if not isinstance(data, dict):
            raise PlanError("a plan is an object with an `id`")
        unknown = data.keys() - {"id", "seed", "profile", "tokens", "text"}
        if unknown:
            raise PlanError(f"unknown keys in a plan: {', '.join(sorted(unknown))}")
        plan_id = data.get("id")
        if not isinstance(plan_id, str) or not PLAN_ID.match(plan_id):
            raise PlanError("a plan's `id` is made of letters, digits, `_` and `-`")
        if plan_id not in self._plans and len(self._plans) >= MAX_PLANS:
            raise PlanError(f"there are {MAX_PLANS:,} plans already: DELETE /_mock/plans first")
        plan = replace(self.default, id=plan_id)
        try:
            if "profile" in data:
                plan = replace(plan, profile=profile_from(data["profile"]))
        except ValueError as error:
            raise PlanError(str(error)) from None
        if "seed" in data:
            plan = replace(plan, seed=_integer(data, "seed", 0, 2**63))
        if "tokens" in data:
            plan = replace(plan, tokens=_integer(data, "tokens", 0, MAX_TOKENS), text=None)
        if "text" in data:
            if not isinstance(data["text"], str):
                raise PlanError("`text` is a string")
            plan = replace(plan, text=data["text"])
        self._plans[plan_id] = plan
        return plan_id

    def delete(self, plan_id: str | None) -> int:
        """Forget one plan, or all of them; returns how many there were."""
        if plan_id is None:
            count = len(self._plans)
            self._plans.clear()
            return count
        return 1 if self._plans.pop(plan_id, None) else 0

    def order_for(self, prompt_texts: Sequence[str], headers: Mapping[str, str], model: str) -> Order:
        """Which plan a request means: by its mark (newest message first), header, key, model suffix, or default."""
        for text in reversed(prompt_texts):
            marks = list(MARK.finditer(text))
            if marks:
                found = marks[-1]  # the last mark of a message is the newest
                mark = found[0][5:-2]
                return Order(self._plans.get(found[1], self.default), "mark", mark, found[2])
        key = headers.get("authorization", "").removeprefix("Bearer ").strip()
        candidates = (
            ("header", headers.get("x-mock-plan", "")),
            ("key", key.removeprefix("sk-mock-") if key.startswith("sk-mock-") else ""),
            ("model", model.rpartition(":")[2] if ":" in model else ""),
        )
        for rule, name in candidates:
            if name in self._plans:
                return Order(self._plans[name], rule, name, None)
        return Order(self.default, "default", None, None)


def _integer(data: dict[str, Any], key: str, low: int, high: int) -> int:
    value = data[key]
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise PlanError(f"`{key}` is an integer from {low} to {high}")
    return value
