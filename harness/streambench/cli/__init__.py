"""The `streambench` command, one file per subcommand.

A subcommand's module is imported when it is used.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
import traceback
from typing import Any

import click

from streambench import __version__
from streambench.cli.output import say
from streambench.errors import ExitCode, StreambenchError, nearest

# Command -> its line in the overview, so that `--help` does not have to import every command.
COMMANDS = {
    "run": "Run scenarios, write a report and say whether they passed.",
    "locust": "Run a scenario from Locust's web UI, on one machine or many.",
    "probe": "Show one stream as it arrives.",
    "check": "Check a captured stream against its protocol, offline.",
    "conform": "Run the conformance cases against an endpoint.",
    "calibrate": "Measure this machine's accuracy under rising load.",
    "report": "Rebuild the reports of a run from its records.",
    "mock": "Start the fake OpenAI upstream and the reference chat server.",
    "dialects": "List, show, draw, validate or draft protocol descriptions.",
    "schema": "Print the JSON Schema of scenario or dialect files.",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"streambench.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is meant; for another word, what it may have been meant to be."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(_no_command(args[0]), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _no_command(word: str) -> str:
    from streambench.load.loading import bundled_scenarios
    from streambench.located import shown

    reason = f"there is no command {shown(word)}"
    meant = nearest(word, COMMANDS)
    if meant is not None:
        return f"{reason}. Did you mean '{meant}'?"
    if "://" in word:
        return f"{reason}. To look at one stream of a URL: streambench probe URL --dialect NAME"
    if word in bundled_scenarios() or word.endswith((".yaml", ".yml")):
        return f"{reason}. To run a scenario: streambench run {word}"
    return f"{reason}. The commands are {', '.join(COMMANDS)}."


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="streambench")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Does an AI chat endpoint really stream, how fast does it feel, and does it speak its protocol correctly?

    \b
    Start here:
      streambench run quickstart
      streambench probe http://localhost:8000/v1/chat/completions --dialect openai-chat
    """
    # https://force-color.org and https://no-color.org; elsewhere colours are for terminals.
    if os.environ.get("FORCE_COLOR") and not os.environ.get("NO_COLOR"):
        ctx.color = True


def main(args: list[str] | None = None) -> None:
    """Entry point of the `streambench` command: runs it and exits with one of `ExitCode`."""
    try:
        code = run_command(args)
    except KeyboardInterrupt:  # while it was being said how the command had ended
        code = ExitCode.INTERRUPTED
    sys.exit(code)


def run_command(args: list[str] | None = None) -> int:
    """Run the command line and return its exit code; nothing but the code leaves this function."""
    try:
        result: Any = cli.main(args=args, prog_name="streambench", standalone_mode=False)
    except click.exceptions.Exit as exit_request:
        return exit_request.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return ExitCode.INTERRUPTED
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except StreambenchError as error:
        say(f"streambench: {error}", err=True)
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output left (`streambench ... | head`): not an error, and nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.PASSED
    except OSError as error:
        if error.errno not in _FULL_OR_FORBIDDEN:
            return _bug(error)
        where = f"{error.filename}: " if error.filename else ""
        say(f"streambench: {where}{error.strerror}", err=True)
        return ExitCode.USAGE
    except Exception as error:  # the last line of defence: a bug must not look like a verdict
        return _bug(error)
    return result if isinstance(result, int) else ExitCode.PASSED


# What the machine or its administrator refuses: no place, no permission, no such folder, too many open files.
_FULL_OR_FORBIDDEN = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT),
        *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.EMFILE, errno.ENFILE),
    }
)


def _bug(error: Exception) -> ExitCode:
    if os.environ.get("STREAMBENCH_TRACEBACK"):
        traceback.print_exc()
    say(
        f"streambench: internal error: {type(error).__name__}: {error}\n"
        "This is a bug in streambench. Run again with STREAMBENCH_TRACEBACK=1 and report the output.",
        err=True,
    )
    return ExitCode.INTERNAL
