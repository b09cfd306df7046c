"""One reply on its way from a provider to a user: capped, in a streaming mode, and stored however it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Protocol

from mock_openai.chat.figures import Figures
from mock_openai.chat.limits import CapReached, Caps, within_caps
from mock_openai.chat.modes import MODES
from mock_openai.chat.provider import INTERRUPTED, Delta, InOnePiece, Prompt, Provider, explain
from mock_openai.chat.sentences import cut_sentences, first_sentences
from mock_openai.chat.store import Message

log = logging.getLogger(__name__)

ToolCallsSeen = Callable[[tuple[dict[str, Any], ...]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of which system, how the answer is to come, and where it is stored.

    `conversation` is an owner and a conversation's id; None stores nothing. `message_id` is the stored reply's id;
    None makes one up. `max_sentences` ends the reply, and the upstream's, after so many sentences.
    """

    system: str
    prompt: Prompt
    mode: str
    conversation: tuple[str, str] | None = None
    message_id: str | None = None
    max_sentences: int | None = None


class ReplyFailed(Exception):
    """A reply did not come to its end; the text is for the user, the code for their program."""

    def __init__(self, message: str, code: str = "upstream_error") -> None:
        super().__init__(message)
        self.code = code


class Keep(Protocol):
    """Stores what was replied to a question, and returns it; None where nothing was stored."""

    def __call__(self, question: Question, text: str, *, interrupted: bool) -> Message | None:
        """`interrupted`: the reply was cut short."""


PIECES_A_TURN = 16  # of a reply that came at once; they take about a millisecond to write


class Reply:
    """The reply to one question. `text` is what was handed out so far, `message` what was stored at the end."""

    def __init__(
        self,
        question: Question,
        providers: Sequence[Provider],
        *,
        caps: Caps,
        figures: Figures,
        keep: Keep,
        on_tool_calls: ToolCallsSeen | None = None,
    ) -> None:
        self._question = question
        self._providers = providers
        self._caps = caps
        self._figures = figures
        self._keep = keep
        self._on_tool_calls = on_tool_calls
        self._begun = False  # whether the last provider has sent any text
        self.text = ""
        self.message: Message | None = None

    async def pieces(self) -> AsyncGenerator[str, None]:
        """The pieces for the user. Leaving early, also by cancellation, cancels the upstream request.

        Raises ReplyFailed. The reply is stored before the last piece's consumer goes on; a partial one is marked.
        """
        system, how = self._question.system, "abandoned"
        figures = self._figures.begin(system)
        try:
            async with aclosing(self._first_that_answers()) as pieces:
                written = 0
                async for piece in pieces:
                    self.text += piece
                    figures.chunk()
                    yield piece
                    written += 1
                    if written % PIECES_A_TURN == 0:
                        # Many may have come at once, and writing them need not wait: others have their turn.
                        await asyncio.sleep(0)
            how = "complete"
        except CapReached as reached:
            how = "capped"
            raise ReplyFailed(str(reached), "cap_reached") from None
        except Exception as failure:
            how = "failed"
            log.warning("the upstream failed: %s: %s", type(failure).__name__, failure)
            raise ReplyFailed(INTERRUPTED if self._begun else explain(failure)) from failure
        finally:
            self._figures.end(system, figures, how)
            self.message = self._keep(self._question, self.text, interrupted=how != "complete")

    async def whole(self) -> str:
        """The reply by requests that do not stream. Raises ReplyFailed."""
        for provider in self._providers:
            try:
                async with asyncio.timeout(self._caps.duration_s):
                    text = (await provider.complete(self._question.prompt)).text
            except Exception as failure:
                self._figures.counters["upstream_failures"] += 1
                log.warning("the upstream failed: %s: %s", type(failure).__name__, failure)
                if provider is self._providers[-1]:
                    raise ReplyFailed(explain(failure)) from failure
                continue
            limit = self._question.max_sentences
            self.text = text if limit is None else cut_sentences(text, limit)
            break
        self.message = self._keep(self._question, self.text, interrupted=False)
        return self.text

    async def _first_that_answers(self) -> AsyncGenerator[str, None]:
        """The reply of the first provider that gives one; after the first piece there is no other provider."""
        for provider in self._providers:
            self._begun = False
            try:
                async with aclosing(self._from(provider, last=provider is self._providers[-1])) as pieces:
                    async for piece in pieces:
                        yield piece
                return
            except CapReached:
                raise
            except Exception as failure:
                self._figures.counters["upstream_failures"] += 1
                if provider is self._providers[-1] or not self._may_ask_another():
                    raise
                log.warning("trying the next provider: %s: %s", type(failure).__name__, failure)

    def _may_ask_another(self) -> bool:
        """Only while the user has no text, or it would come twice."""
        return not self.text

    async def _from(self, provider: Provider, *, last: bool) -> AsyncGenerator[str, None]:
        """The pieces from one provider: chunks, within the caps, their text, as many sentences as wanted, the mode."""
        question, mode, caps = self._question, MODES[self._question.mode], self._caps
        if mode.blocking:
            # The upstream is silent until it has everything: that is no reason to give up on it.
            provider, caps = InOnePiece(provider), replace(caps, idle_s=caps.duration_s)
        async with (
            aclosing(provider.stream(question.prompt)) as chunks,
            aclosing(within_caps(chunks, caps, replaceable=not mode.blocking and not last)) as capped,
            aclosing(self._texts(capped)) as texts,
            aclosing(first_sentences(texts, question.max_sentences) if question.max_sentences else texts) as limited,
            aclosing(mode.pieces(limited)) as pieces,
        ):
            async for piece in pieces:
                yield piece

    async def _texts(self, deltas: AsyncIterator[Delta]) -> AsyncGenerator[str, None]:
        async for delta in deltas:
            if delta.tool_calls and self._on_tool_calls is not None:
                await self._on_tool_calls(delta.tool_calls)
            if delta.text:
                self._begun = True
                yield delta.text
