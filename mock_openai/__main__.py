"""`python -m mock_openai`: the fake upstream, and the reference chat server as its child."""

from mock_openai.cli import main

main()
