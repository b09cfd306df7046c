"""Secrets are hidden however they are escaped, and nothing else is."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable
from difflib import SequenceMatcher
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streambench.load.secrets import MIN_CHARS, MIN_PART_CHARS, Secrets


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=8, max_size=20))
def test_a_secret_is_hidden_in_every_escaping(value: str) -> None:
    secrets = Secrets()
    secrets.add(value, "")
    for escape in (
        str,
        html.escape,
        quote_plus,
        lambda text: quote(text, safe=""),
        lambda text: json.dumps(text)[1:-1],
    ):
        shown = secrets(f"<{escape(value)}>")
        assert shown == "<>"
    assert value not in secrets(urlencode({"key": value}))


def test_the_longest_secret_goes_first() -> None:
    secrets = Secrets()
    secrets.add("abcd", "${SHORT}")
    secrets.add("abcd-efgh", "${LONG}")
    assert secrets("abcd-efgh abcd") == "${LONG} ${SHORT}"


@pytest.mark.parametrize("value", ["", "a", "x" * (MIN_CHARS - 1)])
def test_what_is_too_short_to_be_a_secret_is_left_alone(value: str) -> None:
    secrets = Secrets()
    secrets.add(value)
    assert secrets("a fox xxxx") == "a fox xxxx"


def test_other_text_is_left_alone() -> None:
    secrets = Secrets()
    secrets.add("hunter22")
    assert secrets("nothing to see of hunter2 here") == "nothing to see of hunter2 here"
    assert secrets("it was hunter22!") == "it was ***!"


KEY = "sk-live/Ab+9:ΩXyZ-2741-qwertz-0815"


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "echo",
    [
        lambda key: json.dumps(json.dumps(key)),
        lambda key: json.dumps(key).replace("/", "\\/"),
        lambda key: quote(quote(key, safe=""), safe=""),
        lambda key: quote(key),
        lambda key: quote(key, safe="").replace("%2F", "%2f").replace("%2B", "%2b").replace("%3A", "%3a"),
        lambda key: html.escape(json.dumps(key)),
        lambda key: base64_of(key),
        lambda key: base64_of(f"user:{key}"),
        lambda key: base64_of(f"me:{key}:you"),
        lambda key: base64.urlsafe_b64encode(f"a{key}".encode()).decode(),
        lambda key: key.encode().hex(),
    ],
)
def test_a_secret_that_is_echoed_in_another_notation_is_hidden(echo: Callable[[str], str]) -> None:
    secrets = Secrets()
    secrets.add(KEY, "${KEY}")
    echoed = echo(KEY)
    shown = secrets(f"no such key: {echoed}")
    assert "${KEY}" in shown
    assert longest_common(shown, echoed) <= 8


@pytest.mark.parametrize("cut", range(6, len(KEY)))
def test_the_part_of_a_secret_that_a_cut_text_holds_is_hidden(cut: int) -> None:
    secrets = Secrets()
    secrets.add(KEY, "${KEY}")
    for text in (f"no such key: {KEY[:cut]}", f"no such key: {KEY[:cut]}…", f"{KEY[-cut:]} is no key"):
        shown = secrets(text)
        assert "${KEY}" in shown
        assert longest_common(shown, KEY) <= 6


@given(st.integers(0, len(KEY)), st.integers(0, len(KEY)))
def test_no_long_part_of_a_secret_stays_anywhere(start: int, end: int) -> None:
    secrets = Secrets()
    secrets.add(KEY, "${KEY}")
    shown = secrets(f"the server said {KEY[start:end]} and no more")
    assert longest_common(shown, KEY) < MIN_PART_CHARS


def longest_common(a: str, b: str) -> int:
    return SequenceMatcher(None, a, b, autojunk=False).find_longest_match().size


def test_a_word_of_a_secret_is_left_alone_in_a_text() -> None:
    secrets = Secrets()
    secrets.add("my-stream-token-4711")
    assert secrets("the stream ended before its terminal event") == "the stream ended before its terminal event"
