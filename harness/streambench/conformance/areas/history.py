"""History and parameters, as the upstream sees them."""

from __future__ import annotations

import json
from typing import Any

from streambench.conformance.case import Keyword, Need, case
from streambench.conformance.client import unique_word
from streambench.conformance.judging import check, describe, streamed
from streambench.conformance.subject import with_value
from streambench.conformance.trial import CUT, Trial

MUST, SHOULD, MAY = Keyword
BOTH = (Need.TWO_SIDED,)
TALK = (Need.TWO_SIDED, Need.CONVERSATIONS)
CONVERSATION = "the definition of a conversation: the model knows the earlier messages"


async def _talk(
    trial: Trial, *says: str, last: str = "And now?", conversation: str | None = None
) -> list[dict[str, Any]]:
    """The messages that the upstream gets with the last of several questions in one conversation."""
    conversation = conversation or await trial.conversations.new()
    for text in says:
        reply = await trial.ask(text, conversation=conversation, plan={"tokens": 2, "profile": "instant"})
        streamed(reply)
    reply = await trial.ask(last, conversation=conversation, plan={"tokens": 2, "profile": "instant"})
    streamed(reply)
    messages: list[dict[str, Any]] = (await trial.request_upstream(reply)).get("messages", [])
    return messages


def _places(messages: list[dict[str, Any]], words: list[str]) -> list[int]:
    """In which message each word is; -1 where it is in none."""
    texts = [json.dumps(message.get("content"), ensure_ascii=False) for message in messages]
    return [next((i for i, text in enumerate(texts) if word in text), -1) for word in words]


@case(
    "history.sent",
    MUST,
    "The model gets the earlier messages of the conversation.",
    source=CONVERSATION,
    remedy="Load the stored messages and send them before the new one.",
    defect="no-history",
    needs=TALK,
)
async def sent(trial: Trial) -> None:
    """Ask two questions in one conversation.

    The second request to the upstream contains the first question.
    """
    word = unique_word()
    messages = await _talk(trial, f"Remember {word}.")
    check(_places(messages, [word])[0] >= 0, "the first question is not in the request", expected=word)


@case(
    "history.replies",
    MUST,
    "The model gets its earlier replies with the role assistant.",
    source="OpenAI API reference, chat completions: roles of messages",
    remedy="Send replies with the role `assistant`, and questions with `user`.",
    defect="history-roles",
    needs=TALK,
)
async def replies(trial: Trial) -> None:
    """Ask two questions in one conversation.

    The second request has user, assistant, user.
    """
    messages = await _talk(trial, "Hello, who are you?")
    roles = [message.get("role") for message in messages if message.get("role") not in ("system", "developer")]
    check(roles == ["user", "assistant", "user"], "wrong roles", expected="user, assistant, user", got=str(roles))


@case(
    "history.newest",
    MUST,
    "From a long conversation, the model gets the newest messages.",
    source=CONVERSATION,
    remedy="Sort newest first, apply the limit, then reverse the result: a plain LIMIT returns the oldest messages.",
    defect="first-ten-history",
    needs=TALK,
)
async def newest(trial: Trial) -> None:
    """Ask eight questions in one conversation.

    The last request contains the newest of the earlier questions.
    """
    words = [unique_word() for _ in range(8)]
    messages = await _talk(trial, *(f"Remember {word}." for word in words))
    check(_places(messages, words)[-1] >= 0, "the previous question is not in the request", expected=words[-1])


@case(
    "history.oldest-first",
    MUST,
    "The model gets the messages in chronological order.",
    source="OpenAI API reference, chat completions: messages so far",
    remedy="Reverse the newest messages before you send them.",
    defect="history-reversed",
    needs=TALK,
)
async def oldest_first(trial: Trial) -> None:
    """Ask three questions in one conversation.

    The request has them in order, the newest last.
    """
    words = [unique_word() for _ in range(3)]
    messages = await _talk(trial, *(f"Remember {word}." for word in words[:2]), last=f"Remember {words[2]}.")
    places = _places(messages, words)
    check(places == sorted(places) and -1 not in places, "wrong order", expected="0, 2, 4", got=str(places))


@case(
    "history.question-once",
    MUST,
    "The new question is sent to the model only once.",
    source=CONVERSATION,
    remedy="Load the history before you store the question, or do not add it again.",
    defect="doubles-question",
    needs=TALK,
)
async def question_once(trial: Trial) -> None:
    """Ask something in a new conversation.

    Exactly one message contains the question.
    """
    word = unique_word()
    messages = await _talk(trial, last=f"Remember {word}.")
    times = sum(word in json.dumps(message.get("content")) for message in messages)
    check(times == 1, "the question is sent several times", expected="1", got=str(times))


