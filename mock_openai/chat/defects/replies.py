"""Replies that go on, end or start over wrongly, or whose text is damaged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from mock_openai.chat.defects.defect import Defect
from mock_openai.chat.limits import Caps
from mock_openai.chat.provider import Delta, Prompt, Provider
from mock_openai.chat.reply import Question, Reply, ToolCallsSeen
from mock_openai.chat.server import ChatServer, ChatSettings

EVERY = 10
FOREVER_S = 10 * 365 * 86400.0

Deltas = AsyncGenerator[Delta, None]


class SpoiltProvider:
    """A provider whose streams pass through `spoil`."""

    def __init__(self, provider: Provider, spoil: Callable[[Deltas], Deltas]) -> None:
        self._provider = provider
        self._spoil = spoil

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        """The reply, spoilt."""
        async with aclosing(self._spoil(self._provider.stream(prompt))) as deltas:
            async for delta in deltas:
                yield delta

    async def complete(self, prompt: Prompt) -> Delta:
        """The whole reply, unspoilt."""
        return await self._provider.complete(prompt)

    async def close(self) -> None:
        """Close the provider behind."""
        await self._provider.close()


def with_spoilt(spoil: Callable[[Deltas], Deltas]) -> type[ChatServer]:
    """A server whose providers' streams pass through `spoil`."""

    class Spoilt(ChatServer):
        """The server."""

        def reply(
            self,
            question: Question,
            *,
            providers: Sequence[Provider] | None = None,
            on_tool_calls: ToolCallsSeen | None = None,
        ) -> Reply:
            """A reply from spoilt providers."""
            spoilt = [SpoiltProvider(provider, spoil) for provider in providers or (self.openai,)]
            return super().reply(question, providers=spoilt, on_tool_calls=on_tool_calls)

    return Spoilt


async def _unstoppable(deltas: Deltas) -> Deltas:
    """The same, but leaving early does not stop where they come from."""
    queue: asyncio.Queue[Delta | Exception | None] = asyncio.Queue()

    async def pump() -> None:
        try:
            async for delta in deltas:
                queue.put_nowait(delta)
            queue.put_nowait(None)
        except Exception as failure:
            queue.put_nowait(failure)

    task = asyncio.create_task(pump())
    _pumping.add(task)
    task.add_done_callback(_pumping.discard)
    while (item := await queue.get()) is not None:
        if isinstance(item, Exception):
            raise item
        yield item


_pumping: set[asyncio.Task[None]] = set()  # the event loop alone would not keep them


async def _cut_in_silence(deltas: Deltas) -> Deltas:
    """What fails after it has begun just ends."""
    begun = False
    try:
        async with aclosing(deltas):
            async for delta in deltas:
                begun = True
                yield delta
    except Exception:
        if not begun:
            raise


async def _with_losses(deltas: Deltas) -> Deltas:
    count = 0
    async with aclosing(deltas):
        async for delta in deltas:
            count += 1
            if count % EVERY:
                yield delta


async def _with_repeats(deltas: Deltas) -> Deltas:
    count = 0
    async with aclosing(deltas):
        async for delta in deltas:
            count += 1
            yield delta
            if count % EVERY == 0:
                yield delta


async def _in_ascii(deltas: Deltas) -> Deltas:
    async with aclosing(deltas):
        async for delta in deltas:
            yield replace(delta, text=delta.text.encode("ascii", "replace").decode())


class NoCaps(ChatServer):
    """That waits for ever."""

    def __init__(self, settings: ChatSettings) -> None:
        super().__init__(replace(settings, caps=Caps(FOREVER_S, 1 << 60, FOREVER_S)))


class DoubleTextOnFallback(ChatServer):
    """Whose replies start over."""

    def __init__(self, settings: ChatSettings) -> None:
        super().__init__(settings)
        self.reply_type = RepeatingReply


class RepeatingReply(Reply):
    """A reply that starts over with the next provider, whatever the user has already."""

    def _may_ask_another(self) -> bool:
        return True


DEFECTS = [
    Defect("no-cancel", "the request to the model continues after the client disconnects", with_spoilt(_unstoppable)),
    Defect("no-caps", "stalled streams never time out", NoCaps),
    Defect("double-text-on-fallback", "the next provider starts over after text was sent", DoubleTextOnFallback),
    Defect("silent-truncation", "a reply that was cut short ends as if it were complete", with_spoilt(_cut_in_silence)),
    Defect("loses-text", "every tenth chunk is lost", with_spoilt(_with_losses)),
    Defect("doubles-text", "every tenth chunk is sent twice", with_spoilt(_with_repeats)),
    Defect("garbles-unicode", "characters beyond ASCII become question marks", with_spoilt(_in_ascii)),
]
