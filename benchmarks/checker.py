"""What the checker costs an event of `openai-chat`, and whether its memory grows with the stream.

Each event has another text: words, line ends, quotes, letters beyond ASCII. `judged` is the cost of an event that
repeats no other one, `whole` that of a reply as it comes, whose deltas are recognised (`dialects/shapes.py`).

    python benchmarks/checker.py                    # cost an event: framing, JSON, naming, grammar, schema, invariants
    python benchmarks/checker.py --memory 10000000  # one stream of ten million events: resident memory on the way

Figures are the best of several rounds, for a checker has no business being slowed down by its neighbours. Ratios to
`json.loads` of the same message are printed beside them, which travel better between machines than microseconds do.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from streambench.dialects import DialectStream, load_dialect
from streambench.wire.sse import SseDecoder

EVENTS_A_BLOCK = 200
AIM_US = 3.0
PAGE_BYTES = 4096


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    """One event as the API sends it."""
    data = {
        "id": "chatcmpl-CbXq4vVJ3nqOZ0hFkqkXbq1oW2u8L",
        "object": "chat.completion.chunk",
        "created": 1_763_000_000,
        "model": "gpt-4o-mini-2024-07-18",
        "service_tier": "default",
        "system_fingerprint": "fp_560af6e559",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        "usage": None,
        "obfuscation": "mVbQ4rTz",
    }
    return b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"


HEAD = chunk({"role": "assistant", "content": "", "refusal": None})
WORDS = (
    " word",
    " the",
    " and",
    ".\n\n",
    ' "quoted"',
    " na\u00efve",
    " \u4e2d\u6587",
    " more",
    ",",
    " longer-than-most-words",
)
DELTAS = [chunk({"content": word}) for word in WORDS]
BLOCK = b"".join(DELTAS * (EVENTS_A_BLOCK // len(DELTAS)))


def blocks(events: int) -> Iterator[bytes]:
    """A stream of about `events` events, in reads of many events each; it never ends."""
    yield HEAD
    for _ in range(events // EVENTS_A_BLOCK):
        yield BLOCK


def check(events: int) -> int:
    """Runs the whole checker; returns the number of findings, which is 0 for a valid stream."""
    decoder, stream = SseDecoder(), DialectStream(load_dialect("openai-chat"))
    take = stream.take
    return sum(len(take(message).findings) for block in blocks(events) for message in decoder.feed(block))


def judge(events: int) -> int:
    """The same, each event judged in full."""
    decoder, stream = SseDecoder(), DialectStream(load_dialect("openai-chat"))
    feed = stream.feed
    return sum(len(feed(message).findings) for block in blocks(events) for message in decoder.feed(block))


def decode(events: int) -> int:
    """The framing alone."""
    decoder = SseDecoder()
    return sum(len(decoder.feed(block)) for block in blocks(events)) and 0


def parse(events: int) -> int:
    """`json.loads` alone, of the same data."""
    texts = [delta[6:-2].decode() for delta in DELTAS]
    for _ in range(events // len(texts)):
        for text in texts:
            json.loads(text)
    return 0


def best_us(works: Sequence[Callable[[int], int]], events: int, rounds: int) -> list[float]:
    """Microseconds an event, each in its best round; the rounds take turns, so that all meet the same neighbours."""
    best = [float("inf")] * len(works)
    for _ in range(rounds):
        for n, work in enumerate(works):
            start = time.process_time_ns()
            assert work(events) == 0
            best[n] = min(best[n], (time.process_time_ns() - start) / events / 1000)
    return best


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


def measure_cost(events: int, rounds: int) -> int:
    whole, judged, framing, loads = best_us((check, judge, decode, parse), events, rounds)
    size = len(BLOCK) // EVENTS_A_BLOCK
    print(f"openai-chat, {size} bytes an event, Python {platform.python_version()}, {platform.machine()}")
    print(f"  {'':<34}{'us/event':>10}{'x json.loads':>14}")
    for name, cost in (
        ("framing", framing),
        ("whole check", whole),
        ("each event judged in full", judged),
        ("json.loads", loads),
    ):
        print(f"  {name:<34}{cost:>10.2f}{cost / loads:>14.2f}")
    verdict = "reached" if whole < AIM_US else "missed"
    print(f"  aim: under {AIM_US:g} us an event: {verdict}; {1e6 / whole:,.0f} events/s on one core")
    return 0 if whole < AIM_US else 1


def measure_memory(events: int) -> int:
    decoder, stream = SseDecoder(), DialectStream(load_dialect("openai-chat"))
    feed, take = decoder.feed, stream.take
    for message in feed(HEAD):
        take(message)
    step = max(events // 10, EVENTS_A_BLOCK)
    print(f"  {'events':>12}{'resident MiB':>14}")
    sizes = []
    for done in range(0, events, step):
        for _ in range(step // EVENTS_A_BLOCK):
            for message in feed(BLOCK):
                take(message)
        sizes.append(resident_bytes())
        print(f"  {done + step:>12,}{sizes[-1] / 2**20:>14.1f}", flush=True)
    growth = (sizes[-1] - sizes[0]) / 2**20
    print(f"  growth after the first tenth: {growth:.2f} MiB")
    return 0 if growth < 1 else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=4_000, help="events a round")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--memory", type=int, metavar="EVENTS", help="one long stream instead, with its memory")
    options = parser.parse_args()
    if options.memory:
        return measure_memory(options.memory)
    return measure_cost(options.events, options.rounds)


if __name__ == "__main__":
    sys.exit(main())
