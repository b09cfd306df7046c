"""`python -m streambench` is the `streambench` command."""

from streambench.cli import main

main()
