"""A worker: a process that answers the requests of the connections that its parent hands to it."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NoReturn

from aiohttp import web

from mock_openai.upstream.app import SERVICE, UpstreamSettings, create_app, plans_of
from mock_openai.upstream.loop import PacedLoop, new_event_loop
from mock_openai.upstream.serving import keep_pauses_short, running
from mock_openai.upstream.workers.channel import Channel
from mock_openai.upstream.workers.remote import RemoteDesk, RemoteLedger

PR_SET_PDEATHSIG = 1
TOLD_S = 1.0
"""How long the last messages to the parent may take."""


@dataclass(frozen=True, slots=True)
class Hired:
    """A worker's process as its parent has it: messages go over `control`, connections over `handed`."""

    pid: int
    control: socket.socket
    handed: socket.socket


def hire(settings: UpstreamSettings, number: int) -> list[Hired]:
    """Fork so many workers, which share the memory for replies. Call it before there is any event loop or thread.

    Raises ValueError as `plans_of`.
    """
    plans_of(settings)  # what is wrong with them is found here, and not in each process
    settings = replace(settings, max_bytes_in_flight=settings.max_bytes_in_flight // number)
    parent = os.getpid()
    hired: list[Hired] = []
    for _ in range(number):
        control, theirs = socket.socketpair()
        handed, taken = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        pid = os.fork()
        if pid == 0:
            # The parent's ends of this pair and of the others': with them open here, nobody would see the parent end.
            for ours in (control, handed, *(end for other in hired for end in (other.control, other.handed))):
                ours.close()
            _work_and_exit(settings, theirs, taken, parent)
        theirs.close()
        taken.close()
        for ours in (control, handed):
            ours.setblocking(False)
        hired.append(Hired(pid, control, handed))
    return hired


def _work_and_exit(settings: UpstreamSettings, control: socket.socket, handed: socket.socket, parent: int) -> NoReturn:
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers in order
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                runner.run(_work(settings, control, handed))
            code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)  # what the parent has registered for its own end is not for this process


async def _work(settings: UpstreamSettings, control: socket.socket, handed: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    plans, ledger = plans_of(settings), RemoteLedger()
    app = create_app(settings, plans, ledger, RemoteDesk(ledger))
    service = app[SERVICE]
    runner = await running(app)
    channel = ledger.channel = Channel(
        {
            "put_plans": plans.put,
            "delete_plans": plans.delete,
            "tell_all": ledger.tell_all,
            "shut_down": service.shut_down,
            "end": ended.set,
        },
        ended.set,
    )
    await channel.open(control)
    connections = Connections(handed, runner, ended)
    if isinstance(loop, PacedLoop):
        loop.prefer(control)
    telling = loop.create_task(ledger.keep_telling())
    keep_pauses_short()
    channel.tell("ready")
    await ended.wait()
    telling.cancel()
    connections.close()
    service.shut_down()
    await runner.cleanup()
    channel.close()
    with suppress(TimeoutError):
        async with asyncio.timeout(TOLD_S):
            await channel.gone.wait()


class Connections:
    """Takes the connections that the parent hands over."""

    def __init__(self, handed: socket.socket, runner: web.AppRunner, ended: asyncio.Event) -> None:
        handed.setblocking(False)
        self._handed = handed
        self._runner = runner
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._loop.add_reader(handed, self._take)

    def _take(self) -> None:
        try:
            said, descriptors, _, _ = socket.recv_fds(self._handed, 1, 1)
        except BlockingIOError:
            return
        if not said:
            self._loop.remove_reader(self._handed)
            self._ended.set()
            return
        for descriptor in descriptors:
            connection = socket.socket(fileno=descriptor)
            connection.setblocking(False)
            opening = self._loop.create_task(self._open(connection))
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)

    async def _open(self, connection: socket.socket) -> None:
        server = self._runner.server
        assert server is not None
        with suppress(OSError):
            await self._loop.connect_accepted_socket(server, connection)

    def close(self) -> None:
        """Take no more."""
        self._loop.remove_reader(self._handed)
        self._handed.close()
