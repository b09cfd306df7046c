"""When bytes arrived and when they left: the kernel's stamps, on our clock.

Linux stamps a segment when it arrives (`SO_TIMESTAMPNS`) and hands the stamp over with `recvmsg`. The stamp is of
CLOCK_REALTIME; the offset to CLOCK_MONOTONIC is sampled again and again, since the real-time clock is slewed and may
be stepped. Around a step no offset is right, so such reads fall back to the user stamp.

It stamps what leaves too, where a write asks for it: whoever is woken by our request may take the CPU from us before
the call has returned, and is at work on the answer by then.
"""

from __future__ import annotations

import functools
import socket
import struct
import sys
import time

from streambench.units import NS_PER_S

SO_TIMESTAMPNS = 35  # asm-generic/socket.h; the socket module does not name it
SCM_TIMESTAMPNS = SO_TIMESTAMPNS
SO_TIMESTAMPING = 37
MSG_ERRQUEUE = getattr(socket, "MSG_ERRQUEUE", 0)
# With a write: stamp it when the device driver gets it (linux/net_tstamp.h, SOF_TIMESTAMPING_TX_SOFTWARE).
STAMP_WRITE = [(socket.SOL_SOCKET, SO_TIMESTAMPING, struct.pack("=I", 1 << 1))]
ANCILLARY_BYTES = socket.CMSG_SPACE(16) if hasattr(socket, "CMSG_SPACE") else 0
ERROR_ANCILLARY_BYTES = 8 * ANCILLARY_BYTES
RESAMPLE_NS = 100_000_000
STEP_NS = 1_000_000
_SOL_SOCKET = int(socket.SOL_SOCKET)
_TIMESPEC = struct.Struct("@qq")
_TIMESPEC_BYTES = _TIMESPEC.size
_timespec = _TIMESPEC.unpack_from


def enable_kernel_stamps(sock: socket.socket) -> bool:
    """Ask the kernel to stamp what arrives on `sock`; False where it does not offer that."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    except OSError:
        return False
    return True


@functools.cache
def keep_stamping() -> socket.socket | None:
    """Have the kernel stamp for as long as the process lives.

    It stamps what arrives only while some socket has asked for it, and begins and ends that with a delay, so that the
    first packets of a connection could come without a stamp. A socket that is never closed spares them that.
    """
    keeper = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    if enable_kernel_stamps(keeper):
        return keeper
    keeper.close()
    return None


def write_stamp_ns(sock: socket.socket) -> int | None:
    """The CLOCK_REALTIME stamp of the newest write that asked for one and has left, or None; each is told once.

    It comes by the socket's error queue, and as a receive stamp, since that is what the socket was asked for.
    """
    newest_ns = None
    while True:
        try:
            _, ancillary, _, _ = sock.recvmsg(0, ERROR_ANCILLARY_BYTES, MSG_ERRQUEUE)
        except OSError:
            return newest_ns
        newest_ns = kernel_stamp_ns(ancillary)


class RealtimeOffset:
    """CLOCK_REALTIME minus CLOCK_MONOTONIC, kept fresh. `steps` counts the jumps of the real-time clock."""

    __slots__ = ("_offset_ns", "_sampled_ns", "steps")

    def __init__(self) -> None:
        self.steps = 0
        self._sampled_ns = time.monotonic_ns()
        self._offset_ns = _sample_offset_ns()

    def arrival_ns(self, ancillary: list[tuple[int, int, bytes]], now_ns: int) -> int | None:
        """When what `recvmsg` brought arrived, by its ancillary data; None where that does not say."""
        realtime_ns = kernel_stamp_ns(ancillary)
        return None if realtime_ns is None else self.to_monotonic(realtime_ns, now_ns)

    def to_monotonic(self, realtime_ns: int, now_ns: int) -> int | None:
        """The moment of a kernel stamp on the monotonic clock; None where a clock step makes it unknowable.

        `now_ns` is the moment after the read: an arrival cannot be later.
        """
        if now_ns - self._sampled_ns > RESAMPLE_NS:
            fresh_ns = _sample_offset_ns()
            stepped = abs(fresh_ns - self._offset_ns) > STEP_NS
            self._offset_ns = fresh_ns
            self._sampled_ns = now_ns
            if stepped:
                self.steps += 1
                return None
        at_ns = realtime_ns - self._offset_ns
        if at_ns <= now_ns:
            return at_ns
        return now_ns if at_ns - now_ns < STEP_NS else None


def _sample_offset_ns() -> int:
    """The tightest of three readings of both clocks."""
    best: tuple[int, int] | None = None
    for _ in range(3):
        before_ns = time.monotonic_ns()
        realtime_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
        after_ns = time.monotonic_ns()
        sample = (after_ns - before_ns, realtime_ns - (before_ns + after_ns) // 2)
        best = sample if best is None or sample < best else best
    assert best is not None
    return best[1]


def kernel_stamp_ns(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    """The CLOCK_REALTIME stamp in `recvmsg`'s ancillary data, or None."""
    for level, kind, data in ancillary:
        if kind == SCM_TIMESTAMPNS and level == _SOL_SOCKET and len(data) >= _TIMESPEC_BYTES:
            seconds: int
            nanoseconds: int
            seconds, nanoseconds = _timespec(data)
            return seconds * NS_PER_S + nanoseconds
    return None
