"""What the interop findings say of popular clients, tried on the clients themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest
from google.genai._api_client import HttpResponse
from openai._streaming import SSEDecoder as OpenAiDecoder

from streambench.wire.sse import SseDecoder

BOM = b"\xef\xbb\xbf"


def by_openai(stream: bytes) -> list[str]:
    return [event.data for event in OpenAiDecoder().iter_bytes(iter([stream]))]


def by_genai(stream: bytes) -> list[str]:
    return list(HttpResponse({}, response_stream=httpx.Response(200, content=stream))._iter_response_stream())


def by_lines_of_httpx(stream: bytes) -> list[str]:
    """A client built on `iter_lines`, as many tutorials have it."""
    lines: Iterator[str] = httpx.Response(200, content=stream).iter_lines()
    return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]


def by_two_newlines(stream: bytes) -> list[str]:
    """A client that splits at the blank line as it is usually sent."""
    blocks = stream.decode("utf-8").split("\n\n")[:-1]
    return [block.partition("data: ")[2] for block in blocks]


def by_the_standard(stream: bytes) -> tuple[list[str], set[str]]:
    decoder = SseDecoder()
    messages = [*decoder.feed(stream), *decoder.finish()]
    return [m.data for m in messages if m.dispatched], {finding.rule for finding in decoder.take_findings()}


@pytest.mark.parametrize(
    ("rule", "stream", "client", "theirs"),
    [
        ("sse.bom", BOM + b"data: 1\n\ndata: 2\n\n", by_openai, ["2"]),
        ("sse.crlf", b"data: 1\r\n\r\ndata: 2\r\n\r\n", by_two_newlines, []),
        ("sse.bare-cr", b"data: 1\r\rdata: 2\r\r", by_two_newlines, []),
        ("sse.no-space", b'data:{"a":1}\n\n', by_lines_of_httpx, []),
        ("sse.multi-line-data", b"data: 1\ndata: 2\n\n", by_lines_of_httpx, ["1", "2"]),
        ("sse.foreign-line-end", "data: a\u2028b\n\n".encode(), by_lines_of_httpx, ["a"]),
        ("sse.foreign-line-end", "data: a\x85b\n\n".encode(), by_lines_of_httpx, ["a"]),
        ("sse.no-data", b"event: ping\n\ndata: 1\n\n", by_openai, ["", "1"]),
        ("sse.no-data", b"retry: 10\n\ndata: 1\n\n", by_openai, ["", "1"]),
        ("sse.blank-block-after-id", b"id: 7\ndata: 1\n\n: comment\n\n", by_openai, ["1", ""]),
        ("sse.undispatched-tail", b"data: 1\n\ndata: 2\n", by_genai, ["1", "2"]),
    ],
)
def test_a_noted_difference_is_real(
    rule: str, stream: bytes, client: Callable[[bytes], list[str]], theirs: list[str]
) -> None:
    events, rules = by_the_standard(stream)
    assert rule in rules
    assert client(stream) == theirs
    assert theirs != events


@pytest.mark.parametrize("client", [by_openai, by_genai, by_lines_of_httpx, by_two_newlines])
def test_a_stream_without_findings_reads_the_same_everywhere(client: Callable[[bytes], list[str]]) -> None:
    stream = b'data: {"a": 1}\n\ndata: {"b": 2}\n\ndata: [DONE]\n\n'
    events, rules = by_the_standard(stream)
    assert rules == set()
    assert client(stream) == events == ['{"a": 1}', '{"b": 2}', "[DONE]"]
