"""The `streambench` command, installed as a script or run as `python -m streambench`, from its first import on."""

import signal


def main() -> None:
    """Entry point: imports the command line, runs it, and exits with one of `ExitCode`."""
    # Until it can be answered, Ctrl-C ends the process as it ends any other, and not with a traceback out of an import.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from streambench.cli import main as run_and_exit
    from streambench.interrupts import end_at_once

    end_at_once()
    try:
        run_and_exit()
    finally:
        # All is said and written: from here on Ctrl-C would only meet Python on its way out.
        signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    main()
