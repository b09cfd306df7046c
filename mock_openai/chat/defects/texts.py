"""Texts that are damaged, held back, cut short or mixed up on the way."""

from __future__ import annotations

import asyncio
import html
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp

from mock_openai.chat.defects.defect import Defect
from mock_openai.chat.defects.replies import EVERY, Deltas, with_spoilt
from mock_openai.chat.provider import Delta, InOnePiece, OpenAIProvider, Prompt, Provider
from mock_openai.chat.reply import Question, Reply, ToolCallsSeen
from mock_openai.chat.server import ChatServer, ChatSettings

LONG_CHARS = 4096
MOST_CHARS = 2000
BATCH = 8
TYPING_S = 0.06
DELAY_S = 0.7


def each(change: Callable[[str], str]) -> type[ChatServer]:
    """A server that changes the text of every chunk."""

    async def spoil(deltas: Deltas) -> Deltas:
        async with aclosing(deltas):
            async for delta in deltas:
                yield replace(delta, text=change(delta.text))

    return with_spoilt(spoil)


async def _reordered(deltas: Deltas) -> Deltas:
    held, count = None, 0
    async with aclosing(deltas):
        async for delta in deltas:
            count += 1
            if count % EVERY == 0:
                held = delta
                continue
            yield delta
            if held is not None:
                yield held
                held = None
    if held is not None:
        yield held


async def _altered(deltas: Deltas) -> Deltas:
    count = 0
    async with aclosing(deltas):
        async for delta in deltas:
            count += 1
            yield replace(delta, text=delta.text.swapcase() + "x") if count % EVERY == 0 else delta


async def _until_done(deltas: Deltas) -> Deltas:
    async with aclosing(deltas):
        async for delta in deltas:
            if "[DONE]" in delta.text:
                return
            yield delta


async def _capped(deltas: Deltas) -> Deltas:
    count = 0
    async with aclosing(deltas):
        async for delta in deltas:
            count += len(delta.text)
            if count > MOST_CHARS:
                return
            yield delta


async def _at_the_end(deltas: Deltas) -> Deltas:
    async with aclosing(deltas):
        kept = [delta async for delta in deltas]
    for delta in kept:
        yield delta


async def _typed_out(deltas: Deltas) -> Deltas:
    async with aclosing(deltas):
        async for delta in deltas:
            yield delta
            await asyncio.sleep(TYPING_S)


async def _batched(deltas: Deltas) -> Deltas:
    kept: list[str] = []
    async with aclosing(deltas):
        async for delta in deltas:
            kept.append(delta.text)
            if len(kept) == BATCH:
                yield Delta("".join(kept))
                kept = []
    if kept:
        yield Delta("".join(kept))


async def _delayed(deltas: Deltas) -> Deltas:
    await asyncio.sleep(0)
    first = True
    async with aclosing(deltas):
        async for delta in deltas:
            if first:
                await asyncio.sleep(DELAY_S)
            first = False
            yield delta


async def _one_behind(deltas: Deltas) -> Deltas:
    held = None
    async with aclosing(deltas):
        async for delta in deltas:
            if held is not None:
                yield held
            held = delta
    if held is not None:
        yield held


async def _with_reason(deltas: Deltas) -> Deltas:
    try:
        async with aclosing(deltas):
            async for delta in deltas:
                yield delta
    except Exception as failure:
        yield Delta(f"The model failed: {failure}")
        raise


async def _complete_at_once(deltas: Deltas) -> Deltas:
    """What fails before it has begun is a reply without text."""
    begun = False
    try:
        async with aclosing(deltas):
            async for delta in deltas:
                begun = True
                yield delta
    except Exception:
        if begun:
            raise


_slots: WeakKeyDictionary[asyncio.AbstractEventLoop, list[Delta]] = WeakKeyDictionary()


async def _mixed(deltas: Deltas) -> Deltas:
    """Each chunk changes places with the one that another stream has put down."""
    slot = _slots.setdefault(asyncio.get_running_loop(), [Delta("")])
    async with aclosing(deltas):
        async for delta in deltas:
            slot[0], delta = delta, slot[0]
            yield delta


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


async def _in_turn(deltas: Deltas) -> Deltas:
    async with _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock()), aclosing(deltas):
        async for delta in deltas:
            yield delta


class Disturbed(Exception):
    """Somebody else has left."""


_open: WeakKeyDictionary[asyncio.AbstractEventLoop, set[asyncio.Event]] = WeakKeyDictionary()


async def _all_at_once(deltas: Deltas) -> Deltas:
    """Who leaves takes the others along."""
    everybody = _open.setdefault(asyncio.get_running_loop(), set())
    gone = asyncio.Event()
    everybody.add(gone)
    try:
        async with aclosing(deltas):
            async for delta in deltas:
                if gone.is_set():
                    raise Disturbed
                yield delta
    except (GeneratorExit, asyncio.CancelledError):
        for other in everybody:
            other.set()
        raise
    finally:
        everybody.discard(gone)


class DiesAfterFault(ChatServer):
    """That has no more replies once one has failed."""

    def __init__(self, settings: ChatSettings) -> None:
        super().__init__(settings)
        self._dead = False

    def reply(
        self,
        question: Question,
        *,
        providers: Sequence[Provider] | None = None,
        on_tool_calls: ToolCallsSeen | None = None,
    ) -> Reply:
        """A reply that fails where one has failed before."""
        mortal = [_Mortal(provider, self) for provider in providers or (self.openai,)]
        return super().reply(question, providers=mortal, on_tool_calls=on_tool_calls)


