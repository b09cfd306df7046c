"""The two packages share no code; the names that both must know are the same in both."""

from __future__ import annotations

from mock_openai.chat.modes import MODES
from mock_openai.upstream.profiles import PROFILE_NAMES
from mock_openai.upstream.text import STYLES
from streambench.load import serve
from streambench.load.profiles import PROFILES


def test_a_scenario_knows_the_profiles_modes_and_styles_of_the_bundled_servers() -> None:
    assert set(PROFILES) == set(PROFILE_NAMES)
    assert set(serve.MODES) == set(MODES)
    assert set(serve.STYLES) == set(STYLES)
