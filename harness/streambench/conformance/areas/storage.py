"""What is stored: every question and reply, once, as it was shown."""

from __future__ import annotations

import asyncio

from streambench.conformance.case import Keyword, Need, case
from streambench.conformance.client import unique_word
from streambench.conformance.judging import check, describe, streamed
from streambench.conformance.trial import CUT, Trial

MUST, SHOULD, MAY = Keyword
KEPT = (Need.STORED,)
BOTH = (Need.STORED, Need.TWO_SIDED)
STORE = "the definition of a stored conversation: what was asked and shown"
CUT_SHORT = {"tokens": 20, "faults": [{"fault": CUT, "at": {"chunk": 10}}]}
KEPT_WITHIN_S = 3.0


@case(
    "store.question",
    MUST,
    "The question is stored.",
    source=STORE,
    remedy="Store the message before you call the model.",
    defect="forgets-questions",
    needs=KEPT,
)
async def question(trial: Trial) -> None:
    """Ask a question in a conversation, then read the conversation.

    It contains the question, with the user's role.
    """
    conversation, word = await trial.conversations.new(), unique_word()
    await trial.ask(f"Remember {word}.", conversation=conversation)
    messages = await trial.conversations.messages(conversation)
    found = [message for message in messages if word in str(message["content"]) and message["role"] == "user"]
    check(len(found) == 1, "the question is not stored once", expected="1", got=f"{len(found)} of {len(messages)}")


@case(
    "store.reply",
    MUST,
    "The reply is stored as it was shown.",
    source=STORE,
    remedy="Store the text that was sent, when the reply ends.",
    defect="forgets-replies",
    needs=KEPT,
)
async def a_reply(trial: Trial) -> None:
    """Ask a question in a conversation, then read the conversation.

    It contains one reply, with exactly the text that arrived.
    """
    conversation = await trial.conversations.new()
    reply = await trial.ask(conversation=conversation)
    streamed(reply)
    stored = await trial.conversations.replies(conversation)
    check(stored == [reply.text], "a different reply is stored", expected=repr(reply.text), got=str(stored))


@case(
    "store.before-end",
    SHOULD,
    "The reply is stored by the time the client sees that it is complete.",
    source=STORE,
    remedy="Store the reply before you send the terminal event: otherwise a page reloaded at once would miss it.",
    defect="stores-late",
    needs=KEPT,
)
async def before_end(trial: Trial) -> None:
    """Ask a question in a conversation, and read the conversation at once.

    The reply is there.
    """
    conversation = await trial.conversations.new()
    reply = await trial.ask(conversation=conversation)
    streamed(reply)
    roles = [message["role"] for message in await trial.conversations.messages(conversation)]
    check("assistant" in roles, "the reply is not there yet", expected="user, assistant", got=str(roles))


@case(
    "store.order",
    MUST,
    "Questions and replies are stored in order.",
    source=STORE,
    remedy="Number the messages of a conversation: timestamps in seconds are too coarse.",
    defect="stores-reversed",
    needs=KEPT,
)
async def order(trial: Trial) -> None:
    """Ask two questions in a conversation, then read the conversation.

    Questions and replies alternate, the first question first.
    """
    conversation, words = await trial.conversations.new(), [unique_word(), unique_word()]
    for word in words:
        streamed(await trial.ask(f"Remember {word}.", conversation=conversation))
    messages = await trial.conversations.messages(conversation)
    roles = [message["role"] for message in messages]
    check(roles == ["user", "assistant"] * 2, "wrong order", expected="user, assistant, …", got=str(roles))
    firsts = [i for i, message in enumerate(messages) if words[0] in str(message["content"])]
    check(firsts == [0], "the first question is not the first", expected="0", got=str(firsts))


@case(
    "store.partial",
    SHOULD,
    "A reply that was cut short is stored as far as it was shown.",
    source=STORE,
    remedy="Store the partial reply in the branch that handles the failure.",
    defect="forgets-partial-replies",
    needs=BOTH,
)
async def partial(trial: Trial) -> None:
    """Ask while the upstream cuts the reply off after ten words, then read the conversation.

    It contains the text that arrived.
    """
    conversation = await trial.conversations.new()
    reply = await trial.ask(conversation=conversation, plan=CUT_SHORT)
    check(bool(reply.text), "no text arrived", got=describe(reply))
    stored = await trial.conversations.replies(conversation)
    check(stored == [reply.text], "what was shown is not stored", expected=repr(reply.text), got=str(stored))


@case(
    "store.partial-marked",
    SHOULD,
    "A reply that was cut short is marked as such.",
    source="the target's profile",
    remedy="Store a flag with the message that says it is incomplete.",
    defect="hides-interruption",
    needs=(*BOTH, Need.PARTIAL_MARK),
)
async def partial_marked(trial: Trial) -> None:
    """Ask while the upstream cuts the reply off after ten words, then read the conversation.

    The reply is marked as partial.
    """
    conversation = await trial.conversations.new()
    await trial.ask(conversation=conversation, plan=CUT_SHORT)
    marks = [bool(m["partial"]) for m in await trial.conversations.messages(conversation) if m["role"] == "assistant"]
    check(marks == [True], "the partial reply is not marked", expected="one marked reply", got=str(marks))


@case(
    "store.when-left",
    SHOULD,
    "What a client saw before it left is stored.",
    source=STORE,
    remedy="Store the partial reply when the client disconnects.",
    defect="forgets-abandoned",
    needs=BOTH,
)
async def when_left(trial: Trial) -> None:
    """Ask, leave after some text, then read the conversation.

    Within 3 s it contains a reply that begins with the text that arrived.
    """
    conversation = await trial.conversations.new()
    reply = await trial.ask(
        conversation=conversation,
        plan={"tokens": 60, "profile": {"name": "fixed", "ttft_ms": 20, "gap_ms": 40}},
        leave=lambda reply: len(reply.text) > 20,
    )
    stored: list[str] = []
    for _ in range(round(KEPT_WITHIN_S / 0.1)):
        stored = await trial.conversations.replies(conversation)
        if stored:
            break
        await asyncio.sleep(0.1)
    holds = len(stored) == 1 and stored[0].startswith(reply.text)
    check(holds, "what was shown is not stored", expected=repr(reply.text), got=str(stored))
