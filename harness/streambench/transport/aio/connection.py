"""The stamped connection: a raw non-blocking socket under asyncio's reader callbacks.

It knows nothing of any protocol. What arrives goes to a `Layer` with the moment at which it arrived, by way of the
backlog: all sockets that are ready are read before anything is decoded. No coroutine is woken for a chunk. That is both
the exactness (the stamp cannot be late) and the speed (no task switch a read).
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any, Protocol

from streambench.clock import monotonic_ns
from streambench.transport.aio.backlog import (
    FAIR_LINE_BYTES,
    MAX_READ_BYTES,
    Deliver,
    DeliverTogether,
    backlog_of,
)
from streambench.transport.aio.polls import PolledLoop, Polls
from streambench.transport.aio.readers import Reading
from streambench.transport.arrivals import Reads, Usual
from streambench.transport.segments import SegmentCount
from streambench.transport.stamps import (
    ANCILLARY_BYTES,
    STAMP_WRITE,
    RealtimeOffset,
    enable_kernel_stamps,
    keep_stamping,
    write_stamp_ns,
)
from streambench.transport.target import Stamps

READS_A_TURN = 16
EXACT_NS = 50_000  # what came within it has one stamp
SLEW_NS = 100_000  # a stamp on our clock may be off by a part of it

# One buffer for all: a read that allocates its own spends more on that than on reading.
_VIEW = memoryview(bytearray(MAX_READ_BYTES))
_BUFFERS = {1 << power: (_VIEW[: 1 << power],) for power in range(MAX_READ_BYTES.bit_length())}

_realtime = RealtimeOffset()


Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int] | tuple[str, int, int, int]]


def _literal(host: str, port: int) -> list[Address]:
    """The address of a host that is one already: the resolver, and the thread it works in, would cost milliseconds."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]
    return []


async def _connected(sock: socket.socket, address: Any) -> int:
    """Connect, and say by how many ns we may have noticed it late. Raises OSError."""
    try:
        sock.connect(address)
    except BlockingIOError:
        pass
    else:
        return 0
    loop = asyncio.get_running_loop()
    begun_ns = monotonic_ns()
    writable: asyncio.Future[int] = loop.create_future()

    def notice() -> None:
        loop.remove_writer(sock.fileno())
        if not writable.done():
            writable.set_result(max(begun_ns, loop.polls.empty_ns) if isinstance(loop, PolledLoop) else begun_ns)

    loop.add_writer(sock.fileno(), notice)
    try:
        waiting_ns = await writable
    finally:
        loop.remove_writer(sock.fileno())
    error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise OSError(error, os.strerror(error))
    return monotonic_ns() - waiting_ns


class Layer(Protocol):
    """Who takes what a connection brings."""

    def received(self, data: bytes, at_ns: int, *, kernel: bool, early_ns: int) -> None:
        """Bytes that arrived at `at_ns`; `kernel` says who stamped them, `early_ns` is that of `Read`."""
        ...

    def closed(self, at_ns: int, *, reset: bool) -> None:
        """The peer has closed the connection, or reset it. Called once; nothing is received after it."""
        ...


class Channel(Protocol):
    """What a layer writes to: a stamped connection, with TLS on it or without.

    `own_ns`: how much of connecting was our own doing.
    """

    layer: Layer
    own_ns: int

    @property
    def open(self) -> bool:
        """Whether anything can still be sent or come."""
        ...

    @property
    def unsent_bytes(self) -> int:
        """What the kernel has not taken yet; it grows where the peer does not read."""
        ...

    def write(self, data: bytes) -> None:
        """Send `data`, in order, without waiting."""
        ...

    def send(self, data: bytes) -> int:
        """As `write`; returns by when `data` had left, as far as the kernel took it."""
        ...

    async def flushed(self) -> bool:
        """Return when everything written is with the kernel; says whether that had to be waited for."""
        ...

    def settle(self) -> None:
        """Hand what was read until now to the layer, before something is decided that depends on it."""
        ...

    def first(self, deliver: Deliver, data: bytes, at_ns: int, kernel: bool, early_ns: int) -> None:
        """Have the rest of what is being delivered delivered so, before anything that was read after it."""
        ...

    def gather(self, usual: Usual | None, deliver: DeliverTogether) -> None:
        """Reads that look so may wait for the next ones from now on, and go to `deliver` together; None: no longer.

        A channel may deliver each by itself as ever.
        """
        ...

    def pause(self) -> None:
        """Read nothing more until `resume`."""
        ...

    def resume(self) -> None:
        """Read again."""
        ...

    def close(self) -> None:
        """Close at once; the layer is not told, since it was our doing."""
        ...


