"""The protocol layers on asyncio: stamped connections, and what waits and keeps time above them."""
