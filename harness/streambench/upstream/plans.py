"""Plans for the fake upstream: what it replies to the prompts of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from streambench.errors import ConfigurationError, TargetUnreachable

_NOT_OURS = (404, 405)  # what another server says to a route of the fake upstream


@dataclass(frozen=True, slots=True)
class Plan:
    """One plan; every prompt that carries `mark_of` a number is answered by it.

    `tokens` and `profile` None: the upstream's own default.
    """

    id: str
    seed: int = 0
    tokens: int | None = None
    profile: Any = None
    faults: Sequence[Any] = ()

    def mark_of(self, number: int) -> str:
        """The mark of one stream: it names the plan, and the stream's own entries in the journal."""
        return f"{self.id}.{number}"

    def to_json(self) -> dict[str, Any]:
        """The plan as the admin API takes it (`POST /_mock/plans`)."""
        out: dict[str, Any] = {"id": self.id, "seed": self.seed}
        if self.tokens is not None:
            out["tokens"] = self.tokens
        if self.profile is not None:
            out["profile"] = self.profile
        if self.faults:
            out["faults"] = list(self.faults)
        return out


def marked(prompt: str, mark: str) -> str:
    """The prompt with a mark that any backend forwards, since it is part of what the user says."""
    return f"{prompt} [[sb:{mark}]]"


async def post_plans(client: Any, base_url: str, plans: Sequence[Plan]) -> None:
    """Store the plans (`client`: an httpx.AsyncClient).

    Raises TargetUnreachable where there is no upstream, and ConfigurationError where it refuses a plan.
    """
    import httpx

    try:
        response = await client.post(f"{base_url}/_mock/plans", json=[plan.to_json() for plan in plans])
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise TargetUnreachable(
            f"the fake upstream at {base_url} does not answer ({reason}): start it with `streambench mock`, or correct "
            "the address"
        ) from error
    if response.status_code == 201:
        return
    try:
        message = response.json()["error"]
        message = message["message"] if isinstance(message, dict) else message
    except (ValueError, KeyError, TypeError):
        message = f"it answered {response.status_code}; is it streambench's own upstream (streambench mock)?"
    if response.status_code in _NOT_OURS:
        raise ConfigurationError(
            f"{base_url} is not the fake upstream (it answered {response.status_code}): `streambench mock` prints that "
            "address as `fake upstream`"
        )
    raise ConfigurationError(f"the fake upstream at {base_url} refused the plan: {message}")


async def delete_plans(client: Any, base_url: str, plans: Sequence[Plan]) -> None:
    """Take the plans back; an upstream that is gone keeps none."""
    import httpx

    for plan in plans:
        try:
            await client.delete(f"{base_url}/_mock/plans", params={"id": plan.id})
        except httpx.HTTPError:
            return
