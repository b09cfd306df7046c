"""`python -m mock_openai`: the fake upstream, and the reference chat server beside it."""

from __future__ import annotations

import os
import signal

if __name__ == "__main__":
    # Until the servers listen there is nothing to end in order, and a traceback of half an import helps nobody.
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: os._exit(0))

    from mock_openai.cli import main

    main()
