"""The messages between streambench's workers and its master, in addition to Locust's own.

A worker says `HELLO` before it reports as ready, and the master answers `WELCOME` or `REFUSED`; so a worker that
Locust counts is one that can measure. `CLOCK` relates the worker's clock to the master's. Finished streams travel as
`RECORDS`, the very lines of the records file, and `END` closes a worker's part of a run.
"""

from __future__ import annotations

HELLO = "streambench_hello"  # worker -> master: {version, scenario, host, boot_id}
WELCOME = "streambench_welcome"  # master -> worker: {urls: {name: base URL}, name}
REFUSED = "streambench_refused"  # master -> worker: {reason}
CLOCK = "streambench_clock"  # worker -> master: {asked_ns}; back: {asked_ns, now_ns, boot_id}
RECORDS = "streambench_records"  # worker -> master: {run, count, lines: bytes}
END = "streambench_end"  # worker -> master: {run, count, facts}

# In the options of a spawn order, and in a worker's stats: {run, phase} and {run, targets, generator}.
OURS = "streambench"