@case(
    "history.own",
    MUST,
    "The model gets nothing from another conversation.",
    source=CONVERSATION,
    remedy="Load only the messages of this conversation.",
    defect="mixes-histories",
    needs=TALK,
)
async def own(trial: Trial) -> None:
    """Ask in one conversation, then in another conversation of the same user.

    The second request contains nothing of the first conversation.
    """
    word, first = unique_word(), await trial.conversations.new()
    await trial.ask(f"Remember {word}.", conversation=first, plan={"tokens": 2})
    second = await trial.conversations.new(beside=first)
    messages = await _talk(trial, last="What did I say?", conversation=second)
    check(_places(messages, [word]) == [-1], "the request has text from another conversation", got=word)


@case(
    "history.bounded",
    SHOULD,
    "The history sent to the model is bounded.",
    source="the target's profile",
    remedy="Send the newest messages up to a limit: without one, every question costs more than the one before.",
    defect="all-history",
    needs=TALK,
)
async def bounded(trial: Trial) -> None:
    """Ask eight questions in one conversation.

    The last request has at most as many earlier messages as the profile says (default 10), plus the question.
    """
    most = trial.subject.profile.history_messages or 10
    messages = await _talk(trial, *(f"Remember {unique_word()}." for _ in range(8)))
    said = [message for message in messages if message.get("role") in ("user", "assistant")]
    check(len(said) <= most + 1, "the whole history is sent", expected=f"{most + 1} messages", got=f"{len(said)}")


@case(
    "history.no-partial-lost",
    SHOULD,
    "A reply that was cut short is in the history of the next question.",
    source=CONVERSATION,
    remedy="Store what was shown, even if the reply was cut short.",
    defect="forgets-partial-replies",
    needs=TALK,
)
async def no_partial_lost(trial: Trial) -> None:
    """Ask while the upstream cuts the reply off after ten words, then ask again.

    The second request contains the beginning of the first reply.
    """
    conversation = await trial.conversations.new()
    first = await trial.ask(
        conversation=conversation, plan={"tokens": 20, "faults": [{"fault": CUT, "at": {"chunk": 10}}]}
    )
    check(bool(first.text), "the first reply has no text", got=describe(first))
    reply = await trial.ask("Go on.", conversation=conversation, plan={"tokens": 2})
    messages = (await trial.request_upstream(reply)).get("messages", [])
    start = first.text[:20]
    check(_places(messages, [start])[0] >= 0, "what was shown is not in the request", expected=start)


@case(
    "params.model",
    MUST,
    "The model that the client names is the one that is called.",
    source="the target's profile",
    remedy="Pass the name on, or reject it.",
    defect="ignores-model",
    needs=(*BOTH, Need.MODEL, Need.JSON_PROMPT),
)
async def model(trial: Trial) -> None:
    """Ask for the model gpt-4o.

    The request to the upstream names it.
    """
    assert trial.subject.profile.model is not None
    path = tuple(trial.subject.profile.model.split("."))
    body = with_value(trial.subject.body, path, "gpt-4o")
    reply = await trial.ask(body=body, plan={"tokens": 2})
    got = (await trial.request_upstream(reply)).get("model")
    check(got == "gpt-4o", "a different model is called", expected="gpt-4o", got=str(got))


@case(
    "params.as-declared",
    SHOULD,
    "The model is called with the parameters that the service promises.",
    source="the target's profile",
    remedy="Set the parameters in every request to the model.",
    defect="other-params",
    needs=(*BOTH, Need.PARAMS),
)
async def as_declared(trial: Trial) -> None:
    """Ask an ordinary question.

    The request to the upstream has every parameter of the profile.
    """
    request = await trial.request_upstream(await trial.ask(plan={"tokens": 2}))
    for name, wanted in trial.subject.profile.params.items():
        got = request.get(name, request.get("max_completion_tokens") if name == "max_tokens" else None)
        check(got == wanted, f"`{name}` is another", expected=str(wanted), got=str(got))


@case(
    "params.bounded-reply",
    SHOULD,
    "The request to the model bounds the length of the reply.",
    source="OpenAI API reference, chat completions: max_completion_tokens",
    remedy="Set max_tokens or max_completion_tokens: without it, a single question can cost any amount.",
    defect="no-max-tokens",
    needs=BOTH,
)
async def bounded_reply(trial: Trial) -> None:
    """Ask an ordinary question.

    The request to the upstream has max_tokens, max_completion_tokens or max_output_tokens.
    """
    request = await trial.request_upstream(await trial.ask(plan={"tokens": 2}))
    names = ("max_tokens", "max_completion_tokens", "max_output_tokens")
    check(any(request.get(name) for name in names), "the request has no bound", expected=" or ".join(names))
