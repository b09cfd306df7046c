"""Authentication and ownership: users read and write only what is theirs."""

from __future__ import annotations

import json

from streambench.conformance.case import Keyword, Need, case
from streambench.conformance.client import NOBODY, SECOND, unique_word
from streambench.conformance.judging import check, describe, refused
from streambench.conformance.trial import Trial

MUST, SHOULD, MAY = Keyword
AUTH = (Need.AUTH,)
OWNED = (*AUTH, Need.SECOND_USER, Need.CONVERSATIONS)
OWN_STORE = (*AUTH, Need.SECOND_USER, Need.STORED)
HTTP_AUTH = "RFC 9110, section 11.6.1"
OWNER = "the owner of the conversation"
SECRET = "sb-conform-wrong-token"  # noqa: S105 - nobody has it


@case(
    "auth.missing",
    MUST,
    "A request without credentials is refused with 401.",
    source="RFC 9110, section 15.5.2",
    remedy="Answer 401 before you do anything else for the request.",
    defect="no-auth",
    needs=AUTH,
)
async def missing(trial: Trial) -> None:
    """Ask without credentials.

    401.
    """
    refused(await trial.ask(user=NOBODY, conversation=await _conversation(trial)), 401)


@case(
    "auth.wrong",
    MUST,
    "A wrong token is refused with 401.",
    source="RFC 9110, section 15.5.2",
    remedy="Compare the whole token, and answer 401 if it is unknown.",
    defect="any-token",
    needs=AUTH,
)
async def wrong(trial: Trial) -> None:
    """Ask with an invalid token.

    401.
    """
    reply = await trial.ask(headers=_wrong(trial), conversation=await _conversation(trial))
    refused(reply, 401)


@case(
    "auth.prefix",
    MUST,
    "A truncated token is refused.",
    source="RFC 6750, section 2.1",
    remedy="Compare the whole token in constant time.",
    defect="token-prefix",
    needs=AUTH,
)
async def prefix(trial: Trial) -> None:
    """Ask with the token without its last three characters.

    401.
    """
    assert trial.subject.credential is not None
    name, value = trial.subject.credential
    reply = await trial.ask(headers={name: value[:-3]}, conversation=await _conversation(trial))
    refused(reply, 401)


@case(
    "auth.challenge",
    SHOULD,
    "A 401 response says how to authenticate.",
    source=HTTP_AUTH,
    remedy="Send `WWW-Authenticate: Bearer` with every 401.",
    defect="no-challenge",
    needs=(*AUTH, Need.STATUS),
)
async def challenge(trial: Trial) -> None:
    """Ask without credentials.

    The response has WWW-Authenticate.
    """
    reply = await trial.ask(user=NOBODY, conversation=await _conversation(trial))
    check(reply.status == 401, "there is no 401", expected="401", got=describe(reply))
    check("www-authenticate" in reply.exchange.headers, "401 without a challenge", expected="WWW-Authenticate")


@case(
    "auth.costs-nothing",
    MUST,
    "An unauthenticated request never reaches the model.",
    source="the order of checks: authentication first, then the model",
    remedy="Authenticate before you call the upstream.",
    defect="asks-before-auth",
    needs=(*AUTH, Need.EVENT_STREAM, Need.TWO_SIDED),
)
async def costs_nothing(trial: Trial) -> None:
    """Ask without credentials, with a mark.

    The upstream has seen no request with the mark.
    """
    reply = await trial.ask(user=NOBODY, plan={"tokens": 2}, conversation=await _conversation(trial))
    check(reply.status == 401, "there is no 401", expected="401", got=describe(reply))
    await trial.never_reached_upstream(reply.mark, "the request had no credentials")


@case(
    "auth.no-echo",
    MUST,
    "A refusal does not repeat the token.",
    source="RFC 6750, section 5.3",
    remedy="Leave credentials out of messages and logs.",
    defect="echoes-token",
    needs=(*AUTH, Need.STATUS),
)
async def no_echo(trial: Trial) -> None:
    """Ask with an invalid token.

    The response does not contain it.
    """
    reply = await trial.ask(headers=_wrong(trial), conversation=await _conversation(trial))
    said = reply.exchange.body.decode("utf-8", "replace") + json.dumps(reply.exchange.headers)
    check(SECRET not in said, "the response repeats the token")


