"""The second upstream: Gemini, called through the official google-genai SDK."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mock_openai.chat.provider import TEMPERATURE, Delta, Prompt, UpstreamCut

if TYPE_CHECKING:
    from google.genai import Client

DEFAULT_MODEL = "gemini-2.5-flash"


class GeminiProvider:
    """`generate_content_stream` and `generate_content`."""

    def __init__(self, base_url: str, api_key: str, model: str = DEFAULT_MODEL) -> None:
        self._base_url = base_url
        self._api_key = api_key
        self._model = model
        self._client: Client | None = None

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        """The reply as it comes. Raises what the SDK raises, and UpstreamCut where the stream ends unfinished."""
        client = await self._connect()
        finished = False
        chunks: Any = await client.aio.models.generate_content_stream(**self._arguments(prompt))
        try:
            async for chunk in chunks:
                if chunk.text:
                    yield Delta(chunk.text)
                finished = finished or bool(chunk.candidates and chunk.candidates[0].finish_reason)
        finally:
            await chunks.aclose()
        if not finished:
            raise UpstreamCut

    async def complete(self, prompt: Prompt) -> Delta:
        """The whole reply, by a request that does not stream. Raises what the SDK raises."""
        client = await self._connect()
        return Delta((await client.aio.models.generate_content(**self._arguments(prompt))).text or "")

    async def close(self) -> None:
        """Close the connections, where there are any."""
        if self._client is not None:
            await self._client.aio.aclose()

    async def _connect(self) -> Client:
        """The client. The SDK is large and needed in emergencies only: it is loaded then, off the event loop."""
        genai = await asyncio.to_thread(import_module, "google.genai")
        if self._client is None:
            # One attempt: left to itself the SDK sleeps up to 10 s before it tries again to connect.
            options = {"base_url": self._base_url, "retry_options": {"attempts": 1}}
            self._client = genai.Client(api_key=self._api_key, http_options=options)
        return self._client

    def _arguments(self, prompt: Prompt) -> dict[str, Any]:
        """Gemini's form of a prompt: system texts apart, and the assistant is called the model."""
        system = [item["content"] for item in prompt.messages if item["role"] == "system"]
        return {
            "model": self._model,
            "contents": [
                {"role": "model" if item["role"] == "assistant" else "user", "parts": [{"text": item["content"]}]}
                for item in prompt.messages
                if item["role"] != "system"
            ],
            "config": {
                "temperature": TEMPERATURE,
                "max_output_tokens": prompt.max_tokens,
                **({"system_instruction": "\n\n".join(system)} if system else {}),
            },
        }
