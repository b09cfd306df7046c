"""Logs stream events to standard error on request: `DEBUG=chat:streaming`."""

from __future__ import annotations

import logging

TOPICS = {"chat:streaming": "mock_openai.chat.streaming"}
"""What can be asked for, and its logger."""

streaming = logging.getLogger(TOPICS["chat:streaming"])
"""Streams that begin and end, each of their events, clients that come and go, and what goes wrong."""


def turn_on(topics: str) -> None:
    """Tell of the topics in a list with commas; a `*` at the end stands for anything, and unknown ones are not ours."""
    for pattern in filter(None, (part.strip() for part in topics.split(","))):
        for topic, logger in TOPICS.items():
            if pattern == topic or (pattern.endswith("*") and topic.startswith(pattern[:-1])):
                logging.basicConfig(format="%(asctime)s %(message)s")
                logging.getLogger(logger).setLevel(logging.DEBUG)
