"""What each fault makes the official client see, and what the journal tells of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import pytest

from mock_openai.upstream.faults.catalogue import KINDS

TEXT = "One two three four five six."
FAST: dict[str, Any] = {"name": "fixed", "ttft_ms": 0, "gap_ms": 1}


@dataclass
class Seen:
    """What a client got out of one request."""

    text: str = ""
    finish: str | None = None
    error: Exception | None = None
    chunks: int = 0
    usage: Any = None


def stream(upstream: Any, prompt: str, **options: Any) -> Seen:
    """Ask the official client for a stream; whatever happens is data."""
    seen = Seen()
    try:
        with upstream.sdk(**options).chat.completions.create(
            model="gpt-4o",
            messages=[{"role": "user", "content": prompt}],
            stream=True,
            stream_options={"include_usage": True},
        ) as chunks:
            for chunk in chunks:
                seen.chunks += 1
                seen.usage = chunk.usage or seen.usage
                for choice in chunk.choices:
                    seen.text += choice.delta.content or ""
                    seen.finish = choice.finish_reason or seen.finish
    except (openai.OpenAIError, json.JSONDecodeError, httpx.HTTPError) as error:
        seen.error = error
    return seen


def status_error(status: int) -> Callable[[Seen], bool]:
    return lambda seen: isinstance(seen.error, openai.APIStatusError) and seen.error.status_code == status


def connection_lost(text: str) -> Callable[[Seen], bool]:
    # Older clients let the transport's own exception through.
    return lambda seen: isinstance(seen.error, openai.APIConnectionError | httpx.HTTPError) and seen.text == text


def untouched(seen: Seen) -> bool:
    return seen.error is None and seen.text == TEXT and seen.finish == "stop" and seen.usage is not None


def got(text: str, **others: Any) -> Callable[[Seen], bool]:
    return lambda seen: seen.text == text and all(getattr(seen, name) == value for name, value in others.items())


AT_3 = {"at": {"chunk": 3}}

# fault as ordered, what the client sees, how the journal says it ended
CASES: list[tuple[Any, Callable[[Seen], bool], str]] = [
    *(({"fault": "status", "status": code}, status_error(code), "fault") for code in (400, 401, 403, 404, 409, 422)),
    *(({"fault": "status", "status": code}, status_error(code), "fault") for code in (429, 500, 502, 503, 504)),
    ("rate-limit", status_error(429), "fault"),
    ({"fault": "rate-limit", "limit": "insufficient_quota"}, status_error(429), "fault"),
    ({"fault": "slow-headers", "ms": 20}, untouched, "complete"),
    ({"fault": "silent-headers", "ms": 20}, connection_lost(""), "fault"),
    ("reset", connection_lost(""), "fault"),
    ("close", connection_lost(""), "fault"),
    ("html", got("", chunks=0), "fault"),
    ("content-type", untouched, "complete"),
    ("invalid-json", got("", chunks=0), "fault"),
    ("missing-finish", got(TEXT, finish=None, error=None), "complete"),
    ("missing-usage", got(TEXT, usage=None, error=None), "complete"),
    ("missing-done", untouched, "complete"),
    ({"fault": "cut-fin", **AT_3}, connection_lost("One two three"), "fault"),
    ({"fault": "cut-rst", **AT_3}, connection_lost("One two three"), "fault"),
    ({"fault": "cut-end", **AT_3}, got("One two three", error=None, finish=None), "fault"),
    ({"fault": "stall", "ms": 20, **AT_3}, untouched, "complete"),
    ({"fault": "stall-forever", "ms": 20, **AT_3}, connection_lost("One two three"), "fault"),
    (
        {"fault": "error", "message": "Out of luck", "code": "bad_luck", **AT_3},
        lambda seen: (
            isinstance(seen.error, openai.APIError)
            and (seen.text, seen.error.message, seen.error.code) == ("One two three", "Out of luck", "bad_luck")
        ),
        "fault",
    ),
    (
        {"fault": "malformed-json", **AT_3},
        lambda seen: isinstance(seen.error, json.JSONDecodeError) and seen.text == "One two",
        "complete cancelled",  # the client leaves where it fails
    ),
    ({"fault": "duplicate-chunk", **AT_3}, got("One two three three four five six.", error=None), "complete"),
    ({"fault": "reorder-chunks", **AT_3}, got("One two four three five six.", error=None), "complete"),
    ({"fault": "lost-chunk", **AT_3}, got("One two four five six.", error=None), "complete"),
    ({"fault": "empty-choices", **AT_3}, untouched, "complete"),
    ({"fault": "giant-chunk", "bytes": 3_000_000, **AT_3}, untouched, "complete"),
    ("text-after-done", untouched, "complete"),
    ({"fault": "comments", "text": "OPENROUTER PROCESSING"}, untouched, "complete"),
    ("crlf", untouched, "complete"),
    ({"fault": "split-frame", "byte": 7}, untouched, "complete"),
    ({"fault": "coalesce", "chunks": 4}, untouched, "complete"),
    ({"fault": "drip", "bytes": 5, "gap_ms": 0}, untouched, "complete"),
    ("gzip", untouched, "complete"),
    ({"fault": "hold-open", "ms": 20}, untouched, "complete"),
    ("ignore-cancel", untouched, "complete"),
]


@pytest.mark.parametrize(
    ("fault", "expected", "ended"), CASES, ids=lambda value: json.dumps(value, default=lambda _: "")
)
def test_the_client_sees_it_and_the_journal_tells(
    upstream: Any, fault: Any, expected: Callable[[Seen], bool], ended: str
) -> None:
    prompt = upstream.plan(text=TEXT, profile=FAST, faults=[fault])
    seen = stream(upstream, prompt)
    assert expected(seen), seen
    entry = upstream.closed(prompt)
    name = fault if isinstance(fault, str) else fault["fault"]
    assert {applied["fault"] for applied in entry["faults"]} == {name}
    assert all(applied["applied_ns"] >= entry["arrived_ns"] for applied in entry["faults"])
    assert entry["ended"] in ended.split()
    assert entry["text"] in ("", TEXT)
    if name == "malformed-json":
        assert entry["wrote"]["text"].startswith(seen.text), "the client leaves where it fails"
    else:
        assert readable(entry) == seen.text


def readable(entry: dict[str, Any]) -> str:
    """The text that was really written, as the journal has it."""
    written = len(entry["chunks"]["written_ns"])
    if entry["wrote"] is not None:
        assert len(entry["wrote"]["offset"]) == written
        assert entry["wrote"]["offset"][-1] == len(entry["wrote"]["text"])
        return str(entry["wrote"]["text"])
    return str(entry["text"][: entry["chunks"]["offset"][-1] if written else 0])


def test_the_journal_says_when_the_whole_reply_was_given(upstream: Any) -> None:
    prompt = upstream.plan(text=TEXT, profile={"name": "fixed", "ttft_ms": 20, "gap_ms": 1})
    with upstream.sdk() as client:
        question: list[Any] = [{"role": "user", "content": prompt}]
        client.chat.completions.create(model="gpt-4o", messages=question)
    whole = upstream.closed(prompt)
    assert (whole["stream"], whole["wrote"]) == (False, None)
    assert whole["whole_ns"] == whole["chunks"]["written_ns"][0] >= whole["arrived_ns"] + 25_000_000
    stream(upstream, prompt)
    streamed = upstream.closed(prompt, 2)
    assert streamed["whole_ns"] == streamed["chunks"]["written_ns"][-1] > streamed["chunks"]["written_ns"][0]
    cut = upstream.plan(text=TEXT, faults=[{"fault": "cut-fin", **AT_3}])
    stream(upstream, cut)
    assert upstream.closed(cut)["whole_ns"] is None


def test_every_fault_of_the_catalogue_has_a_test() -> None:
    tested = {fault if isinstance(fault, str) else fault["fault"] for fault, _, _ in CASES}
    elsewhere = {"quota", "refuse", "split-utf8"}
    assert tested | elsewhere == KINDS.keys()


def test_a_utf8_character_can_be_split(upstream: Any) -> None:
    prompt = upstream.plan(text="Ein schöner Tag", faults=["split-utf8"])
    seen = stream(upstream, prompt)
    assert seen.text == "Ein schöner Tag"
    (applied,) = upstream.closed(prompt)["faults"]
    assert applied["at"]["chunk"] == 2
    # Without a text of one's own, the generated one has such characters.
    generated = upstream.plan(faults=["split-utf8"])
    assert not stream(upstream, generated).text.isascii()


def test_refused_connections_are_refused_for_a_while(start_upstream: Callable[..., Any]) -> None:
    upstream = start_upstream("--profile", "instant")
    prompt = upstream.plan(attempts=[{"faults": [{"fault": "refuse", "ms": 400}]}])
    seen = stream(upstream, prompt)
    assert isinstance(seen.error, openai.APIConnectionError)
    with pytest.raises(httpx.ConnectError, match="refused"):
        httpx.get(f"{upstream.url}/_mock/health")
    # The client's own retries wait until the service is back.
    assert stream(upstream, prompt, max_retries=10).finish == "stop"
    assert upstream.closed(prompt)["faults"][0]["fault"] == "refuse"


RETRIES = [
    {"fault": "rate-limit", "retry": "retry-after", "after_ms": 10},
    {"fault": "rate-limit", "retry": "retry-after-ms", "after_ms": 10},
    {"fault": "rate-limit", "retry": "retry-after-date", "after_ms": 1},
    {"fault": "rate-limit", "retry": "none"},
]


@pytest.mark.parametrize("fault", RETRIES, ids=lambda fault: fault["retry"])
def test_the_client_retries_after_each_kind_of_retry_header(upstream: Any, fault: Any) -> None:
    prompt = upstream.plan(text=TEXT, attempts=[{"faults": [fault]}])
    assert untouched(stream(upstream, prompt, max_retries=1))
    failed, served = upstream.closed(prompt), upstream.closed(prompt, 2)
    assert (failed["attempt"], failed["status"], failed["faults"][0]["fault"]) == (1, 429, "rate-limit")
    assert (served["attempt"], served["status"], served["faults"]) == (2, 200, [])


def test_fail_twice_then_succeed(upstream: Any) -> None:
    fault = {"fault": "rate-limit", "retry": "retry-after-ms", "after_ms": 5}
    attempts = [{"faults": [fault]}, {"faults": [{**fault, "limit": "tokens"}]}]
    prompt = upstream.plan(text=TEXT, attempts=attempts)
    assert untouched(stream(upstream, prompt, max_retries=2))
    assert [upstream.closed(prompt, nth)["attempt"] for nth in (1, 2, 3)] == [1, 2, 3]
    # Every member of the plan has its own attempts.
    member = prompt.replace("]]", ".7]]")
    assert untouched(stream(upstream, member, max_retries=2))
    assert [entry["attempt"] for entry in upstream.entries(member)] == [1, 2, 3]


@pytest.mark.parametrize(("should_retry", "requests"), [("false", 1), ("true", 2)])
def test_x_should_retry_decides(upstream: Any, should_retry: str, requests: int) -> None:
    # Of its own accord the client would retry 500 and would not retry 400.
    status = 500 if should_retry == "false" else 400
    fault = {"fault": "status", "status": status, "should_retry": should_retry}
    prompt = upstream.plan(attempts=[{"faults": [fault]}])
    stream(upstream, prompt, max_retries=3)
    assert len(upstream.entries(prompt)) == requests


@pytest.mark.parametrize(
    "fault", [{"fault": "slow-headers", "ms": 60_000}, "silent-headers", {"fault": "stall-forever", **AT_3}]
)
def test_the_client_gives_up_after_its_timeout(upstream: Any, fault: Any) -> None:
    prompt = upstream.plan(text=TEXT, profile=FAST, faults=[fault])
    seen = stream(upstream, prompt, timeout=0.3)
    assert isinstance(seen.error, openai.APITimeoutError | openai.APIConnectionError | httpx.TimeoutException)
    entry = upstream.closed(prompt)
    assert entry["ended"] == "cancelled"
    assert entry["cancelled_ns"] >= entry["arrived_ns"]


def test_a_quota_is_a_window_that_refills(upstream: Any) -> None:
    fault = {"fault": "quota", "requests": 2, "window_ms": 600}
    prompt = upstream.plan(text=TEXT, faults=[fault])
    first, second, third = (stream(upstream, prompt) for _ in range(3))
    assert untouched(first)
    assert untouched(second)
    assert isinstance(third.error, openai.RateLimitError)
    headers = third.error.response.headers
    assert headers["x-ratelimit-limit-requests"] == "2"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert 0 < int(headers["retry-after-ms"]) <= 300
    # The client waits as it was told, and is served.
    assert untouched(stream(upstream, prompt, max_retries=1))


WHOLE_CASES: list[tuple[Any, type[Exception] | None]] = [
    ({"fault": "cut-fin", "at": {"byte": 100}}, openai.APIConnectionError),
    ({"fault": "cut-rst", "at": {"byte": 100}}, openai.APIConnectionError),
    ({"fault": "cut-end", "at": {"byte": 100}}, json.JSONDecodeError),
    ("malformed-json", json.JSONDecodeError),
    ("invalid-json", json.JSONDecodeError),
    ("error", openai.InternalServerError),
    ({"fault": "stall", "ms": 20}, None),
    ("gzip", None),
    ({"fault": "drip", "bytes": 100, "gap_ms": 0}, None),
    ("missing-usage", None),
    ("lost-chunk", None),
]


@pytest.mark.parametrize(("fault", "raised"), WHOLE_CASES, ids=lambda value: json.dumps(value, default=str))
def test_replies_in_one_body_are_damaged_too(upstream: Any, fault: Any, raised: type[Exception] | None) -> None:
    prompt = upstream.plan(text=TEXT, faults=[fault])
    arguments: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": prompt}]}
    if raised is not None:
        with pytest.raises((raised, httpx.HTTPError)):
            upstream.sdk().chat.completions.create(**arguments)
    else:
        whole = upstream.sdk().chat.completions.create(**arguments)
        assert whole.choices[0].message.content == TEXT
        assert (whole.usage is None) == (fault == "missing-usage")


def test_responses_and_completions_are_damaged_by_the_same_code(upstream: Any) -> None:
    client = upstream.sdk()
    prompt = upstream.plan(text=TEXT, faults=[{"fault": "error", "message": "Out of luck", **AT_3}])
    with pytest.raises(openai.APIError, match="Out of luck"):
        list(client.responses.create(model="gpt-4o", input=prompt, stream=True))
    with pytest.raises(openai.APIError, match="Out of luck"):
        list(client.completions.create(model="gpt-3.5-turbo-instruct", prompt=prompt, stream=True))
    without_end = upstream.plan(text=TEXT, faults=["missing-done"])
    kinds = [event.type for event in client.responses.create(model="gpt-4o", input=without_end, stream=True)]
    assert kinds[-1] == "response.output_item.done"
    with pytest.raises(openai.RateLimitError):
        client.embeddings.create(model="text-embedding-3-small", input=upstream.plan(faults=["rate-limit"]))
