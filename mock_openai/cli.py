"""How the servers start from a command line, announce that they are ready, and end."""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from mock_openai.arguments import ArgumentParser, cannot_listen, port_number
from mock_openai.chat.options import add_options, as_arguments
from mock_openai.hosts import KnownHosts
from mock_openai.lifetime import stopped_or_orphaned
from mock_openai.upstream.app import DEFAULT_TOKENS, UpstreamSettings
from mock_openai.upstream.loop import new_event_loop
from mock_openai.upstream.profiles import DEFAULT_PROFILE, PROFILE_NAMES
from mock_openai.upstream.quotas import Limits
from mock_openai.upstream.service import MAX_BYTES_IN_FLIGHT
from mock_openai.upstream.serving import Alone
from mock_openai.upstream.text import STYLES
from mock_openai.upstream.traces import load_traces
from mock_openai.upstream.workers.crew import Crew
from mock_openai.upstream.workers.worker import hire

MOST_WORKERS = 64
MAX_WINDOW_S = 3600.0
NS_PER_S = 1_000_000_000
PR_SET_PDEATHSIG = 1


def parser() -> argparse.ArgumentParser:
    """The options of `python -m mock_openai`, and of a command that becomes it and says its own name."""
    prog = os.environ.get("MOCK_OPENAI_COMMAND", "python -m mock_openai")
    out = ArgumentParser(
        prog=prog,
        description="Start the fake OpenAI upstream and, unless --no-chat, the reference chat server.",
        epilog=f"Example: {prog} --profile openai-slow, then OPENAI_BASE_URL=http://127.0.0.1:4010/v1",
    )
    out.add_argument("--host", default="127.0.0.1", help="address to bind (default: %(default)s)")
    out.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="also accept this name in Host (repeatable; default: loopback names, or any if bound beyond loopback)",
    )
    out.add_argument(
        "--port", type=port_number, default=4010, help="the upstream's port; 0 picks a free one (default: %(default)s)"
    )
    out.add_argument(
        "--workers",
        type=_workers,
        default=1,
        metavar="N",
        help="processes that share the upstream's port, plans and journal (default: %(default)s)",
    )
    out.add_argument(
        "--json", action="store_true", help="print the URLs as one line of JSON, and exit when the parent process does"
    )
    out.add_argument(
        "--profile",
        default=DEFAULT_PROFILE,
        metavar="NAME|JSON",
        help=f"latency profile: {', '.join(PROFILE_NAMES)}, or an object with its parameters (default: %(default)s)",
    )
    out.add_argument("--seed", type=int, default=0, help="seed for texts and latencies (default: %(default)s)")
    out.add_argument("--tokens", type=int, default=DEFAULT_TOKENS, help="tokens in a reply (default: %(default)s)")
    out.add_argument("--style", choices=STYLES, default="plain", help="style of generated texts (default: %(default)s)")
    out.add_argument("--api-key", help="accept only this API key")
    out.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="NAME",
        help="also accept this model name; * accepts any (repeatable)",
    )
    out.add_argument("--admin-token", help="require this token on admin routes, which then also answer other machines")
    out.add_argument(
        "--max-memory",
        type=_count,
        default=MAX_BYTES_IN_FLIGHT >> 20,
        metavar="MIB",
        help="memory for unfinished replies; beyond it, clients that do not read are dropped (default: %(default)d)",
    )
    limits = out.add_argument_group("rate limits for each API key")
    limits.add_argument("--limit-requests", type=_count, metavar="N", help="requests allowed in each window")
    limits.add_argument("--limit-tokens", type=_count, metavar="N", help="tokens allowed in each window")
    limits.add_argument(
        "--limit-window", type=float, default=60.0, metavar="S", help="the window in seconds (default: %(default)g)"
    )
    traces = out.add_argument_group("traces")
    traces.add_argument("--traces", type=Path, metavar="DIR", help="recorded streams, for the profile `trace`")
    traces.add_argument(
        "--record", metavar="URL", help="forward every request to this service and record its replies in --traces"
    )
    chat = out.add_argument_group("reference chat server")
    chat.add_argument("--no-chat", action="store_true", help="start the upstream only")
    chat.add_argument(
        "--chat-port", type=port_number, default=4000, help="port of the chat server (default: %(default)s)"
    )
    add_options(chat)
    return out


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("a number of at least 1")
    return value


def _workers(text: str) -> int:
    value = _count(text)
    if value > MOST_WORKERS:
        raise argparse.ArgumentTypeError(f"a number of at most {MOST_WORKERS}")
    if value > 1 and not hasattr(os, "fork"):
        raise argparse.ArgumentTypeError("several workers need an operating system that can fork")
    return value


