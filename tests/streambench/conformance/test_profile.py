"""Profiles: what bundled ones declare, and what is said of one that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from streambench.conformance.profile import PROFILES, profile_of
from streambench.errors import ConfigurationError


@pytest.mark.parametrize("path", sorted(PROFILES.glob("*.yaml")), ids=lambda path: path.stem)
def test_bundled_profiles_are_read(path: Path) -> None:
    assert profile_of(path.stem) == profile_of("none of this name", path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("auth: yes please", "'auth' has a value of another kind"),
        ("conversation: {create: {capture: id}}", "needs 'read'"),
        ("rooms: {text: {a: b}, ends: [c]}", "'shared' or 'join'"),
        ("rooms: {shared: user, ends: [c]}", "needs 'text'"),
        ("rooms: {text: {a: b}, ends: [c], join: {heard: d}}", "either 'send' or 'emit'"),
        ("roms: {}", "rooms"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"# mine\n{text}\n")
    with pytest.raises(ConfigurationError, match=told) as caught:
        profile_of("chat-stream", path)
    assert "mine.yaml:2" in str(caught.value)
