"""`python -m mock_openai.chat`: the reference chat server alone."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys

from aiohttp import web

from mock_openai.arguments import ArgumentParser, cannot_listen, port_number
from mock_openai.chat.app import create_app
from mock_openai.chat.debug import turn_on
from mock_openai.chat.options import add_options, settings_of
from mock_openai.chat.store import StoreError
from mock_openai.lifetime import stopped_or_orphaned

IDLE_S = 60.0  # a connection without a whole request is closed then
SHUTDOWN_S = 0.5  # what is still streaming then is cut off


def parser() -> argparse.ArgumentParser:
    """The options of `python -m mock_openai.chat`."""
    out = ArgumentParser(prog="python -m mock_openai.chat", description="Start the reference chat server.")
    out.add_argument(
        "--upstream",
        default=os.environ.get("OPENAI_BASE_URL"),
        help="base URL of the OpenAI service (default: $OPENAI_BASE_URL)",
    )
    out.add_argument(
        "--gemini-upstream",
        metavar="URL",
        default=os.environ.get("GOOGLE_GEMINI_BASE_URL"),
        help="base URL of the Gemini service (default: $GOOGLE_GEMINI_BASE_URL, or that of the OpenAI service)",
    )
    out.add_argument("--host", default="127.0.0.1", help="address to bind (default: %(default)s)")
    out.add_argument(
        "--port",
        type=port_number,
        default=os.environ.get("PORT", "4000"),
        help="port; 0 picks a free one (default: $PORT, or 4000)",
    )
    out.add_argument(
        "--json",
        action="store_true",
        help="print the URL as one line of JSON when ready, and exit when the parent process does",
    )
    out.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="also accept this name in Host (repeatable; default: loopback names, or any if bound beyond loopback)",
    )
    add_options(out)
    return out


async def serve(options: argparse.Namespace) -> int:
    """Run until a signal, or with --json until the parent is gone; returns the exit code."""
    parent = os.getppid()
    turn_on(options.debug)
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    try:
        app = create_app(settings_of(options, os.environ))
    except (ValueError, StoreError) as problem:
        print(f"chat server: {problem}", file=sys.stderr)
        return 2
    runner = web.AppRunner(
        app, access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_S, keepalive_timeout=IDLE_S
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, options.host, options.port, backlog=4096).start()
    except OSError as failure:
        print(cannot_listen("chat server", options.host, options.port, "--chat-port", failure), file=sys.stderr)
        await runner.cleanup()
        return 1
    host, port = runner.addresses[0][:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    print(json.dumps({"chat": url, "pid": os.getpid()}) if options.json else f"chat server  {url}", flush=True)
    if options.json:
        await stopped_or_orphaned(stop, parent)
    else:
        await stop.wait()
    await runner.cleanup()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(serve(parser().parse_args())))
