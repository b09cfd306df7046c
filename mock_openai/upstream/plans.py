"""Plans: replies specified in advance under an id, and found again through whatever forwards the prompt.

The id travels in the prompt as `[[sb:<id>]]`. A plan `abc` also serves every member mark `abc.<member>`, so one plan
is enough for a run of many streams while each keeps its own draws and its own journal entries.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mock_openai.upstream.faults.catalogue import FaultError, parse_faults
from mock_openai.upstream.faults.kind import Fault
from mock_openai.upstream.profiles import Profile, Trace, profile_from
from mock_openai.upstream.text import STYLES

MARK = re.compile(r"\[\[sb:([A-Za-z0-9_-]+)(?:\.([A-Za-z0-9_-]+))?\]\]")
PLAN_ID = re.compile(r"[A-Za-z0-9_-]+\Z")
MAX_PLANS = 10_000
MAX_TOKENS = 100_000
MAX_TEXT = 1_000_000
MAX_BYTES = 128 << 20
MAX_ATTEMPTS = 100
MAX_CALLS = 32


class PlanError(ValueError):
    """A plan that cannot be carried out; the text says why."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the reply calls; `arguments` None: made up from the tool's schema."""

    name: str
    arguments: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to reply: a text, tokens generated in a style, or tool calls; in which rhythm, with which faults.

    `attempts[k]` serves the request number k+1 of a mark; requests beyond them get the plan itself.
    """

    id: str | None
    profile: Profile
    seed: int
    tokens: int
    text: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    faults: tuple[Fault, ...] = ()
    attempts: tuple[Plan, ...] = ()
    style: str = "plain"

    @property
    def size(self) -> int:
        """Roughly how many tokens a reply has."""
        return self.tokens if self.text is None else len(self.text) // 4

    @property
    def weight(self) -> int:
        """Roughly how many bytes of memory it takes."""
        own = 1000 + 4 * len(self.text or "") + sum(4 * len(call.arguments or "") for call in self.tool_calls)
        if self.profile.trace is not None:
            own += sum(150 + 4 * len(text) for _, text in self.profile.trace.chunks)
        return own + sum(attempt.weight for attempt in self.attempts)

    def for_attempt(self, attempt: int) -> Plan:
        """The plan of the request number `attempt`, from 1."""
        return self.attempts[attempt - 1] if attempt <= len(self.attempts) else self

    def draw(self, key: str | None, attempt: int, purpose: str) -> random.Random:
        """The source of randomness of one purpose of one reply; nothing else that runs can change it."""
        return random.Random(f"{self.seed}:{key}:{attempt}:{purpose}")


@dataclass(frozen=True, slots=True)
class Order:
    """The plan that serves a request, and the rule by which it was found."""

    plan: Plan
    rule: str
    mark: str | None
    member: str | None

    @property
    def key(self) -> str | None:
        """What draws are made from, beside the seed: runs with the same members draw the same replies."""
        return self.member or self.plan.id or self.mark


class Plans:
    """The plans of a server, and which one a request means."""

    def __init__(self, default: Plan, traces: Mapping[str, Trace]) -> None:
        self.default = default
        self.traces = traces
        self._plans: dict[str, Plan] = {}
        self._weight = 0

    def __len__(self) -> int:
        return len(self._plans)

    def ids(self) -> list[str]:
        """The ids of the stored plans."""
        return list(self._plans)

    def put(self, data: Any) -> list[str]:
        """Store the plans of a JSON object or list, all or none, and return their ids. Raises PlanError."""
        items = data if isinstance(data, list) else [data]
        parsed: dict[str, Plan] = {}
        for index, item in enumerate(items):
            try:
                plan = self._parse(item)
            except (FaultError, ValueError) as error:
                raise PlanError(f"plan {index}: {error}" if isinstance(data, list) else str(error)) from None
            assert plan.id is not None
            parsed[plan.id] = plan
        replaced = self._plans.keys() & parsed.keys()
        if len(self._plans) + len(parsed) - len(replaced) > MAX_PLANS:
            raise PlanError(f"at most {MAX_PLANS:,} plans: DELETE /_mock/plans first")
        weight = self._weight + sum(plan.weight for plan in parsed.values())
        weight -= sum(self._plans[name].weight for name in replaced)
        if weight > MAX_BYTES:
            raise PlanError(f"the plans take more than {MAX_BYTES >> 20} MiB of memory: DELETE /_mock/plans first")
        self._plans |= parsed
        self._weight = weight
        return list(parsed)

    def _parse(self, data: Any) -> Plan:
        if not isinstance(data, dict):
            raise PlanError("a plan is an object with an `id`")
        plan_id = data.get("id")
        if not isinstance(plan_id, str) or not PLAN_ID.match(plan_id):
            raise PlanError("a plan's `id` is made of letters, digits, `_` and `-`")
        plan = self._changed(replace(self.default, id=plan_id), data, also=("id", "attempts"))
        attempts = data.get("attempts", [])
        if not isinstance(attempts, list) or len(attempts) > MAX_ATTEMPTS:
            raise PlanError(f"`attempts` is a list of at most {MAX_ATTEMPTS} objects")
        return replace(plan, attempts=tuple(self._changed(plan, attempt) for attempt in attempts))

    def _changed(self, plan: Plan, data: Any, *, also: tuple[str, ...] = ()) -> Plan:
        """`plan` with what an object says."""
        if not isinstance(data, dict):
            raise PlanError("an attempt is an object")
        unknown = data.keys() - {"seed", "profile", "tokens", "style", "text", "tool_calls", "faults", *also}
        if unknown:
            raise PlanError(f"unknown keys: {', '.join(sorted(map(str, unknown)))}")
        if "profile" in data:
            plan = replace(plan, profile=profile_from(data["profile"], self.traces))
        if "seed" in data:
            plan = replace(plan, seed=_integer(data, "seed", 0, 2**63))
        if "tokens" in data:
            plan = replace(plan, tokens=_integer(data, "tokens", 0, MAX_TOKENS), text=None)
        if "style" in data:
            if not isinstance(data["style"], str) or data["style"] not in STYLES:
                raise PlanError(f"`style` is one of {', '.join(STYLES)}")
            plan = replace(plan, style=data["style"], text=None)
        if "text" in data:
            if not isinstance(data["text"], str) or len(data["text"]) > MAX_TEXT:
                raise PlanError(f"`text` is a string of at most {MAX_TEXT:,} characters")
            plan = replace(plan, text=data["text"])
        if "tool_calls" in data:
            plan = replace(plan, tool_calls=_tool_calls(data["tool_calls"]))
        if "faults" in data:
            plan = replace(plan, faults=parse_faults(data["faults"]))
        return plan

    def delete(self, plan_id: str | None) -> int:
        """Forget one plan, or all of them; returns how many there were."""
        forgotten = list(self._plans) if plan_id is None else [plan_id] if plan_id in self._plans else []
        for name in forgotten:
            self._weight -= self._plans.pop(name).weight
        return len(forgotten)

    def order_for(self, prompt_texts: Sequence[str], headers: Mapping[str, str], model: str) -> Order:
        """Which plan a request means: by its mark (newest message first), header, key, model suffix, or default."""
        for text in reversed(prompt_texts):
            marks = list(MARK.finditer(text))
            if marks:
                found = marks[-1]  # the last mark of a message is the newest
                mark = found[0][5:-2]
                return Order(self._plans.get(found[1], self.default), "mark", mark, found[2])
        key = headers.get("authorization", "").removeprefix("Bearer ").strip() or headers.get("x-goog-api-key", "")
        candidates = (
            ("header", headers.get("x-mock-plan", "")),
            ("key", key.removeprefix("sk-mock-") if key.startswith("sk-mock-") else ""),
            ("model", model.rpartition(":")[2] if ":" in model else ""),
        )
        for rule, name in candidates:
            if name in self._plans:
                return Order(self._plans[name], rule, name, None)
        style = model.rpartition(":")[2]
        if ":" in model and style in STYLES:
            return Order(replace(self.default, style=style), "model", None, None)
        return Order(self.default, "default", None, None)


def _tool_calls(data: Any) -> tuple[ToolCall, ...]:
    if not isinstance(data, list) or len(data) > MAX_CALLS:
        raise PlanError(f"`tool_calls` is a list of at most {MAX_CALLS} objects")
    calls = []
    for item in data:
        if not isinstance(item, dict) or not isinstance(item.get("name"), str) or item.keys() - {"name", "arguments"}:
            raise PlanError("a tool call is an object with `name` and, optionally, `arguments`")
        arguments = item.get("arguments")
        if arguments is not None and not isinstance(arguments, str):
            arguments = json.dumps(arguments, separators=(",", ":"), ensure_ascii=False)
        calls.append(ToolCall(item["name"], arguments))
    return tuple(calls)


def _integer(data: dict[str, Any], key: str, low: int, high: int) -> int:
    value = data[key]
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise PlanError(f"`{key}` is an integer from {low} to {high}")
    return value
