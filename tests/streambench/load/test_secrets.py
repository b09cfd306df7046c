"""Secrets are hidden however they are escaped, and nothing else is."""

from __future__ import annotations

import html
import json
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streambench.load.secrets import MIN_CHARS, Secrets


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
    assert secrets("nothing to see, hunter2") == "nothing to see, hunter2"
    assert secrets("it was hunter22!") == "it was ***!"
