"""Runs from Locust's web UI, on one machine and on many: worker, master, live figures, and a user for locustfiles.

Only the master and `StreamChatUser` import Locust, which patches the standard library on import. The measuring
workers never do: they are the same asyncio processes as those of `run`, and speak Locust's worker protocol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streambench.locust.user import Reply as Reply
    from streambench.locust.user import StreamChatUser as StreamChatUser
    from streambench.locust.user import StreamFailed as StreamFailed

_FOR_LOCUSTFILES = ("Reply", "StreamChatUser", "StreamFailed")


def __getattr__(name: str) -> Any:
    """What locustfiles import, and Locust with it, when it is asked for."""
    if name in _FOR_LOCUSTFILES:
        from streambench.locust import user

        return getattr(user, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
