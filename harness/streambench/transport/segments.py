"""How many TCP segments a read brought: whether its server wrote what came together, or we were late.

A read carries the stamp of its last segment. Where it is one segment, that stamp belongs to all of it: the server, or
its kernel, has joined what is in it. Where there are several, the first may have been here for a while. Linux counts a
connection's segments (`tcpi_data_segs_in` of `TCP_INFO`); asking costs about as much as half a read.
"""

from __future__ import annotations

import socket
import struct
import sys

from streambench.units import NS_PER_US

# linux/tcp.h: tcpi_bytes_received at 128, tcpi_data_segs_in at 152.
_COUNTERS = struct.Struct("=Q16xI")
_COUNTERS_AT = 128
_SIZE = _COUNTERS_AT + _COUNTERS.size
_RTT = struct.Struct("=I")  # tcpi_rtt, in µs
_RTT_AT = 68


def round_trip_ns(sock: socket.socket) -> int:
    """The time that a connection's peer takes to acknowledge, as the kernel has measured it; 0 where it does not say.

    Right after connecting it is that of the handshake, and nothing of it is ours.
    """
    if not sys.platform.startswith("linux"):
        return 0
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
        (rtt_us,) = _RTT.unpack_from(info, _RTT_AT)
    except (OSError, struct.error):
        return 0
    return int(rtt_us) * NS_PER_US


class SegmentCount:
    """Counts the segments of one connection, read by read. Elsewhere than on Linux, every read may have several.

    A read that is too small for two segments of the smallest kind seen so far is not asked about. So a segment that is
    smaller than any that ever came alone goes unnoticed, together with another one.
    """

    __slots__ = ("_bytes", "_counted", "_smallest", "_sock")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock if sys.platform.startswith("linux") else None
        self._bytes = 0
        self._counted = 0  # those of the reads until now, as far as is known
        self._smallest = 0  # bytes of the smallest read that was one segment

    def one(self, size: int) -> None:
        """A read of `size` bytes came, and how many segments it had does not matter."""
        self._bytes += size
        self._counted += 1

    def several(self, size: int) -> bool:
        """Whether the read of `size` bytes that just ended may have brought more than one segment."""
        self._bytes += size
        if self._smallest <= size < 2 * self._smallest:
            self._counted += 1
            return False
        if self._sock is None:
            return True
        try:
            counters = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
            received, segments = _COUNTERS.unpack_from(counters, _COUNTERS_AT)
        except (OSError, struct.error):  # no TCP, or an old kernel
            self._sock = None
            return True
        segments -= received > self._bytes + 1  # one came since; an end counts as a byte
        new, self._counted = segments - self._counted, segments
        if new > 1:
            return True
        if not self._smallest or size < self._smallest:
            self._smallest = size
        return False
