"""What is stored: everything that was said, once, and as it was shown."""

from __future__ import annotations

import asyncio

from streambench.conformance.case import Keyword, Need, case
from streambench.conformance.client import unique_word
from streambench.conformance.judging import check, describe, streamed
from streambench.conformance.trial import CUT, Trial

MUST, SHOULD, MAY = Keyword
KEPT = (Need.STORED,)
BOTH = (Need.STORED, Need.TWO_SIDED)
STORE = "what a stored conversation is: what was said and shown"
CUT_SHORT = {"tokens": 20, "faults": [{"fault": CUT, "at": {"chunk": 10}}]}
KEPT_WITHIN_S = 3.0


@case(
    "store.question",
    MUST,
    "The question is stored.",
    source=STORE,
    remedy="Store the message before the model is asked.",
    defect="forgets-questions",
    needs=KEPT,
)
async def question(trial: Trial) -> None:
    """Ask something in a conversation and read it.

    It has the question, with the role of the user.
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
    """Ask something in a conversation and read it.

    It has one reply, with exactly the text that came.
    """
    conversation = await trial.conversations.new()
    reply = await trial.ask(conversation=conversation)
    streamed(reply)
    stored = await trial.conversations.replies(conversation)
    check(stored == [reply.text], "another reply is stored", expected=repr(reply.text), got=str(stored))


@case(
    "store.before-end",
    SHOULD,
    "When the client learns that the reply is complete, it is stored.",
    source=STORE,
    remedy="Store the reply before the terminal event is sent: a page that is loaded again at once would miss it.",
    defect="stores-late",
    needs=KEPT,
)
async def before_end(trial: Trial) -> None:
    """Ask something in a conversation, and read it at once.

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
    "Questions and replies are stored in their order.",
    source=STORE,
    remedy="Number the messages of a conversation; times of a second are not enough.",
    defect="stores-reversed",
    needs=KEPT,
)
async def order(trial: Trial) -> None:
    """Ask two things in a conversation and read it.

    Question and reply take turns, the first question first.
    """
    conversation, words = await trial.conversations.new(), [unique_word(), unique_word()]
    for word in words:
        streamed(await trial.ask(f"Remember {word}.", conversation=conversation))
    messages = await trial.conversations.messages(conversation)
    roles = [message["role"] for message in messages]
    check(roles == ["user", "assistant"] * 2, "another order", expected="user, assistant, …", got=str(roles))
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
    """Ask while the upstream breaks off after ten words, and read the conversation.

    It has the text that came.
    """
    conversation = await trial.conversations.new()
    reply = await trial.ask(conversation=conversation, plan=CUT_SHORT)
    check(bool(reply.text), "no text came", got=describe(reply))
    stored = await trial.conversations.replies(conversation)
    check(stored == [reply.text], "what was shown is not stored", expected=repr(reply.text), got=str(stored))


@case(
    "store.partial-marked",
    SHOULD,
    "A reply that was cut short is marked as such.",
    source="the target's profile",
    remedy="Store with the message that it is not whole.",
    defect="hides-interruption",
    needs=(*BOTH, Need.PARTIAL_MARK),
)
async def partial_marked(trial: Trial) -> None:
    """Ask while the upstream breaks off after ten words, and read the conversation.

    The reply has the mark of a partial one.
    """
    conversation = await trial.conversations.new()
    await trial.ask(conversation=conversation, plan=CUT_SHORT)
    marks = [bool(m["partial"]) for m in await trial.conversations.messages(conversation) if m["role"] == "assistant"]
    check(marks == [True], "the partial reply is not marked", expected="one marked reply", got=str(marks))


@case(
    "store.when-left",
    SHOULD,
    "What was shown to a client that left is stored.",
    source=STORE,
    remedy="Store the partial reply when the client disconnects, too.",
    defect="forgets-abandoned",
    needs=BOTH,
)
async def when_left(trial: Trial) -> None:
    """Ask, leave after some text, and read the conversation.

    Within 3 s it has a reply that begins with the text that came.
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
