"""The upstream, called through the official OpenAI SDK."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from openai import AsyncOpenAI

TEMPERATURE = 0.7
MAX_TOKENS = 2000
DEFAULT_MODEL = "gpt-4o-mini"
VALIDATION_S = 10.0
INTERRUPTED = "The model's reply was interrupted."
# Models that reason before they answer: their service refuses `max_tokens`, and every temperature but its own.
_REASONS = re.compile(r"(ft:)?(o\d|gpt-5(?!.*chat))")


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the upstream is asked. `model` None: the provider's own default."""

    messages: tuple[dict[str, str], ...]
    model: str | None = None
    max_tokens: int = MAX_TOKENS
    tools: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """One chunk of a reply: some text, or parts of tool calls in the upstream's own form."""

    text: str = ""
    tool_calls: tuple[dict[str, Any], ...] = ()


class UpstreamCut(Exception):
    """A reply ended with no finish reason: what came is not all of it."""


class Provider(Protocol):
    """One way to get a reply."""

    def stream(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        """The reply as it comes. Leaving the iterator early cancels the upstream request."""
        ...

    async def complete(self, prompt: Prompt) -> Delta:
        """The whole reply, by a request that does not stream."""
        ...

    async def close(self) -> None:
        """Close the connections."""


class OpenAIProvider:
    """Chat completions; the connection pool is shared by all streams."""

    def __init__(self, base_url: str, api_key: str, model: str = DEFAULT_MODEL) -> None:
        from openai import AsyncOpenAI

        self._client: AsyncOpenAI = AsyncOpenAI(base_url=base_url, api_key=api_key, max_retries=1)
        self._model = model

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        """`chat.completions.create(stream=True)`, but with chunks as they are in JSON.

        Making the SDK's typed objects of them would be half of this server's work.
        """
        from openai import AsyncStream

        finished = False
        async with await self._client.post(
            "/chat/completions",
            body={**self._arguments(prompt), "stream": True},
            cast_to=object,
            stream=True,
            stream_cls=AsyncStream[Any],
        ) as chunks:
            async for chunk in chunks:
                if not chunk.get("choices"):
                    continue
                choice = chunk["choices"][0]
                delta = choice.get("delta") or {}
                if delta.get("content"):
                    yield Delta(delta["content"])
                if delta.get("tool_calls"):
                    yield Delta(tool_calls=tuple(delta["tool_calls"]))
                finished = finished or choice.get("finish_reason") is not None
        if not finished:
            raise UpstreamCut

    async def complete(self, prompt: Prompt) -> Delta:
        """The whole reply, by a request that does not stream. Raises what the SDK raises."""
        completion = await self._client.chat.completions.create(**self._arguments(prompt))
        if completion.choices[0].finish_reason is None:
            raise UpstreamCut
        message = completion.choices[0].message
        calls = enumerate(message.tool_calls or ())
        return Delta(message.content or "", tuple({"index": index, **call.model_dump()} for index, call in calls))

    async def validate(self) -> None:
        """Ask for one token, so that a wrong URL or key shows at the start. Raises what the SDK raises."""
        question = Prompt(({"role": "user", "content": "ping"},), max_tokens=1)
        client = self._client.with_options(timeout=VALIDATION_S, max_retries=0)
        await client.chat.completions.create(**self._arguments(question))

    def _arguments(self, prompt: Prompt) -> dict[str, Any]:
        model = prompt.model or self._model
        arguments: dict[str, Any] = {"model": model, "messages": list(prompt.messages)}
        if _REASONS.match(model):
            arguments["max_completion_tokens"] = prompt.max_tokens
        else:
            arguments |= {"temperature": TEMPERATURE, "max_tokens": prompt.max_tokens}
        return {**arguments, "tools": list(prompt.tools)} if prompt.tools else arguments

    async def close(self) -> None:
        """Close the connection pool."""
        await self._client.close()


class InOnePiece:
    """A provider's whole reply in the shape of a stream: the last resort where no stream can be had."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        """The whole reply as one chunk."""
        yield await self._provider.complete(prompt)

    async def complete(self, prompt: Prompt) -> Delta:
        """The whole reply."""
        return await self._provider.complete(prompt)

    async def close(self) -> None:
        """Nothing: the provider is closed by who owns it."""


def explain(error: Exception) -> str:
    """What a user is told when the upstream failed; internals stay in the log."""
    import openai

    status = getattr(error, "status_code", getattr(error, "code", None))  # OpenAI's and Gemini's name for it
    if status == 429:
        return "The model is busy. Please try again in a moment."
    if isinstance(status, int):
        return f"The model answered with an error ({status})."
    if isinstance(error, TimeoutError):
        return "The model took too long."
    if isinstance(error, openai.APIConnectionError | OSError):
        return "The model could not be reached."
    return INTERRUPTED