def main() -> None:
    """Entry point; exits 0 after SIGTERM or SIGINT, 1 when it cannot go on, 2 for wrong options."""
    options = parser().parse_args()
    _allow_many_connections()
    try:
        settings = _settings(options)
        front = _front(options, settings)
    except ValueError as error:
        parser().error(str(error))
    # Only those who answer requests have due writes that others may not hold up.
    with asyncio.Runner(loop_factory=new_event_loop if options.workers == 1 else None) as runner:
        sys.exit(runner.run(serve(options, front)))


class Front(Protocol):
    """The upstream, in one process or in several."""

    @property
    def pids(self) -> list[int]:
        """The workers that answer requests; none where this process does."""

    @property
    def broken(self) -> bool:
        """Nobody answers requests any more."""

    async def open(self, broken: Callable[[], None]) -> str:
        """Answer requests; returns the URL. `broken` is called when nobody does any more. Raises OSError."""

    async def close(self) -> None:
        """End all open requests, and say so in the journal."""


def _front(options: argparse.Namespace, settings: UpstreamSettings) -> Front:
    """The upstream as the options say; workers are forked here. Raises ValueError."""
    if options.workers == 1:
        return Alone(settings, options.host, options.port)
    return Crew(settings, options.host, options.port, hire(settings, options.workers))


def _settings(options: argparse.Namespace) -> UpstreamSettings:
    """What the options say. Raises ValueError."""
    if not 0 < options.limit_window <= MAX_WINDOW_S:
        raise ValueError(f"--limit-window is more than 0 and at most {MAX_WINDOW_S:g} seconds")
    if options.record is not None:
        if options.traces is None:
            raise ValueError("--record needs --traces DIR, where the replies are kept")
        if not options.record.startswith(("http://", "https://")):
            raise ValueError("--record is the http or https URL of a service, such as https://api.openai.com")
        if options.workers > 1:
            raise ValueError("--record works in one process: leave out --workers")
        options.traces.mkdir(parents=True, exist_ok=True)
    return UpstreamSettings(
        options.profile,
        options.seed,
        options.tokens,
        options.api_key,
        options.admin_token,
        Limits(options.limit_requests, options.limit_tokens, round(options.limit_window * NS_PER_S)),
        {} if options.traces is None else load_traces(options.traces),
        frozenset(options.model),
        options.record,
        options.traces,
        options.style,
        KnownHosts(options.host, options.allow_host),
        options.max_memory << 20,
    )


async def serve(options: argparse.Namespace, front: Front) -> int:
    """Run until a signal; returns the exit code."""
    parent = os.getppid()
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    try:
        url = await front.open(stop.set)
    except OSError as error:
        print(cannot_listen("fake upstream", options.host, options.port, "--port", error), file=sys.stderr)
        await front.close()
        return 1
    chat_url, child = None, None
    if not options.no_chat:
        child = await _start_chat(options, url)
        assert child.stdout is not None
        line = await child.stdout.readline()
        if not line:
            await front.close()
            return await child.wait() or 1  # it has said why
        chat_url = json.loads(line)["chat"]
    if options.json:
        ready = {"openai": url, "chat": chat_url, "pid": os.getpid(), "workers": front.pids}
        print(json.dumps(ready), flush=True)
    else:
        live = "" if chat_url is None else f"live page        {chat_url}/\n"
        print(f"fake upstream    {url}/v1\nchat server      {chat_url or 'off'}\n{live}Ctrl-C ends it.", flush=True)
    if options.json:
        await stopped_or_orphaned(stop, parent)
    else:
        await stop.wait()
    broken = front.broken
    if child is not None and child.returncode is None:
        child.terminate()
    await front.close()
    if child is not None:
        await child.wait()
    return 1 if broken else 0


async def _start_chat(options: argparse.Namespace, upstream: str) -> asyncio.subprocess.Process:
    arguments = ["--upstream", upstream, "--host", options.host, "--port", str(options.chat_port), "--json"]
    for name in options.allow_host:
        arguments += ["--allow-host", name]
    arguments += as_arguments(options)
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "mock_openai.chat",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ if options.api_key is None else {**os.environ, "OPENAI_API_KEY": options.api_key},
        process_group=0,  # Ctrl-C is for this process, which ends its child in order
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    )


def _die_with_parent() -> None:
    """Ask the kernel to end this process when its parent is gone, however that ended."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _allow_many_connections() -> None:
    """As many open connections as this user may have; the usual limit is 1,024."""
    if sys.platform != "win32":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
