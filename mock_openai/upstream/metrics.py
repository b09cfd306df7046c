"""What `GET /_mock/metrics` returns, in the Prometheus text format."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from operator import sub

from mock_openai.upstream.journal import Entry

LATENESS_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_BUCKETS_NS = tuple(round(limit * 1e9) for limit in LATENESS_BUCKETS_S)


class Metrics:
    """Counters over the life of a server."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, str]] = Counter()
        self._faults: Counter[str] = Counter()
        self._chunks = 0
        self._after_cancel = 0
        self._late = [0] * (len(_BUCKETS_NS) + 1)
        self._late_sum_ns = 0
        self._open: Counter[str] = Counter()

    def opened(self, route: str) -> None:
        """Count a request that has come."""
        self._open[route] += 1

    def closed(self, route: str, entry: Entry) -> None:
        """Count a request that is over."""
        self._open[route] -= 1
        self._requests[route, str(entry.status), entry.ended] += 1
        self._chunks += len(entry.written_ns)
        self._after_cancel += entry.written_after_cancel
        self._faults.update(str(fault["fault"]) for fault in entry.faults)
        # Sorted, and not write by write: at the end of a reply of thousands of writes, others are due.
        late_ns = sorted(map(sub, entry.written_ns, entry.scheduled_ns))
        counted = 0
        for index, limit_ns in enumerate(_BUCKETS_NS):
            within = bisect_right(late_ns, limit_ns)
            self._late[index] += within - counted
            counted = within
        self._late[-1] += len(late_ns) - counted
        self._late_sum_ns += sum(late_ns)

    def refused(self, route: str, status: int) -> None:
        """Count a request that was wrong."""
        self._requests[route, str(status), "refused"] += 1

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """The exposition; `gauges`: name → (help, value) of what others count."""
        lines: list[str] = []
        lines += _family("requests_total", "counter", "Requests that are over, by how they ended.")
        for (route, status, ended), count in sorted(self._requests.items()):
            lines.append(_sample("requests_total", count, route=route, status=status, ended=ended))
        lines += _family("open_requests", "gauge", "Requests being answered.")
        lines += [_sample("open_requests", count, route=route) for route, count in sorted(self._open.items())]
        lines += _family("faults_total", "counter", "Faults that were applied.")
        lines += [_sample("faults_total", count, fault=name) for name, count in sorted(self._faults.items())]
        lines += _family("content_writes_total", "counter", "Writes of content, of requests that are over.")
        lines.append(_sample("content_writes_total", self._chunks))
        lines += _family("writes_after_cancel_total", "counter", "Content generated after the client had left.")
        lines.append(_sample("writes_after_cancel_total", self._after_cancel))
        lines += _family("write_lateness_seconds", "histogram", "Actual minus scheduled moment of content writes.")
        total = 0
        for limit, count in zip((*LATENESS_BUCKETS_S, "+Inf"), self._late, strict=True):
            total += count
            lines.append(_sample("write_lateness_seconds_bucket", total, le=str(limit)))
        lines.append(_sample("write_lateness_seconds_sum", self._late_sum_ns / 1e9))
        lines.append(_sample("write_lateness_seconds_count", total))
        for name, (text, value) in gauges.items():
            lines += [*_family(name, "gauge", text), _sample(name, value)]
        return "\n".join(lines) + "\n"


def _family(name: str, kind: str, text: str) -> Iterable[str]:
    return (f"# HELP mock_openai_{name} {text}", f"# TYPE mock_openai_{name} {kind}")


def _sample(name: str, value: float, **labels: str) -> str:
    shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"mock_openai_{name}{{{shown}}} {value}" if shown else f"mock_openai_{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
