"""What carries a stream: connections and the protocols on them, which know nothing of its meaning.

Everything that comes is told as an arrival (`arrivals`), with its stamp. The protocol layers are sans-I/O: bytes in,
arrivals and bytes to send out, without an event loop, a future or a timer. `aio` puts them on asyncio.
"""
