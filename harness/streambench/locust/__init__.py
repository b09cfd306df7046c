"""Runs from Locust's web UI, on one machine and on many: worker, master, live figures, and a user for locustfiles.

Only the master and `StreamChatUser` import Locust, which patches the standard library on import. The measuring
workers never do: they are the same asyncio processes as those of `run`, and speak Locust's worker protocol.
"""
