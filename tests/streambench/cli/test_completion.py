"""What a shell completes: commands, scenarios, dialects and metrics; and the words of `dialects`."""

from __future__ import annotations

import pytest
from click.shell_completion import ShellComplete

from streambench.cli import cli, run_command


@pytest.mark.parametrize(
    ("args", "incomplete", "found"),
    [
        ([], "pro", {"probe"}),
        (["run"], "quick", {"quickstart"}),
        (["run", "--gate"], "ttfc.p9", {"ttfc.p95", "ttfc.p99"}),
        (["probe", "http://h/", "--dialect"], "openai", {"openai-chat", "openai-responses"}),
        (["check", "x", "-d"], "room", {"room-chat"}),
        (["dialects", "draw"], "room", {"room-chat"}),
        (["run"], "--save", {"--save-streams"}),
        (["schema"], "d", {"dialect"}),
    ],
)
def test_what_is_completed(args: list[str], incomplete: str, found: set[str]) -> None:
    complete = ShellComplete(cli, {}, "streambench", "_STREAMBENCH_COMPLETE")
    assert {item.value for item in complete.get_completions(args, incomplete)} == found


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["list"], "openai-chat"),
        (["show", "room-chat"], "dialect: room-chat"),
        (["room-chat"], "dialect: room-chat"),
        (["draw", "room-chat"], "stateDiagram"),
        (["check", "room-chat", "openai-chat"], "openai-chat is valid"),
    ],
)
def test_the_words_of_dialects(args: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["dialects", *args]) == 0
    assert said in capsys.readouterr().out
