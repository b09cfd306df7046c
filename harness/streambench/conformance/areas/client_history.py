"""History that clients send with each prompt, as the upstream sees it."""

from __future__ import annotations

from typing import Any

from streambench.conformance.case import Keyword, Need, case
from streambench.conformance.client import unique_word
from streambench.conformance.judging import check, streamed
from streambench.conformance.reply import Reply
from streambench.conformance.subject import with_value
from streambench.conformance.trial import Trial

MUST, SHOULD, MAY = Keyword
SENT = (Need.CLIENT_HISTORY, Need.TWO_SIDED)
BOUND = (*SENT, Need.HISTORY_BOUND)
ROLES = "OpenAI API reference, chat completions: roles of messages"
CONVERSATION = "the definition of a conversation: the model knows the earlier messages"
LITTLE = {"tokens": 2, "profile": "instant"}


def _said(count: int) -> list[dict[str, str]]:
    """Messages in turns, the user's first, each with a word of its own."""
    return [{"role": ("user", "assistant")[i % 2], "content": f"Remember {unique_word()}."} for i in range(count)]


def _body(trial: Trial, said: list[dict[str, str]]) -> Any:
    """The JSON of a question after what was said."""
    path = trial.subject.messages_path
    assert path is not None
    messages = trial.subject.body
    for key in path:
        messages = messages[key]
    return with_value(trial.subject.body, path, [*said, messages[-1]])


async def _reached(trial: Trial, reply: Reply) -> list[dict[str, Any]]:
    """The messages that reach the upstream, without system prompts."""
    streamed(reply)
    messages = (await trial.request_upstream(reply)).get("messages", [])
    return [message for message in messages if message.get("role") in ("user", "assistant")]


async def _asked(trial: Trial, said: list[dict[str, str]]) -> list[dict[str, Any]]:
    """The messages that reach the upstream where a client sends these and a question."""
    return await _reached(trial, await trial.ask(body=_body(trial, said), plan=LITTLE))


def _contents(messages: list[dict[str, Any]]) -> list[str]:
    return [str(message.get("content")) for message in messages]


@case(
    "history.client-sent",
    MUST,
    "The model gets the earlier messages that the client sends, in order.",
    source=CONVERSATION,
    remedy="Pass on the whole list of messages, not only the last one.",
    defect="last-message-only",
    needs=SENT,
)
async def sent(trial: Trial) -> None:
    """Send an earlier question and reply before the new question.

    The request to the upstream has both, in order, before the new question.
    """
    said = _said(2)
    got = _contents(await _asked(trial, said))
    check(got[:-1] == _contents(said), "wrong messages", expected=str(_contents(said)), got=str(got[:-1]))


@case(
    "history.client-roles",
    MUST,
    "The model gets the client's messages with their roles.",
    source=ROLES,
    remedy="Keep the role of every message: a model that sees its own words as the user's answers itself.",
    defect="client-roles-lost",
    needs=SENT,
)
async def roles(trial: Trial) -> None:
    """Send an earlier question and reply before the new question.

    The request to the upstream has user, assistant, user.
    """
    got = [str(message.get("role")) for message in await _asked(trial, _said(2))]
    check(got == ["user", "assistant", "user"], "wrong roles", expected="user, assistant, user", got=", ".join(got))


@case(
    "history.client-once",
    MUST,
    "The history that the client sends is not combined with the stored history of the same conversation.",
    source=CONVERSATION,
    remedy="Use either the client's history or the stored one: with both, the model gets every message twice.",
    defect="adds-stored-history",
    needs=(*SENT, Need.SOCKET),
)
async def once(trial: Trial) -> None:
    """Ask twice on one connection, sending the first question again before the second.

    The second request to the upstream contains each message once.
    """
    word = unique_word()
    async with trial.client.connected() as socket:
        first = await trial.ask_on(socket, f"Remember {word}.", plan=LITTLE)
        streamed(first)
        said = [{"role": "user", "content": f"Remember {word}."}, {"role": "assistant", "content": first.text}]
        got = await _reached(trial, await trial.ask_on(socket, "And now?", plan=LITTLE, body=_body(trial, said)))
    times = sum(word in text for text in _contents(got))
    check(times == 1, "a message is sent several times", expected="1", got=str(times))


@case(
    "history.client-newest",
    MUST,
    "From a long history that a client sends, the model gets the newest messages.",
    source=CONVERSATION,
    remedy="Drop messages from the beginning of the list.",
    defect="oldest-of-client",
    needs=BOUND,
)
async def newest(trial: Trial) -> None:
    """Send twice as many messages before the question as the profile allows.

    The request to the upstream has the newest of them.
    """
    said = _said(2 * (trial.subject.profile.history_messages or 0))
    got = _contents(await _asked(trial, said))
    wanted = said[-1]["content"]
    check(wanted in got, "the message before the question is not in the request", expected=wanted, got=str(got[-3:]))


@case(
    "history.client-bounded",
    SHOULD,
    "The history accepted from a client is bounded.",
    source="the target's profile",
    remedy="Pass on the newest messages up to a limit: a client can send any number, and each one costs.",
    defect="all-of-client",
    needs=BOUND,
)
async def bounded(trial: Trial) -> None:
    """Send twice as many messages before the question as the profile allows.

    The request to the upstream has at most the allowed number of messages, plus the question.
    """
    most = trial.subject.profile.history_messages or 0
    got = await _asked(trial, _said(2 * most))
    check(len(got) <= most + 1, "all of it is sent", expected=f"{most + 1} messages", got=f"{len(got)}")
