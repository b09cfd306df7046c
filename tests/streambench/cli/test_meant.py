"""A mistyped name is answered with the right one, and a file of the other kind with what to do with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from streambench.cli import run_command
from streambench.dialects.loading import BUNDLED
from streambench.load.loading import bundled_scenarios


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("rum quickstart", "Did you mean 'run'?"),
        ("quickstart", "streambench run quickstart"),
        ("https://chat.example/", "streambench probe URL"),
        ("nonsense", "The commands are run, locust, probe"),
        ("run quickstar", "Did you mean 'quickstart'?"),
        ("probe quickstar", "Did you mean 'quickstart'?"),
        ("conform quickstar", "Did you mean 'quickstart'?"),
        ("run openai-chat", "openai-chat is a dialect, not a scenario"),
        ("run recipe", "Did you mean 'recipes.yaml'?"),
        ("run recipe.yaml", "Did you mean 'recipes.yaml'?"),
        ("dialects show recip", "Did you mean 'recipes.yaml'?"),
        ("dialects show opnai-chat", "Did you mean 'openai-chat'?"),
        (f"run {BUNDLED / 'chat-stream.yaml'}", "this is a dialect, not a scenario"),
        (f"dialects check {bundled_scenarios()['quickstart']}", "this is a scenario, not a dialect"),
        (f"probe http://127.0.0.1:1 -d {bundled_scenarios()['quickstart']}", "this is a scenario, not a dialect"),
        ("probe http://127.0.0.1:1 -d openai-chat --timeout 5", "'5' has no unit: write 5s, 5ms or 5min"),
    ],
)
def test_the_error_names_it(
    words: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes.yaml").write_text("dialect: recipes\n")
    assert run_command(words.split()) == 2
    assert said in capsys.readouterr().err
