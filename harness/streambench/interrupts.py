"""What Ctrl-C does to a command: an event loop shuts down cleanly, everything else ends at once, saying what is kept.

Outside of event loops the signal's own handler ends the process. Raised as a KeyboardInterrupt it could meet a callback
of Python's own, such as that of a weak reference, where exceptions are printed and lost.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from streambench.errors import ExitCode

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

INTERRUPTS = {signal.SIGINT}

T = TypeVar("T")


def end_at_once() -> None:
    """From here on Ctrl-C ends the process, with the exit code of what is interrupted."""
    signal.signal(signal.SIGINT, lambda *_: _end("interrupted"))


@contextmanager
def ends_with(words: Callable[[], str]) -> Iterator[None]:
    """Meanwhile Ctrl-C ends the process with these words on standard error."""
    before = signal.signal(signal.SIGINT, lambda *_: _end(words()))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(words: str) -> NoReturn:
    processes = sys.modules.get("multiprocessing")
    for child in processes.active_children() if processes is not None else ():
        child.kill()
    with contextlib.suppress(OSError):
        os.write(2, f"{words}\n".encode())
    os._exit(ExitCode.INTERRUPTED)


def run_loop(work: Coroutine[Any, Any, T], loop_factory: Callable[[], AbstractEventLoop] | None = None) -> T:
    """As `asyncio.run`. Ctrl-C cancels the work unless it takes the signal itself.

    It waits until the loop is made or closed: in between it would leave half of one, and say so in a traceback.
    """
    from asyncio import Runner  # most commands need none

    mask = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Runner(loop_factory=loop_factory) as runner:
            return runner.run(_interruptible(work))
    finally:
        signal.signal(signal.SIGINT, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


async def _interruptible(work: Coroutine[Any, Any, T]) -> T:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTS)
    try:
        return await work
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
