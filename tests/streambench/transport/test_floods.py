"""What a server sends faster than we read earns nothing while it waits for us, however slow we are."""

from __future__ import annotations

import pytest

from streambench.transport.arrivals import Failed
from streambench.transport.http1 import Http1Connection
from streambench.transport.requests import Request
from streambench.transport.target import Endpoint, locate
from streambench.units import NS_PER_S
from streambench.wire.limits import WireLimits

URL = "http://localhost/"
LIMITS = WireLimits(max_frames_per_s=10, max_control_per_s=10)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(("waits", "errors"), [(False, []), (True, ["flood"])])
def test_chunks(waits: bool, errors: list[str]) -> None:
    http = Http1Connection(Endpoint(URL, limits=LIMITS))
    http.request(locate(URL), Request("GET"), {})
    http.receive(HEAD, 0, kernel=True)
    found: list[str] = []
    for second in range(1, 100):
        at_ns = second * NS_PER_S
        arrivals = http.receive(b"1\r\na\r\n", at_ns, kernel=True, early_ns=at_ns if waits else 0)
        found += [arrival.error for arrival in arrivals if isinstance(arrival, Failed)]
    assert found[:1] == errors
