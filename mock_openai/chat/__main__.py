"""`python -m mock_openai.chat`: the reference chat server alone."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys

from aiohttp import web

from mock_openai.chat.app import create_app
from mock_openai.chat.auth import parse_user
from mock_openai.chat.modes import MODES
from mock_openai.chat.server import DEFAULT_MODE, ChatSettings

SHUTDOWN_S = 1.0


def parser() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser(prog="python -m mock_openai.chat", description="Start the reference chat server.")
    out.add_argument("--upstream", required=True, help="base URL of the OpenAI service, without /v1")
    out.add_argument("--host", default="127.0.0.1", help="address to bind (default: %(default)s)")
    out.add_argument("--port", type=int, default=4000, help="port, 0 for a free one (default: %(default)s)")
    out.add_argument("--json", action="store_true", help="print the URL as one JSON line when ready")
    out.add_argument("--streaming", choices=MODES, default=DEFAULT_MODE, help="streaming mode (default: %(default)s)")
    out.add_argument("--db", default=":memory:", help="SQLite file (default: %(default)s)")
    out.add_argument("--user", action="append", default=[], metavar="NAME:TOKEN", help="one more user (repeatable)")
    return out


async def serve(options: argparse.Namespace) -> int:
    """Run until a signal; returns the exit code."""
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    settings = ChatSettings(
        upstream=options.upstream,
        api_key=os.environ.get("OPENAI_API_KEY", "sk-mock"),
        streaming=options.streaming,
        db=options.db,
        users=dict(parse_user(text) for text in options.user),
    )
    runner = web.AppRunner(
        create_app(settings), access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_S
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, options.host, options.port, backlog=4096).start()
    except OSError as failure:
        print(f"mock_openai.chat: cannot listen on {options.host}:{options.port}: {failure.strerror}", file=sys.stderr)
        await runner.cleanup()
        return 1
    host, port = runner.addresses[0][:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    print(json.dumps({"chat": url, "pid": os.getpid()}) if options.json else f"chat server  {url}", flush=True)
    await stop.wait()
    await runner.cleanup()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(serve(parser().parse_args())))
