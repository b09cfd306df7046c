"""How another host's clock relates to ours, with both of them in the test's hand."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from streambench.clock import FakeClock
from streambench.upstream import clocks
from streambench.upstream.clocks import ClockRelation, relate_clocks

MS = 1_000_000


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Callable[..., httpx.AsyncClient]:
    """A client of an upstream on another host: there and back take the given times, its clock is ahead by `offset`."""

    def make(offset_ns: int, trips: list[tuple[int, int]], boot_id: str | None = "another") -> httpx.AsyncClient:
        clock = FakeClock(5_000 * MS)
        monkeypatch.setattr(clocks, "_clock", clock)
        left = iter(trips)

        def answer(request: httpx.Request) -> httpx.Response:
            there_ns, back_ns = next(left)
            clock.advance(there_ns)
            now_ns = clock.now_ns() + offset_ns
            clock.advance(back_ns)
            return httpx.Response(200, json={"status": "ok", "now_ns": now_ns, "boot_id": boot_id})

        return httpx.AsyncClient(transport=httpx.MockTransport(answer))

    return make


async def test_the_quickest_exchange_counts(upstream: Callable[..., httpx.AsyncClient]) -> None:
    trips = [(90 * MS, 10 * MS), (2 * MS, 2 * MS), *[(30 * MS, 80 * MS)] * 6]
    relation = await relate_clocks(upstream(123_456 * MS, trips), "http://u")
    assert relation == ClockRelation(123_456 * MS, 2 * MS)
    assert relation.to_local(123_500 * MS) == 44 * MS


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("offset_ns", [-(10**15), 0, 10**15])
async def test_the_true_offset_is_within_the_error(
    upstream: Callable[..., httpx.AsyncClient], seed: int, offset_ns: int
) -> None:
    draw = random.Random(seed)
    trips = [(draw.randrange(50 * MS), draw.randrange(50 * MS)) for _ in range(8)]
    relation = await relate_clocks(upstream(offset_ns, trips), "http://u")
    assert abs(relation.offset_ns - offset_ns) <= relation.error_ns + 1
    assert relation.error_ns <= min(there + back for there, back in trips)


async def test_one_host_has_one_clock(
    upstream: Callable[..., httpx.AsyncClient], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    boot_id = tmp_path / "boot_id"
    boot_id.write_text("this-boot\n")
    monkeypatch.setattr(clocks, "BOOT_ID", boot_id)
    trips = [(1, 1)] * 8
    assert await relate_clocks(upstream(77, trips, "this-boot"), "http://u") == ClockRelation(0, 0)
    assert (await relate_clocks(upstream(77, trips, "that-boot"), "http://u")).offset_ns == 77
    # Where nobody knows, nothing is assumed.
    boot_id.unlink()
    for unknown in (None, ""):
        assert (await relate_clocks(upstream(77, trips, unknown), "http://u")).offset_ns == 77


async def test_the_bundled_upstream_of_this_host(start_mock: Callable[..., Any]) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        relation = await relate_clocks(client, start_mock("--no-chat").openai)
    if clocks.BOOT_ID.exists():
        assert relation == ClockRelation(0, 0)
    else:
        assert relation.error_ns < 10**9
