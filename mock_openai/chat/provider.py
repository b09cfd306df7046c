"""The upstream, called through the official SDK."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openai import AsyncOpenAI

TEMPERATURE = 0.7
MAX_TOKENS = 2000
DEFAULT_MODEL = "gpt-4o-mini"


class OpenAIProvider:
    """Chat completions of one upstream; the connection pool is shared by all streams."""

    def __init__(self, base_url: str, api_key: str) -> None:
        from openai import AsyncOpenAI

        self._client: AsyncOpenAI = AsyncOpenAI(base_url=base_url, api_key=api_key, max_retries=1)

    async def stream(self, messages: Sequence[dict[str, str]], model: str) -> AsyncGenerator[str, None]:
        """The pieces of text of a reply, as they come; leaving the iterator early cancels the upstream request."""
        arguments: dict[str, Any] = {
            "model": model,
            "messages": list(messages),
            "stream": True,
            "temperature": TEMPERATURE,
            "max_tokens": MAX_TOKENS,
        }
        async with await self._client.chat.completions.create(**arguments) as chunks:
            async for chunk in chunks:
                if chunk.choices and chunk.choices[0].delta.content:
                    yield chunk.choices[0].delta.content

    async def close(self) -> None:
        await self._client.close()


def explain(error: Exception) -> str:
    """What a user is told when the upstream failed; internals stay in the log."""
    import openai

    if isinstance(error, openai.RateLimitError):
        return "The model is busy. Please try again in a moment."
    if isinstance(error, openai.APIConnectionError):
        return "The model could not be reached."
    if isinstance(error, openai.APIStatusError):
        return f"The model answered with an error ({error.status_code})."
    return "The model's reply was interrupted."
