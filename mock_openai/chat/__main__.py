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
from mock_openai.chat.defects.catalogue import DEFECTS
from mock_openai.chat.limits import parse_rate
from mock_openai.chat.livekit import LiveKit
from mock_openai.chat.modes import MODES
from mock_openai.chat.retrieval import CLEARANCES
from mock_openai.chat.server import DEFAULT_MODE, ChatSettings
from mock_openai.chat.store import StoreError
from mock_openai.lifetime import stopped_or_orphaned

SHUTDOWN_S = 0.5  # what is still streaming then is cut off


def parser() -> argparse.ArgumentParser:
    """The options of `python -m mock_openai.chat`."""
    out = argparse.ArgumentParser(prog="python -m mock_openai.chat", description="Start the reference chat server.")
    out.add_argument(
        "--upstream",
        default=os.environ.get("OPENAI_BASE_URL"),
        help="base URL of the OpenAI service (default: OPENAI_BASE_URL)",
    )
    out.add_argument(
        "--gemini-upstream",
        metavar="URL",
        default=os.environ.get("GOOGLE_GEMINI_BASE_URL"),
        help="base URL of the Gemini service (default: GOOGLE_GEMINI_BASE_URL, or the OpenAI service's)",
    )
    out.add_argument("--host", default="127.0.0.1", help="address to bind (default: %(default)s)")
    out.add_argument("--port", type=int, default=4000, help="port, 0 for a free one (default: %(default)s)")
    out.add_argument(
        "--json", action="store_true", help="print the URL as one JSON line when ready; end with the parent"
    )
    out.add_argument("--streaming", choices=MODES, default=DEFAULT_MODE, help="streaming mode (default: %(default)s)")
    out.add_argument("--db", default=":memory:", help="SQLite file (default: %(default)s)")
    out.add_argument("--user", action="append", default=[], metavar="NAME:TOKEN", help="one more user (repeatable)")
    out.add_argument(
        "--clearance",
        action="append",
        default=[],
        metavar="NAME:LEVEL",
        help=f"what a user may read of stored documents: {', '.join(CLEARANCES)} (repeatable)",
    )
    out.add_argument("--rate-limit", metavar="N/UNIT", help="requests of one user, such as 5/s (default: no limit)")
    out.add_argument("--cors-origin", metavar="ORIGIN", help="pages that may use the server (default: its own)")
    out.add_argument(
        "--defect",
        action="append",
        default=[],
        choices=DEFECTS,
        metavar="NAME",
        help=f"be wrong in one way, to test a tester (repeatable): {', '.join(DEFECTS)}",
    )
    return out


def settings_of(options: argparse.Namespace) -> ChatSettings:
    """Raises ValueError with the remedy."""
    if not options.upstream:
        raise ValueError("say where the model is: --upstream URL, or OPENAI_BASE_URL")
    clearances = dict(parse_user(text) for text in options.clearance)
    for name, level in clearances.items():
        if level not in CLEARANCES:
            raise ValueError(f"clearance of {name}: {level!r} is not one of {', '.join(CLEARANCES)}")
    return ChatSettings(
        upstream=options.upstream.rstrip("/").removesuffix("/v1"),
        api_key=os.environ.get("OPENAI_API_KEY", "sk-mock"),
        gemini_upstream=options.gemini_upstream,
        gemini_api_key=os.environ.get("GEMINI_API_KEY", "mock"),
        streaming=options.streaming,
        db=options.db,
        users=dict(parse_user(text) for text in options.user),
        clearances=clearances,
        rate_limit_per_s=parse_rate(options.rate_limit) if options.rate_limit else None,
        cors_origin=options.cors_origin,
        livekit=LiveKit.from_environ(os.environ),
        defects=frozenset(options.defect),
    )


async def serve(options: argparse.Namespace) -> int:
    """Run until a signal, or with --json until the parent is gone; returns the exit code."""
    parent = os.getppid()
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    try:
        app = create_app(settings_of(options))
    except (ValueError, StoreError) as problem:
        print(f"mock_openai.chat: {problem}", file=sys.stderr)
        return 2
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_S)
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
    if options.json:
        await stopped_or_orphaned(stop, parent)
    else:
        await stop.wait()
    await runner.cleanup()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(serve(parser().parse_args())))
