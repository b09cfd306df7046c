"""The command-line options that the two servers share."""

from __future__ import annotations

import argparse
import difflib
import errno
from collections.abc import Iterable
from typing import Any, NoReturn

MAX_PORT = 65_535
MAX_LISTED = 20  # choices in an error; --help lists them all


class ArgumentParser(argparse.ArgumentParser):
    """Says what is wrong in one line. The usage of forty options would push it off the screen."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse a value that is not among the choices, and name the one that was probably meant."""
        if action.choices is None or value in action.choices:
            return
        choices = [str(choice) for choice in action.choices]
        listed = "" if len(choices) > MAX_LISTED else f" Choose from {', '.join(choices)}."
        meant = did_you_mean(value, choices)
        raise argparse.ArgumentError(action, f"there is no {str(value)[:100]!r}.{meant or listed}")

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with 2."""
        self.exit(2, f"{self.prog}: {message}\nSee `{self.prog} --help`.\n")


def did_you_mean(name: object, valid: Iterable[str]) -> str:
    """A question to end an error with, or nothing when no valid name is close."""
    match = difflib.get_close_matches(str(name)[:100], list(valid), n=1)
    return f" Did you mean {match[0]!r}?" if match else ""


def cannot_listen(server: str, host: str, port: int, option: str, error: OSError) -> str:
    """Why a server cannot listen, and what to do about it."""
    if error.errno == errno.EADDRINUSE:
        reason = f"another program uses that port. End it, or choose another port with {option} (0 picks a free one)."
    else:
        reason = f"{error.strerror}."
    return f"{server}: cannot listen on {host}:{port}: {reason}"


def port_number(text: str) -> int:
    """The type of an option that names a TCP port; 0 asks for a free one."""
    if not (text.isascii() and text.isdigit() and int(text) <= MAX_PORT):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: write a number from 0 to {MAX_PORT}")
    return int(text)