class _Mortal:
    def __init__(self, provider: Provider, server: DiesAfterFault) -> None:
        self._provider = provider
        self._server = server

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        """The reply, unless one has failed."""
        if self._server._dead:
            raise Disturbed
        try:
            async with aclosing(self._provider.stream(prompt)) as deltas:
                async for delta in deltas:
                    yield delta
        except Exception:
            self._server._dead = True
            raise

    async def complete(self, prompt: Prompt) -> Delta:
        """The whole reply."""
        return await self._provider.complete(prompt)

    async def close(self) -> None:
        """Nothing: the provider is closed by who owns it."""


class Naive(OpenAIProvider):
    """Reads the upstream's stream by hand, and wrongly."""

    def __init__(self, base_url: str, api_key: str, model: str, how: str) -> None:
        super().__init__(base_url, api_key, model)
        self._url, self._key, self._how = f"{base_url}/chat/completions", api_key, how

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        """The reply, as far as it is understood."""
        body = {**self._arguments(prompt), "stream": True}
        headers = {"authorization": f"Bearer {self._key}"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(self._url, json=body, headers=headers) as response,
        ):
            response.raise_for_status()
            async for text in self._read(response.content):
                yield Delta(text)

    async def _read(self, content: aiohttp.StreamReader) -> AsyncGenerator[str, None]:
        if self._how == "frames":
            async for piece in content.iter_any():
                for frame in piece.decode("utf-8", "replace").split("\n\n"):
                    yield _text_of(frame.removeprefix("data: "))
            return
        buffer = ""
        pieces = content.iter_any() if self._how == "characters" else content
        async for piece in pieces:
            buffer += piece.decode("utf-8", "replace")
            *lines, buffer = buffer.split("\n")
            for line in lines:
                if self._how == "comments" and line.startswith(":"):
                    yield line
                elif line.startswith("data: "):
                    yield _text_of(line.removeprefix("data: "))


def _text_of(data: str) -> str:
    try:
        chunk: Any = json.loads(data)
    except ValueError:
        return ""
    choices = chunk.get("choices") or [{}]
    return (choices[0].get("delta") or {}).get("content") or ""


def naive(how: str) -> type[ChatServer]:
    """A server whose provider reads the upstream's stream wrongly."""

    class NaiveServer(ChatServer):
        """The server."""

        def __init__(self, settings: ChatSettings) -> None:
            super().__init__(settings)
            self.openai = Naive(f"{settings.upstream.rstrip('/')}/v1", settings.api_key, settings.model, how)

    return NaiveServer


class AsksUnstreamed(ChatServer):
    """That asks for whole replies."""

    def reply(
        self,
        question: Question,
        *,
        providers: Sequence[Provider] | None = None,
        on_tool_calls: ToolCallsSeen | None = None,
    ) -> Reply:
        """A reply in one piece."""
        return super().reply(question, providers=[InOnePiece(self.openai)], on_tool_calls=on_tool_calls)


DEFECTS = [
    Defect("reorders-text", "every tenth chunk is swapped with the next", with_spoilt(_reordered)),
    Defect("alters-text", "every tenth chunk is changed", with_spoilt(_altered)),
    Defect("strips-chunks", "white space around chunks is lost", each(str.strip)),
    Defect("escapes-html", "texts are HTML-escaped", each(html.escape)),
    Defect("cuts-long-chunks", "chunks are truncated to 4,096 characters", each(lambda text: text[:LONG_CHARS])),
    Defect("stops-at-done", "[DONE] in the text ends the reply", with_spoilt(_until_done)),
    Defect("caps-text", "replies end after 2,000 characters as if they were complete", with_spoilt(_capped)),
    Defect("splits-utf8", "the upstream's bytes are decoded read by read", naive("characters")),
    Defect("needs-whole-frames", "each read from the upstream is parsed as complete events", naive("frames")),
    Defect("comments-as-text", "comments in the upstream's stream are treated as text", naive("comments")),
    Defect("buffers-reply", "nothing is sent before the reply is complete", with_spoilt(_at_the_end)),
    Defect("asks-unstreamed", "the upstream is asked for complete replies, without streaming", AsksUnstreamed),
    Defect("paces-reply", "text is typed out, with a pause of 60 ms after each chunk", with_spoilt(_typed_out)),
    Defect("batches-reply", "chunks are sent in batches of eight", with_spoilt(_batched)),
    Defect("delays-first", "the first chunk is delayed by 700 ms", with_spoilt(_delayed)),
    Defect("holds-last-chunk", "each chunk waits for the next one", with_spoilt(_one_behind)),
    Defect("leaks-upstream-error", "the upstream's error message is shown", with_spoilt(_with_reason)),
    Defect(
        "hides-refusals",
        "a reply that fails at once is presented as complete, without text",
        with_spoilt(_complete_at_once),
    ),
    Defect("mixes-replies", "chunks of different streams are swapped", with_spoilt(_mixed)),
    Defect("one-at-a-time", "streams wait for each other", with_spoilt(_in_turn)),
    Defect("cancels-everybody", "a client that disconnects ends all streams", with_spoilt(_all_at_once)),
    Defect("dies-after-fault", "after one failure, every reply fails", DiesAfterFault),
]
