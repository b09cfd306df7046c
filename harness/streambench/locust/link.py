"""A worker's connection to the master: a ZeroMQ DEALER on the asyncio loop."""

from __future__ import annotations

import zmq
import zmq.asyncio

from streambench.locust.protocol import MAX_FRAME_BYTES

KEEPALIVE_IDLE_S = 30
LINGER_MS = 2000  # for what was said last
WAITING_FRAMES = 10_000


class MasterLink:
    """Frames to and from one master. ZeroMQ connects, and connects again, by itself."""

    def __init__(self, host: str, port: int, client_id: str) -> None:
        self._address = f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
        self._client_id = client_id
        self._context = zmq.asyncio.Context()
        self._socket = self._open()

    def _open(self) -> zmq.asyncio.Socket:
        socket = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.IDENTITY, self._client_id.encode())
        socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
        socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, KEEPALIVE_IDLE_S)
        socket.setsockopt(zmq.IPV6, 1)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        socket.setsockopt(zmq.SNDHWM, WAITING_FRAMES)
        socket.setsockopt(zmq.LINGER, LINGER_MS)
        socket.connect(self._address)
        return socket

    async def send(self, frame: bytes) -> None:
        """Hand a frame to ZeroMQ; waits while the master takes none and too many are waiting."""
        await self._socket.send(frame)

    async def receive(self) -> bytes:
        """The next frame; a message of several parts is read as its last one."""
        parts = await self._socket.recv_multipart()
        return bytes(parts[-1])

    def reconnect(self) -> None:
        """Begin anew with a fresh connection."""
        self._socket.close(linger=0)
        self._socket = self._open()

    def close(self) -> None:
        """Close, once what was said last has been handed over or two seconds have passed."""
        self._socket.close()
        self._context.term()
