"""Child processes of streambench: started with their instructions on standard input, and shut down cleanly."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any

CHILD_TIMEOUT_S = 5.0
MAX_LINE_BYTES = 64 << 20


async def start_child(module: str, settings: Mapping[str, Any]) -> asyncio.subprocess.Process:
    """A process of ours, which reads its settings from its standard input."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # what lies in the working directory is no part of it
        "-m",
        module,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=MAX_LINE_BYTES,
        process_group=0,  # Ctrl-C is for us: the others end in order
    )
    assert child.stdin is not None
    child.stdin.write(json.dumps(settings).encode() + b"\n")
    await child.stdin.drain()
    return child


async def end_child(child: asyncio.subprocess.Process) -> None:
    """Let a child end by itself, for it sees that we leave; one that does not is killed."""
    if child.stdin is not None:
        child.stdin.close()
    try:
        async with asyncio.timeout(CHILD_TIMEOUT_S):
            await child.wait()
    except TimeoutError:
        child.kill()
        await child.wait()
