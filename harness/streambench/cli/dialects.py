"""`streambench dialects`: list, show, draw and validate protocol descriptions, and draft a new one from a capture."""

from __future__ import annotations

import json
from typing import IO

import click

from streambench.cli.options import DIALECT
from streambench.cli.output import say
from streambench.errors import ConfigurationError
from streambench.files import read_all
from streambench.wire.framings import FRAMINGS

MAX_CAPTURE_BYTES = 16 << 20  # of what a dialect is drafted from


class _NameOrCommand(click.Group):
    """`dialects NAME` shows NAME; only the words of real subcommands are commands."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            args = ["show", *args]
        return super().resolve_command(ctx, args)


@click.group("dialects", cls=_NameOrCommand, invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """List the bundled dialects; with a NAME or FILE, validate and show that dialect.

    \b
    Example:
      streambench dialects
      streambench dialects openai-chat --diagram
      streambench dialects ./our-protocol.yaml
      streambench dialects new capture.sse --wire sse > our-protocol.yaml
    """
    if ctx.invoked_subcommand is None:
        list_dialects()


def list_dialects() -> None:
    """One line a bundled dialect: name, transport, grammar."""
    from streambench.dialects import bundled_dialects, load_dialect

    loaded = [load_dialect(name) for name in bundled_dialects()]
    width = max(len(dialect.name) for dialect in loaded)
    for dialect in loaded:
        say(f"{dialect.name:<{width}}  {dialect.transport:<9}  {dialect.summary}")


@command.command("show")
@click.argument("name", metavar="NAME|FILE", type=DIALECT)
@click.option("--diagram", is_flag=True, help="Print the grammar as a Mermaid state diagram.")
@click.option(
    "--page", is_flag=True, help="Print a reference page in Markdown: events, order, diagram, checks, requests."
)
def show(name: str, diagram: bool, page: bool) -> None:
    """Print a dialect's file, diagram or reference.

    The dialect is validated first.

    \b
    Example:
      streambench dialects show chat-stream
    """
    from streambench.dialects import diagram as drawing
    from streambench.dialects import load_dialect
    from streambench.dialects import reference_page as reference

    dialect = load_dialect(name)
    if diagram:
        say(drawing.diagram(dialect))
    elif page:
        say(reference.page(dialect), nl=False)
    else:
        say(dialect.source_path.read_text("utf-8"), nl=False)


@command.command("list")
def listing() -> None:
    """List the bundled dialects.

    \b
    Example:
      streambench dialects list
    """
    list_dialects()


@command.command("draw")
@click.argument("name", metavar="NAME|FILE", type=DIALECT)
def draw(name: str) -> None:
    """Draw a dialect's order of events as a Mermaid state diagram.

    The same as `show --diagram`.

    \b
    Example:
      streambench dialects draw chat-stream
    """
    from streambench.dialects import diagram as drawing
    from streambench.dialects import load_dialect

    say(drawing.diagram(load_dialect(name)))


@command.command("check")
@click.argument("names", metavar="NAME|FILE...", nargs=-1, required=True, type=DIALECT)
def check(names: tuple[str, ...]) -> None:
    """Validate dialect files.

    The first mistake is reported with its line and column, and the exit code is 2.

    \b
    Example:
      streambench dialects check ./our-protocol.yaml
    """
    from streambench.dialects import load_dialect

    for name in names:
        dialect = load_dialect(name)
        named = f", {count} milestone{'s' * (count != 1)}" if (count := len(dialect.milestones)) else ""
        say(f"{name} is valid: {len(dialect.events)} events over {dialect.transport}{named}")


@command.command("new")
@click.argument("capture", type=click.File("rb"))
@click.option(
    "--wire",
    type=click.Choice(list(FRAMINGS)),
    default="sse",
    show_default=True,
    help="The capture's framing.",
)
@click.option("--name", default="my-protocol", show_default=True, help="The new dialect's name.")
def new(capture: IO[bytes], wire: str, name: str) -> None:
    """Draft a dialect from a captured reply.

    The draft has the event names and fields found in CAPTURE, and a first grammar.

    \b
    Example:
      curl -sN http://localhost:8000/chat --json '{"q": "Hello"}' | streambench dialects new - > our-protocol.yaml
    """
    from streambench.dialects.infer import draft_dialect
    from streambench.wire.framings import capture_decoder
    from streambench.wire.limits import WireError

    decoder = capture_decoder(wire)
    try:
        data = read_all(capture, MAX_CAPTURE_BYTES)
        messages = [*decoder.feed(data), *decoder.finish()]
    except WireError as error:
        raise ConfigurationError(f"the capture cannot be read as {wire}: {error}", path=capture.name) from None
    if not any(message.dispatched for message in messages):
        others = [kind for kind in FRAMINGS if kind != wire]
        if wire != "ndjson" and _is_json_lines(data):
            remedy = "each of its lines is JSON, so try --wire ndjson, or --wire websocket for the messages of a socket"
        else:
            remedy = f"save the response's body, or name another framing with --wire ({', '.join(others)})"
        raise ConfigurationError(f"the capture holds no {wire} message: {remedy}")
    say(draft_dialect(messages, name=name, transport=wire), nl=False)


def _is_json_lines(data: bytes) -> bool:
    """Whether every line that is not blank holds JSON."""
    try:
        return bool([json.loads(line) for line in data.splitlines() if line.strip()])
    except (ValueError, RecursionError):
        return False
