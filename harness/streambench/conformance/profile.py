"""What cases must know about a target beyond its dialect: limits, users, conversations.

What a profile declares is tested; what it does not declare is not, and the report says so. The five chat systems have
bundled profiles; another target's is a YAML file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from streambench.errors import ConfigurationError
from streambench.located import Located, read_document

PROFILES = Path(__file__).parent / "profiles"


@dataclass(frozen=True, slots=True)
class Conversation:
    """How conversations are made, continued and read; `{conversation_id}` stands in paths and bodies.

    `create` is a request with `capture`, the path of the new conversation's id in the answer; without a `path`, the
    name under which the dialect's setup captures the one that it makes; with `by: reply`, the path of the id in the
    events of a reply, of the conversation that its connection is. `json` is the body that
    continues one, where it is not the dialect's own. `read` is a path with `messages`, `role`, `content` and, where
    partial replies are marked, `partial`: where each is in the answer.
    """

    create: Mapping[str, Any]
    read: Mapping[str, str]
    json: Any = None

    @property
    def told_by_reply(self) -> bool:
        """Whether a connection is a conversation, of which its replies tell the id."""
        return self.create.get("by") == "reply"


@dataclass(frozen=True, slots=True)
class Rooms:
    """How the members of a room hear the replies to each other's questions.

    `text` maps the events that bring them to the path of their text; `ends` are the events that end such a reply. Who
    connects with the same value of the variable `shared` is in one room; or `join` and `leave` are messages (`send`, or
    `emit` with an event's name and arguments) with `{room}` and `{name}` in them, and the event that confirms each
    (`heard`). `joined` and `left` are the events that tell the members who comes and goes. `closed`: not everybody may
    enter.
    """

    text: Mapping[str, str]
    ends: tuple[str, ...]
    shared: str | None = None
    join: Mapping[str, Any] | None = None
    leave: Mapping[str, Any] | None = None
    joined: str | None = None
    left: str | None = None
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Profile:
    """What cases may ask of a target.

    `second_user` is headers and variables in place of the first user's. `health` is a path, and the path of the number
    of open streams in its answer. `params` are values that the upstream's request should have. `model` is the path of
    the model's name in the body. `idle_s`: a silent upstream is given up after so long. `rate_limit` is how many
    questions a user may ask at once, and within how many seconds one more may be (`burst`, `recovers_s`). Of sockets:
    `heartbeat_s` is how often the target looks whether its clients are there, and `interrupt` the message that stops a
    reply.
    """

    auth: bool = False
    refuses_empty: bool = False
    max_chars: int | None = None
    max_body: int | None = None
    idle_s: float | None = None
    second_user: Mapping[str, Mapping[str, str]] | None = None
    conversation: Conversation | None = None
    health: Mapping[str, str] | None = None
    fallback: bool = False
    model: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    user_in_path: str | None = None
    history_messages: int | None = None
    heartbeat_s: float | None = None
    interrupt: Any = None
    rate_limit: Mapping[str, float] | None = None
    rooms: Rooms | None = None


def profile_of(dialect: str, path: Path | None = None) -> Profile:
    """The profile of a file, or the bundled one of a dialect; an empty one where there is neither.

    Raises a located ConfigurationError.
    """
    source = path if path is not None else PROFILES / f"{dialect}.yaml"
    if path is None and not source.is_file():
        return Profile()
    try:
        text = source.read_text("utf-8")
    except OSError as error:
        raise ConfigurationError(f"the profile cannot be read: {error.strerror}", path=str(source)) from None
    return read_profile(read_document(text, str(source), "a profile"))


def read_profile(root: Located) -> Profile:
    """The profile of a document. Raises a located ConfigurationError."""
    given = root.mapping("a profile", [one.name for one in fields(Profile)])
    values: dict[str, Any] = {name: node.plain() for name, node in given.items()}
    for name, kinds in _KINDS.items():
        if name in given and not (isinstance(values[name], kinds) and not _is_other_bool(values[name], kinds)):
            raise given[name].error(f"{name!r} has a value of another kind")
    if "conversation" in given:
        part = given["conversation"].mapping("'conversation'", ("create", "read", "json"))
        for name, keys in (("create", ("capture",)), ("read", ("path", "messages"))):
            if name not in part:
                raise given["conversation"].error(f"'conversation' needs {name!r}")
            inner = part[name].mapping(f"{name!r}")
            for key in keys:
                if key not in inner:
                    raise part[name].error(f"{name!r} needs {key!r}")
        values["conversation"] = Conversation(**values["conversation"])
    if "rooms" in given:
        values["rooms"] = _read_rooms(given["rooms"])
    return Profile(**values)


def _read_rooms(node: Located) -> Rooms:
    part = node.mapping("'rooms'", [one.name for one in fields(Rooms)])
    for key in ("text", "ends"):
        if key not in part:
            raise node.error(f"'rooms' needs {key!r}")
    if "shared" not in part and "join" not in part:
        raise node.error("'rooms' needs 'shared' or 'join': how a room is entered")
    for name in ("join", "leave"):
        if name in part:
            said = part[name].mapping(f"{name!r}", ("send", "emit", "heard"))
            if "heard" not in said or ("send" in said) == ("emit" in said):
                raise part[name].error(f"{name!r} needs 'heard', and either 'send' or 'emit'")
    values = {name: item.plain() for name, item in part.items()}
    return Rooms(**{**values, "ends": tuple(values["ends"])})


_KINDS: dict[str, tuple[type, ...]] = {
    "auth": (bool,),
    "refuses_empty": (bool,),
    "max_chars": (int,),
    "max_body": (int,),
    "idle_s": (int, float),
    "second_user": (dict,),
    "health": (dict,),
    "fallback": (bool,),
    "model": (str,),
    "params": (dict,),
    "user_in_path": (str,),
    "history_messages": (int,),
    "heartbeat_s": (int, float),
    "rate_limit": (dict,),
}


def _is_other_bool(value: Any, kinds: tuple[type, ...]) -> bool:
    """A boolean is an int to Python, but not to whoever writes a profile."""
    return isinstance(value, bool) and bool not in kinds
