"""The options of the chat server, for its own command line and for the upstream's, which starts it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from mock_openai.chat.auth import parse_user
from mock_openai.chat.defects.catalogue import DEFECTS
from mock_openai.chat.limits import Caps, parse_rate
from mock_openai.chat.livekit import LiveKit
from mock_openai.chat.modes import MODES
from mock_openai.chat.retrieval import CLEARANCES
from mock_openai.chat.server import DEFAULT_MODE, ChatSettings
from mock_openai.hosts import KnownHosts, is_loopback

MAX_RESUME_S = 60.0


def add_options(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Everything about how the server behaves. Where it listens is not here."""
    add = parser.add_argument
    add("--streaming", choices=MODES, default=DEFAULT_MODE, help="streaming mode (default: %(default)s)")
    add("--db", default=":memory:", metavar="FILE", help="SQLite database for conversations (default: %(default)s)")
    add("--user", action="append", default=[], metavar="NAME:TOKEN", help="add a user (repeatable)")
    add(
        "--clearance",
        action="append",
        default=[],
        metavar="NAME:LEVEL",
        help=f"the stored documents that a user may read: {', '.join(CLEARANCES)} (repeatable)",
    )
    add("--rate-limit", metavar="N/UNIT", help="requests allowed per user, such as 5/s (default: no limit)")
    add(
        "--cors-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="allow pages of this origin to call the server (repeatable)",
    )
    add("--open", action="store_true", help="development mode: any origin, no sign-in; loopback only")
    caps = Caps()
    add(
        "--max-duration",
        type=_positive,
        default=caps.duration_s,
        metavar="S",
        help="longest duration of a reply, in seconds (default: %(default)g)",
    )
    add(
        "--max-chunks",
        type=_count,
        default=caps.chunks,
        metavar="N",
        help="largest number of chunks in a reply (default: %(default)d)",
    )
    add(
        "--max-idle",
        type=_positive,
        default=caps.idle_s,
        metavar="S",
        help="longest silence of the model within a reply, in seconds (default: %(default)g)",
    )
    add(
        "--first-text",
        type=_positive,
        default=caps.first_text_s,
        metavar="S",
        help="seconds to wait for a model's first text before trying the next model (default: %(default)g)",
    )
    add(
        "--resume",
        type=_not_negative,
        default=0.0,
        metavar="S",
        help="seconds for which a reply goes on after its client has left, so that it can reconnect (default: 0)",
    )
    add(
        "--defect",
        action="append",
        default=[],
        choices=DEFECTS,
        metavar="NAME",
        help="misbehave in this way, to test a test suite (repeatable); --list-defects has the names",
    )
    add("--list-defects", action=_ListDefects, help="list the names of all defects with what each does, and exit")
    add(
        "--debug",
        default=os.environ.get("DEBUG", ""),
        metavar="TOPICS",
        help="log these topics to standard error; the only one is chat:streaming (default: $DEBUG)",
    )


class _ListDefects(argparse.Action):
    """Prints the defects, a line each, and ends the program, as --help does."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:  # noqa: A002
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        width = max(map(len, DEFECTS))
        sys.stdout.writelines(f"{defect.name:<{width}}  {defect.told}\n" for defect in DEFECTS.values())
        parser.exit()


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("a number above 0")
    return value


def _not_negative(text: str) -> float:
    value = float(text)
    if not 0 <= value <= MAX_RESUME_S:
        raise argparse.ArgumentTypeError(f"a number from 0 to {MAX_RESUME_S:g}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("a number of at least 1")
    return value


def as_arguments(options: argparse.Namespace) -> list[str]:
    """The command line that says the same as parsed options."""
    parser = argparse.ArgumentParser(add_help=False)
    add_options(parser)
    arguments: list[str] = []
    for action in parser._actions:
        value = getattr(options, action.dest, action.default)
        if value == action.default:
            continue
        for item in value if isinstance(value, list) else [value]:
            arguments += action.option_strings if item is True else [*action.option_strings, str(item)]
    return arguments


def settings_of(options: argparse.Namespace, environ: Mapping[str, str]) -> ChatSettings:
    """The settings that a command line and the environment ask for. Raises ValueError with the remedy."""
    if not options.upstream:
        raise ValueError("say where the model is: --upstream URL, or OPENAI_BASE_URL")
    if options.open and not is_loopback(options.host):
        raise ValueError("--open is for development on this machine: leave out --host, or name the pages and users")
    clearances = dict(parse_user(text) for text in options.clearance)
    for name, level in clearances.items():
        if level not in CLEARANCES:
            raise ValueError(f"clearance of {name}: {level!r} is not one of {', '.join(CLEARANCES)}")
    return ChatSettings(
        upstream=options.upstream.rstrip("/").removesuffix("/v1"),
        api_key=environ.get("OPENAI_API_KEY", "sk-mock"),
        gemini_upstream=options.gemini_upstream,
        gemini_api_key=environ.get("GEMINI_API_KEY", "mock"),
        streaming=options.streaming,
        db=options.db,
        users=dict(parse_user(text) for text in options.user),
        clearances=clearances,
        rate_limit_per_s=parse_rate(options.rate_limit) if options.rate_limit else None,
        cors_origins=tuple(options.cors_origin),
        open=options.open,
        hosts=KnownHosts(options.host, options.allow_host),
        caps=Caps(options.max_duration, options.max_chunks, options.max_idle, options.first_text),
        resume_s=options.resume,
        livekit=LiveKit.from_environ(environ),
        defects=frozenset(options.defect),
    )
