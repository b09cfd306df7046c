"""`streambench probe`: one stream, drawn while it arrives."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streambench.cli.options import DIALECT, DURATION
from streambench.cli.output import json_text
from streambench.cli.waterfall import waterfall
from streambench.errors import ConfigurationError, ExitCode, nearest
from streambench.printable import printable_lines
from streambench.units import NS_PER_MS

if TYPE_CHECKING:
    from streambench.analysis.stream import AnalysedStream
    from streambench.analysis.waivers import Waiver
    from streambench.dialects.milestone import Milestone
    from streambench.load.probe import Probed
    from streambench.load.scenario import Scenario
    from streambench.record.model import StreamRecord

REFRESH_S = 0.1


@click.command("probe")
@click.argument("url")
@click.option(
    "--dialect", "-d", type=DIALECT, metavar="NAME|FILE", help="The protocol; not needed for a bundled scenario."
)
@click.option("--prompt", metavar="TEXT", help="The prompt to send.")
@click.option(
    "-n",
    "count",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="Number of streams, one after another.",
)
@click.option("--header", "-H", "headers", multiple=True, metavar="NAME:VALUE", help="A request header (repeatable).")
@click.option("--bearer-env", metavar="NAME", help="Environment variable that holds a bearer token.")
@click.option("--upstream", metavar="URL", help="The fake upstream behind the endpoint, for a verdict from both sides.")
@click.option(
    "--encodings",
    is_flag=True,
    help="Send each prompt without and with a browser's Accept-Encoding, and say whether compression holds text back.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Set a variable of the dialect, such as model=gpt-4o, or any value by its path.",
)
@click.option(
    "--timeout", type=DURATION, default="120s", show_default=True, metavar="DURATION", help="Limit for a whole stream."
)
@click.option(
    "--wait",
    type=DURATION,
    default="0",
    metavar="DURATION",
    help="How long to wait for a target that is not up yet; not at all by default.",
)
@click.option(
    "--save",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Save what arrived, byte by byte, for `streambench check FILE`.",
)
@click.option("--json", "as_json", is_flag=True, help="Print only the records, as JSON lines.")
def command(
    url: str,
    dialect: str | None,
    prompt: str | None,
    count: int,
    headers: tuple[str, ...],
    bearer_env: str | None,
    upstream: str | None,
    encodings: bool,
    overrides: tuple[str, ...],
    timeout: int,
    wait: int,
    save: Path | None,
    as_json: bool,
) -> int:
    """Send a prompt to URL, or to a bundled scenario's first target, and show the stream as it arrives.

    \b
    Example:
      streambench probe http://127.0.0.1:4010/v1/chat/completions --dialect openai-chat
      streambench probe http://127.0.0.1:8000/v1/chat/completions -d openai-chat --set target.extra.temperature=0
      streambench probe quickstart -n 3
      streambench probe https://chat.example/api/chat/stream -d chat-stream --encodings
    """
    from streambench.transport.aio.polls import run_polled

    scenario = _scenario(url, dialect, prompt, headers, bearer_env, upstream, overrides, timeout)
    if encodings and scenario.targets[0].spec.dialect.is_socket:
        raise click.UsageError("--encodings compares replies over HTTP; what comes on a socket has no content coding")
    work = _probe(scenario, count, encodings=encodings, wait_ns=wait, save=save, as_json=as_json)
    streams, interrupted = run_polled(work)
    return ExitCode.INTERRUPTED if interrupted else exit_code(streams, scenario.waivers)


def exit_code(streams: list[AnalysedStream], waivers: Sequence[Waiver] = ()) -> ExitCode:
    """5 where nothing could be connected to, 3 for a broken protocol, 1 for a failed stream.

    `waivers` are the rules that may be broken.
    """
    from streambench.analysis.target import UNREACHABLE_ERRORS
    from streambench.analysis.waivers import waiver_of

    codes = [ExitCode.PASSED]
    if all(stream.record.error in UNREACHABLE_ERRORS for stream in streams):
        codes.append(ExitCode.UNREACHABLE)
    for stream in streams:
        if any(waiver_of(waivers, stream.record.target, broken.rule) is None for broken in stream.violations):
            codes.append(ExitCode.CONFORMANCE)
        elif stream.record.error is not None:
            codes.append(ExitCode.PERFORMANCE)
    return ExitCode.worst(codes)


def _scenario(
    url: str,
    dialect: str | None,
    prompt: str | None,
    headers: tuple[str, ...],
    bearer_env: str | None,
    upstream: str | None,
    overrides: tuple[str, ...],
    timeout: int,
) -> Scenario:
    """A scenario of one target: that of a bundled name, or one made of the options."""
    from streambench.load.loading import bundled_scenarios, load_scenario, read_scenario
    from streambench.located import shown

    if "://" not in url:
        if url not in bundled_scenarios():
            raise ConfigurationError(
                f"{shown(url)} is neither a URL, which begins with http:// or ws://, nor a bundled scenario: "
                + ", ".join(bundled_scenarios()),
                text=url,
                suggestion=nearest(url, bundled_scenarios()),
            )
        ignored: dict[str, object] = {
            "--dialect": dialect,
            "--header": headers,
            "--bearer-env": bearer_env,
            "--upstream": upstream,
        }
        given = [name for name, value in ignored.items() if value]
        if given:
            raise click.UsageError(f"{given[0]} is for a URL; the scenario {url} sets this itself")
        said = () if prompt is None else (f"prompts.text={json.dumps(prompt)}",)
        return load_scenario(url, overrides=(*said, *overrides), environ=os.environ)
    if dialect is None:
        raise click.UsageError("name the protocol with --dialect; `streambench dialects` lists them")
    target: dict[str, Any] = {"dialect": dialect, "url": url.replace("${", "$ {")}
    pairs = dict(_header(text) for text in headers)
    if pairs:
        target["headers"] = pairs
    if bearer_env is not None and bearer_env not in os.environ:
        raise click.UsageError(f"--bearer-env {bearer_env}: this environment variable is not set")
    if bearer_env is not None:
        target["auth"] = {"bearer": f"${{{bearer_env}}}"}
    if upstream is not None:
        target["upstream"] = upstream
    document: dict[str, Any] = {"name": "probe", "target": target, "timeouts": {"total": f"{timeout / NS_PER_MS}ms"}}
    if prompt is not None:
        document["prompts"] = {"text": prompt}
    places = _places(overrides, dialect)
    # JSON is YAML: the loader's checks and errors are those of a scenario file.
    try:
        return read_scenario(json.dumps(document), "probe", overrides=places, environ=os.environ)
    except ConfigurationError as error:
        if error.path != "probe":
            raise
        reason = error.reason
        paths = [place.partition("=")[0].strip() for place in places]
        unknown = [path for path in paths if error.text is not None and path.split(".")[0] == error.text]
        if unknown:
            reason += f" A field of the request's body is set by --set target.extra.{unknown[0]}=VALUE."
        # There is no such file: a place in it would only mislead.
        raise ConfigurationError(reason, text=error.text, suggestion=error.suggestion) from None


def _places(overrides: Sequence[str], dialect: str) -> list[str]:
    """The overrides with whole paths: a variable of the dialect may be named alone, as in `model=gpt-4o`."""
    from streambench.dialects.loading import load_dialect

    variables = load_dialect(dialect).variables if overrides else ()
    return [
        f"target.variables.{override}" if override.partition("=")[0].strip() in variables else override
        for override in overrides
    ]


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.UsageError(f"--header {text!r}: write it as NAME:VALUE")
    return name.strip(), value.strip()


async def _probe(
    scenario: Scenario, count: int, *, encodings: bool, wait_ns: int, save: Path | None, as_json: bool
) -> tuple[list[AnalysedStream], bool]:
    """Stream one after the other; returns what was seen, and whether Ctrl-C ended it."""
    from streambench.analysis.metrics import Settings
    from streambench.analysis.stream import analyse
    from streambench.load.probe import open_probe
    from streambench.record.transcript import write_transcript

    def died(text: str) -> None:
        click.echo(scenario.secrets(f"streambench: {text}"), err=True)

    named = {target.name: target.spec.dialect.milestones for target in scenario.targets}
    settings = Settings(scenario.stall_after_ns, scenario.reading_wpm, named)
    streams: list[AnalysedStream] = []
    me = asyncio.current_task()
    assert me is not None
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, me.cancel)

    async def see(probed: Probed, plain: StreamRecord | None = None) -> None:
        try:
            await _watched(probed.work, probed.record, named[probed.record.target], live=not as_json)
        finally:
            told = "" if plain is None else _compared(probed.record, plain)
            streams.append(analyse(probed.record, settings))
            shown = json_text(probed.record.to_json()) if as_json else f"{_described(streams[-1], probed, named)}{told}"
            click.echo(scenario.secrets(shown), nl=as_json)
            if save is not None:
                path = _numbered(save, len(streams) - 1)
                write_transcript(path, probed.transcript, probed.recorder, scenario.secrets)

    try:
        async with open_probe(scenario, wait_ns=wait_ns, on_death=died) as begin:
            for number in range(count):
                plain = None
                if encodings:
                    without = begin(count + number, plain=True)
                    await see(without)
                    plain = without.record
                await see(begin(number), plain)
    except asyncio.CancelledError:
        return streams, True
    return streams, False


def _compared(asked: StreamRecord, plain: StreamRecord) -> str:
    """What asking for compression changes, which is also a finding of the stream; in words where it changes nothing."""
    from streambench.analysis.encodings import compare_encodings

    found = compare_encodings(asked, plain)
    if found is not None:
        asked.findings.append(found)
        return ""
    if asked.encoding is None:
        return "The reply is not compressed, even with a browser's Accept-Encoding.\n\n"
    return f"Compressed ({asked.encoding}), the reply flows as it does without compression.\n\n"


def _described(stream: AnalysedStream, probed: Probed, named: Mapping[str, Sequence[Milestone]]) -> str:
    from streambench.cli.stream_text import describe
    from streambench.load.fitting import fitting_dialects

    better = fitting_dialects(probed.record, probed.transcript) if stream.violations else []
    columns = shutil.get_terminal_size((100, 40)).columns
    return printable_lines(describe(stream, columns, better, named[stream.record.target]))


def _numbered(path: Path, number: int) -> Path:
    """`reply.jsonl` for the first stream, `reply-2.jsonl` for the second."""
    return path if number == 0 else path.with_stem(f"{path.stem}-{number + 1}")


async def _watched(work: Awaitable[None], record: StreamRecord, milestones: Sequence[Milestone], *, live: bool) -> None:
    """Await `work`, which fills `record`; on a terminal the waterfall grows meanwhile."""
    task = asyncio.ensure_future(work)
    try:
        if live and sys.stdout.isatty():
            from rich.live import Live
            from rich.text import Text

            with Live(auto_refresh=False, transient=True) as display:
                while not task.done():
                    await asyncio.wait({task}, timeout=REFRESH_S)
                    lines = waterfall(record, columns=display.console.width, milestones=milestones)
                    display.update(Text("\n".join(lines)), refresh=True)
        await task
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
