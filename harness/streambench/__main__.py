"""`python -m streambench` is the `streambench` command."""

import signal

# Until it can be answered, Ctrl-C ends the process as it ends any other, and not with a traceback out of an import.
answer = signal.signal(signal.SIGINT, signal.SIG_DFL)

from streambench.cli import main  # noqa: E402

signal.signal(signal.SIGINT, answer)
main()
