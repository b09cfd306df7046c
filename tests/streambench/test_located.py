"""YAML that somebody else has written: its mistakes have a place, and what is no document is not quoted."""

from __future__ import annotations

import pytest

from streambench.errors import ConfigurationError
from streambench.located import read_document, read_yaml


@pytest.mark.parametrize(
    "text", ["s3cret-of-somebody", "root:x:0:0:root:/root:/bin/bash\nbin:x:1:1", "- s3cret", "4711"]
)
def test_what_is_no_document_is_not_quoted(text: str) -> None:
    with pytest.raises(ConfigurationError, match="a dialect must be a mapping") as error:
        read_document(text, "x", "a dialect")
    for word in ("s3cret", "root", "4711"):
        assert word not in str(error.value)


@pytest.mark.parametrize(
    "number", ["1" * 5000, "-" + "9" * 5000, "0x" + "f" * 5000, "1." + "0" * 5000, "1e" + "9" * 5000]
)
def test_a_number_with_too_many_digits_is_an_error_with_its_place(number: str) -> None:
    with pytest.raises(ConfigurationError, match=r"x:2:6: a number of 5,00\d characters"):
        read_yaml(f"a: 1\nb:   {number}\n", "x")


def test_half_a_character_is_an_error_with_its_place() -> None:
    with pytest.raises(ConfigurationError, match="x:2:4: the text holds half a character"):
        read_yaml('a: 1\nb: "\\ud83d"\n', "x")
    with pytest.raises(ConfigurationError, match="x:1:1: the text holds half a character"):
        read_yaml('"\\ud83d": 1\n', "x")


def test_two_halves_are_one_character_as_in_json() -> None:
    assert read_yaml('"\\ud83d\\ude00"', "x").value == "😀"


def test_a_character_that_yaml_does_not_allow_has_its_place() -> None:
    with pytest.raises(ConfigurationError, match="x:2:4: not valid YAML: special characters are not allowed"):
        read_yaml("a: 1\nb: \x07\n", "x")


def test_a_long_text_is_not_quoted_in_a_message() -> None:
    with pytest.raises(ConfigurationError, match="'a' must be a mapping, not a text of 1,000 characters"):
        read_yaml("x" * 1000, "x").mapping("'a'")
    with pytest.raises(ConfigurationError) as error:
        read_yaml("? " + "k" * 1000 + "\n: 1\n", "x").mapping("'a'", ("b",))
    assert len(str(error.value)) < 200