class Silent:
    """The layer of a connection on which nothing is expected yet."""

    def received(self, data: bytes, at_ns: int, *, kernel: bool, early_ns: int) -> None:
        """Dropped."""

    def closed(self, at_ns: int, *, reset: bool) -> None:
        """Told to nobody: the next user of the connection finds it closed."""


class StampedConnection:
    """An open connection. `layer` may be replaced between two streams."""

    def __init__(self, sock: socket.socket, layer: Layer, stamps: Stamps) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self.layer = layer
        self.own_ns = 0
        self._kernel = self._stamps_writes = stamps != "user" and enable_kernel_stamps(sock)
        self._stamp_due = False  # a write's stamp has not come: when it does, the socket looks ready
        self._line = backlog_of(self._loop).line()
        self._polls: Polls | None = self._loop.polls if isinstance(self._loop, PolledLoop) else None
        self._reading: Reading = self._loop.reading if isinstance(self._loop, PolledLoop) else self._loop
        self._segments = SegmentCount(sock)
        self._empty_ns = monotonic_ns()  # when the socket was empty for the last time, as far as a read has shown it
        self._drained = True  # the newest read has emptied it
        self._held = False  # nothing is to be read until `resume`
        self._stopped = False  # nothing is read until less waits
        self._told = True  # the layer still hears of what comes
        self._gathers: DeliverTogether | None = None
        self._unsent = bytearray()
        self._flushed: asyncio.Future[None] | None = None
        self.open = True
        self._reading.add_reader(sock.fileno(), self._read)

    @classmethod
    async def connect(cls, host: str, port: int, layer: Layer, stamps: Stamps) -> StampedConnection:
        """Connect over TCP, trying each address of the host. Raises OSError."""
        if stamps != "user":
            keep_stamping()
        loop = asyncio.get_running_loop()
        addresses = _literal(host, port) or await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        failure: OSError | None = None
        for family, kind, protocol, _, address in addresses:
            sock = socket.socket(family, kind, protocol)
            try:
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                own_ns = await _connected(sock, address)
            except OSError as error:
                sock.close()
                failure = failure or error
            except BaseException:
                sock.close()
                raise
            else:
                connection = cls(sock, layer, stamps)
                connection.own_ns = own_ns
                return connection
        raise failure or OSError(f"{host} has no address")

    def write(self, data: bytes) -> None:
        """Send `data`, now as far as the kernel takes it and the rest when it can; order is kept."""
        if not self.open or not data:
            return
        if not self._unsent:
            try:
                sent = self._sock.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                self._lost(reset=True)
                return
            if sent == len(data):
                return
            data = data[sent:]
            self._loop.add_writer(self._sock.fileno(), self._write_rest)
        self._unsent += data

    def send(self, data: bytes) -> int:
        """As `write`; returns by when `data` had left: the kernel's stamp, or else the moment after the call."""
        if self._stamps_writes and self.open and data and not self._unsent:
            began_ns = monotonic_ns()
            try:
                data = data[self._sock.sendmsg((data,), STAMP_WRITE) :]
            except (BlockingIOError, InterruptedError):
                pass
            except OSError:
                self._stamps_writes = False  # not on this system; or the connection is lost, which `write` will find
            else:
                self._stamp_due = True
                left_ns = self._left_ns()
                if not data and left_ns is not None and left_ns > began_ns - SLEW_NS:  # else it is of an older one
                    return max(began_ns, left_ns)
        self.write(data)
        return monotonic_ns()

    def _left_ns(self) -> int | None:
        """When the newest write left; None where that is not known, or not yet."""
        realtime_ns = write_stamp_ns(self._sock)
        if realtime_ns is None:
            return None
        self._stamp_due = False
        return _realtime.to_monotonic(realtime_ns, monotonic_ns())

    @property
    def unsent_bytes(self) -> int:
        """What the kernel has not taken yet; it grows where the peer does not read."""
        return len(self._unsent)

    async def flushed(self) -> bool:
        """Return when everything written has been handed to the kernel, or the connection is gone.

        Says whether that had to be waited for.
        """
        waited = False
        while self._unsent and self.open:
            waited = True
            self._flushed = self._loop.create_future()
            await self._flushed
        return waited

    def settle(self) -> None:
        """Hand what was read until now to the layer."""
        self._line.settle()

    def first(self, deliver: Deliver, data: bytes, at_ns: int, kernel: bool, early_ns: int) -> None:
        """Have the rest of what is being delivered delivered so, before anything that was read after it."""
        self._line.add_first(deliver, data, at_ns, kernel, early_ns)

    def gather(self, usual: Usual | None, deliver: DeliverTogether) -> None:
        """Reads that look so may wait for the next ones from now on, and go to `deliver` together; None: no longer."""
        self._gathers = deliver
        self._line.gather(usual, self._deliver_together)

    def pause(self) -> None:
        """Read nothing more until `resume`: the peer meets a client that does not read."""
        self._held = True
        self._stop_reading()

    def resume(self) -> None:
        """Read again."""
        self._held = False
        self._read_on()

    def close(self) -> None:
        """Close at once; the layer is not told, since it was our doing."""
        self._told = False
        self._shut()

    def _shut(self) -> None:
        if self.open:
            self.open = False
            self._reading.remove_reader(self._sock.fileno())
            self._loop.remove_writer(self._sock.fileno())
            self._sock.close()
            self._wake_flushed()

    def _stop_reading(self) -> None:
        if self.open:
            self._drained = False  # polls say nothing of it
            self._reading.remove_reader(self._sock.fileno())

    def _read_on(self) -> None:
        if self.open and not self._held and not self._stopped:
            self._reading.add_reader(self._sock.fileno(), self._read)

    def _read(self) -> None:
        line = self._line
        wanted = line.read_bytes
        buffers = _BUFFERS[wanted]
        for _ in range(READS_A_TURN):
            if line.waiting_bytes > FAIR_LINE_BYTES and line.full:
                self._stopped = True
                self._stop_reading()
                return
            try:
                size, ancillary, _, _ = self._sock.recvmsg_into(buffers, ANCILLARY_BYTES)
                at_ns = read_ns = monotonic_ns()
            except (BlockingIOError, InterruptedError):
                if self._stamp_due:
                    self._left_ns()
                return
            except OSError:
                self._lost(reset=True)
                return
            if not size:
                self._lost(reset=False)
                return
            kernel = False
            if ancillary and self._kernel:
                arrived_ns = _realtime.arrival_ns(ancillary, at_ns)
                if arrived_ns is not None:
                    at_ns, kernel = arrived_ns, True
            line.add_read(self._deliver, _VIEW[:size].tobytes(), at_ns, kernel, self._early_ns(size, at_ns, kernel))
            self._drained = size < wanted
            if self._drained:
                self._empty_ns = read_ns
                return

    def _early_ns(self, size: int, at_ns: int, kernel: bool) -> int:
        """By how much the first bytes of a read may have come before its stamp; 0 where they have not."""
        empty_ns = self._empty_ns
        if self._drained and self._polls is not None and self._polls.empty_ns > empty_ns:
            empty_ns = self._empty_ns = self._polls.empty_ns
        early_ns = at_ns - empty_ns
        if early_ns <= EXACT_NS:
            self._segments.one(size)
            return 0
        several = self._segments.several(size)
        return early_ns if several or not kernel or not self._drained else 0

    def _deliver_together(self, reads: Reads) -> bool:
        self._notice_room()
        return not self._told or (self._gathers is not None and self._gathers(reads))

    def _notice_room(self) -> None:
        if self._stopped and not self._line.full:
            self._stopped = False
            self._read_on()

    def _deliver(self, data: bytes, at_ns: int, kernel: bool, early_ns: int) -> None:
        self._notice_room()
        if self._told:
            self.layer.received(data, at_ns, kernel=kernel, early_ns=early_ns)

    def _deliver_end(self, _: bytes, at_ns: int, reset: bool, __: int) -> None:
        if self._told:
            self._told = False
            self.layer.closed(at_ns, reset=reset)

    def _write_rest(self) -> None:
        try:
            sent = self._sock.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            if self._stamp_due:
                self._left_ns()
            return
        except OSError:
            self._lost(reset=True)
            return
        del self._unsent[:sent]
        if not self._unsent:
            self._loop.remove_writer(self._sock.fileno())
            self._wake_flushed()

    def _wake_flushed(self) -> None:
        if self._flushed is not None and not self._flushed.done():
            self._flushed.set_result(None)

    def _lost(self, *, reset: bool) -> None:
        """Nothing more will come. The layer hears of it behind what came before."""
        self._shut()
        self._line.add(self._deliver_end, b"", monotonic_ns(), reset)
