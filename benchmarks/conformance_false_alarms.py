"""How often the conformance suite is wrong about a correct server: many runs on the reference chat server.

`python benchmarks/conformance_false_alarms.py --runs 10` puts each of the five systems through the suite ten times and
prints every case that did not hold; `--system` chooses one, `--side-by-side N` asks N of them at a time, which need not
wait for each other, `--busy N` burns N cores beside it. Exit code 1 where there was any alarm. A case that says that
the machine was too busy is no alarm.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import multiprocessing
import sys
from collections import Counter

from tools.conformance import SYSTEMS, fake_upstream, false_alarms


def burn() -> None:
    """Keep a core busy."""
    while True:
        pass


async def measure(systems: list[str], runs: int, side_by_side: int) -> Counter[str]:
    """Run the suites; the alarms, counted."""
    alarms: Counter[str] = Counter()
    room = asyncio.Semaphore(side_by_side)

    async def run(number: int, system: str) -> None:
        async with room:
            found, held, seconds = await false_alarms(upstream_url, system)
        told = [f"{system} {result.case.id} {result.verdict}: {result.message}" for result in found]
        alarms.update(told)
        summary = f"run {number + 1}, {system}: {held} hold, {len(found)} false alarms, {seconds:.1f} s"
        print("\n  ".join([summary, *told]), flush=True)

    with fake_upstream() as upstream_url:
        await asyncio.gather(*(run(number, system) for number in range(runs) for system in systems))
    return alarms


def main() -> int:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--system", choices=list(SYSTEMS), action="append")
    parser.add_argument("--side-by-side", type=int, default=1, metavar="N")
    parser.add_argument("--busy", type=int, default=0, metavar="CORES")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    burners = [multiprocessing.Process(target=burn, daemon=True) for _ in range(options.busy)]
    for burner in burners:
        burner.start()
    try:
        alarms = asyncio.run(measure(options.system or list(SYSTEMS), options.runs, options.side_by_side))
    finally:
        for burner in burners:
            burner.terminate()
    for name, count in alarms.most_common():
        print(f"{count} times: {name}")
    print(f"{sum(alarms.values())} false alarms in {options.runs} runs")
    return 1 if alarms else 0


if __name__ == "__main__":
    sys.exit(main())
