"""The two ways to close a client's connection in the middle of something."""

from __future__ import annotations

import asyncio
import socket
import struct


def reset(transport: asyncio.Transport) -> None:
    """Close the connection with RST: what is still buffered is thrown away."""
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def finish(transport: asyncio.Transport) -> None:
    """Close our side with FIN after everything buffered is out; the client reads an end of file."""
    if transport.is_closing():
        return
    # shutdown() rather than close(): closing with unread bytes of the client in the buffer would send RST instead.
    transport.write_eof()