@case(
    "owner.read",
    MUST,
    "A user cannot read another user's conversation.",
    source=OWNER,
    remedy="Look up the conversation by its id and its owner, never by its id alone.",
    defect="reads-of-others",
    needs=OWN_STORE,
)
async def read(trial: Trial) -> None:
    """Let one user start a conversation, and another one read it.

    403 or 404, and none of its text.
    """
    conversation, word = await trial.conversations.new(), unique_word()
    await trial.ask(f"Remember {word}.", conversation=conversation)
    reply = await trial.conversations.read(conversation, SECOND)
    check(word not in reply.exchange.body.decode("utf-8", "replace"), "the other user can read the messages")
    refused(reply, 403, 404)


@case(
    "owner.write",
    MUST,
    "A user cannot write to another user's conversation.",
    source=OWNER,
    remedy="Check the owner before you store the message or start the stream.",
    defect="writes-to-others",
    needs=OWNED,
)
async def write(trial: Trial) -> None:
    """Let another user ask a question in a conversation.

    403 or 404, and the conversation contains neither the question nor a reply.
    """
    conversation, word = await trial.conversations.new(), unique_word()
    reply = await trial.ask(f"Remember {word}.", conversation=conversation, user=SECOND)
    said = [str(message["content"]) for message in await trial.conversations.messages(conversation)]
    check(not said, "another user's message is in the conversation", expected="nothing", got=str(said))
    refused(reply, 403, 404)


@case(
    "owner.read-nothing-upstream",
    MUST,
    "Nothing of another user's conversation reaches the model.",
    source=OWNER,
    remedy="Load the history with the access rights of this user.",
    defect="writes-to-others",
    needs=(*OWNED, Need.TWO_SIDED),
)
async def read_nothing_upstream(trial: Trial) -> None:
    """Let one user tell a secret, and another one continue the conversation.

    The second request to the upstream does not contain the secret.
    """
    conversation, word = await trial.conversations.new(), unique_word()
    await trial.ask(f"Remember {word}.", conversation=conversation, plan={"tokens": 2})
    reply = await trial.ask("What was it?", conversation=conversation, user=SECOND, plan={"tokens": 2})
    seen = json.dumps([entry["request"] for entry in await trial.upstream.entries(reply.mark)])
    check(word not in seen, "the other user's request has the secret in its history")


@case(
    "owner.no-hint",
    SHOULD,
    "Another user's conversation looks like one that does not exist.",
    source="RFC 9110, section 15.5.4: 404 hides that a resource exists",
    remedy="Answer both cases with the same 404.",
    defect="tells-existence",
    needs=OWN_STORE,
)
async def no_hint(trial: Trial) -> None:
    """Read another user's conversation, and one that does not exist.

    Both responses have the same status and the same body.
    """
    conversation = await trial.conversations.new()
    other = await trial.conversations.read(conversation, SECOND)
    none = await trial.conversations.read("0" * len(conversation), SECOND)
    check(
        (other.status, other.exchange.body) == (none.status, none.exchange.body),
        "the responses reveal which conversations exist",
        expected=describe(none),
        got=describe(other),
    )


@case(
    "owner.unknown",
    MUST,
    "A request for a conversation that does not exist is refused with 404.",
    source="RFC 9110, section 15.5.5",
    remedy="Answer 404 before the stream begins; do not create the conversation implicitly.",
    defect="unknown-conversation",
    needs=(*AUTH, Need.CONVERSATIONS),
)
async def unknown(trial: Trial) -> None:
    """Ask in a conversation that does not exist.

    404.
    """
    refused(await trial.ask(conversation="0" * 32), 404)


@case(
    "owner.user-in-path",
    MUST,
    "The user in the path must be the authenticated user.",
    source=OWNER,
    remedy="Compare the path with the token's user, and answer 403 or 404.",
    defect="any-user-id",
    needs=(*AUTH, Need.EVENT_STREAM, Need.USER_IN_PATH),
)
async def user_in_path(trial: Trial) -> None:
    """Ask with another user's name in the path.

    403 or 404.
    """
    method, url = trial.subject.route({})
    path, _, _ = url.rpartition("/")
    body = json.dumps(trial.subject.json_body({"prompt": "Hello there."})).encode()
    other = f"{path}/{trial.subject.profile.user_in_path}"
    reply = await trial.client.send(method, other, body=body, headers={"content-type": "application/json"})
    refused(reply, 403, 404)


def _wrong(trial: Trial) -> dict[str, str]:
    assert trial.subject.credential is not None
    name, value = trial.subject.credential
    scheme, space, _ = value.rpartition(" ")
    return {name: f"{scheme}{space}{SECRET}"}


async def _conversation(trial: Trial) -> str | None:
    """A conversation of the first user's, where questions need one."""
    variables = await trial.conversations.variables(None, "first")
    return variables.get("conversation_id")
