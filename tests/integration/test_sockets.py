"""Many users at once on the reference server's sockets: no text lost, and nothing left open behind them."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from itertools import count
from pathlib import Path
from time import monotonic_ns
from typing import Any

import httpx
import pytest

from streambench.dialects import load_dialect
from streambench.drivers.target import TargetSpec
from streambench.drivers.users import open_session
from streambench.record.model import Outcome, StreamRecord
from streambench.record.recorder import Recorder
from streambench.transport.stamps import keep_stamping
from streambench.transport.target import Endpoint, Timeouts
from streambench.units import NS_PER_S

USERS = 60
_plans = count()
OPEN_FILES = Path("/proc/self/fd")
PATIENT = Timeouts(connect_ns=60 * NS_PER_S, first_chunk_ns=60 * NS_PER_S, idle_ns=60 * NS_PER_S)


@pytest.mark.parametrize(
    ("dialect", "scheme", "query"),
    [
        ("assistant-ws", "ws", ""),
        ("assistant-ws-accumulated", "ws", ""),
        ("room-chat", "http", "/?transport=websocket"),
        ("room-chat", "http", "/?transport=polling"),
        ("room-chat", "http", ""),
    ],
)
async def test_many_users_at_once(dialect: str, scheme: str, query: str, shared_mock: Callable[..., Any]) -> None:
    if not OPEN_FILES.is_dir():
        pytest.skip("open descriptors are counted in /proc")
    servers = shared_mock("--profile", "instant", "--tokens", "30")
    plan, loaded = f"many-{next(_plans)}", load_dialect(dialect)
    url = servers.chat.replace("http", scheme) + query
    spec = TargetSpec(
        dialect, loaded, Endpoint(url, headers=(("Authorization", "Bearer alice-token"),), timeouts=PATIENT)
    )
    async with httpx.AsyncClient(base_url=servers.openai, trust_env=False) as admin:
        (await admin.post("/_mock/plans", json={"id": plan})).raise_for_status()
        keep_stamping()  # a socket that the process keeps, if this test is the first to open it
        gc.collect()  # what others have left may not go while this is counted
        descriptors, tasks = len(list(OPEN_FILES.iterdir())), len(asyncio.all_tasks())
        users = [open_session(spec, {"user": str(number)}) for number in range(USERS)]
        await asyncio.gather(*(user.prepare() for user in users))
        records = []
        for number in range(USERS):
            now_ns = monotonic_ns()
            records.append(StreamRecord(str(number), dialect, dialect, now_ns, now_ns))
        await asyncio.gather(
            *(
                user.stream(f"Hello [[sb:{plan}.{record.id}]]", Recorder(record, loaded, keep_text=True))
                for user, record in zip(users, records, strict=True)
            )
        )
        await asyncio.gather(*(user.close() for user in users))
        assert (len(list(OPEN_FILES.iterdir())), len(asyncio.all_tasks())) == (descriptors, tasks)
        entries = (await admin.get("/_mock/journal", params={"plan": plan})).json()["entries"]
    written = {entry["mark"]: entry["text"] for entry in entries}
    for record in records:
        assert (record.outcome, record.error_message, record.findings) == (Outcome.COMPLETED, None, [])
        assert record.text == written[f"{plan}.{record.id}"]
