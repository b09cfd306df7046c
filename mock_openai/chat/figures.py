"""What a running chat server counts: replies on their way, and how they ended."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Figures:
    """`streams`: replies that are on their way now. `counters`: how often each thing has happened since the start."""

    streams: int = 0
    counters: Counter[str] = field(default_factory=Counter)
