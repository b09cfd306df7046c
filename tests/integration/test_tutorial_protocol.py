"""The tutorial on describing a protocol, done as it is written: every command shown gives the output shown."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

TUTORIAL = (Path(__file__).parents[2] / "docs/tutorial/describe-your-protocol.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TUTORIAL, re.MULTILINE | re.DOTALL)
SHELL = [text for language, text in BLOCKS if language == ""]
YAML = [text for language, text in BLOCKS if language == "yaml"]


def bash(command: str, cwd: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=cwd, capture_output=True, text=True, timeout=60, env={**os.environ, "PATH": path}
    )
    return done.stdout + done.stderr


def session(beginning: str) -> str:
    """The console block whose first command begins so."""
    return next(block for block in SHELL if block.startswith(f"$ {beginning}"))


def replay(block: str, cwd: Path) -> None:
    """Run a block's commands, in order; what each prints must be what the block shows."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        assert bash(command, cwd) == shown, command


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def test_the_tutorial(tmp_path: Path) -> None:
    bash(next(block for block in SHELL if block.startswith("cat >")), tmp_path)
    replay(session("streambench check reply.sse --wire"), tmp_path)
    replay(session("streambench dialects new"), tmp_path)
    desk = tmp_path / "desk.yaml"
    drafted = "".join(line for line in desk.read_text("utf-8").splitlines(keepends=True) if not line.startswith("# -"))
    assert drafted.partition("\n")[2] == YAML[0]

    grammar = YAML[1].strip()
    assert grammar == "grammar: ticket thinking* say* bye"
    edit(desk, "grammar: ticket thinking say+ bye", grammar)
    edit(desk, "# interrupt: error", "interrupt: sorry")
    edit(
        desk,
        "  # error: {error: error.message}   # no failure was captured: what does one look like?",
        "  sorry: {error: why}",
    )
    edit(desk, "  bye:\n", "  bye:\n    tokens: cost.out\n")
    edit(desk, "  - nr.contiguous\n", "  - nr.contiguous\n  - content.concat == bye.full\n")
    replay(session("streambench dialects ./desk.yaml > /dev/null"), tmp_path)

    edit(desk, "thinking* say", "thinkng* say")
    replay(session("streambench dialects ./desk.yaml\n"), tmp_path)
    edit(desk, "thinkng*", "thinking*")

    replay(session("head -10"), tmp_path)
    replay(session("grep -v"), tmp_path)
    edit(desk, 'json: {message: "{prompt}"}', 'json: {question: "{prompt}"}')
    assert bash("streambench dialects ./desk.yaml --diagram", tmp_path).startswith("stateDiagram-v2")
    assert bash("streambench dialects ./desk.yaml --page", tmp_path).startswith("## Events")


def test_plain_text(tmp_path: Path) -> None:
    body = next(block for block in YAML if "data: text" in block)
    (tmp_path / "plain.yaml").write_text(f"dialect: plain\nversion: 1\ntransport: sse\n{body}", "utf-8")
    out = bash("printf 'data: Hello\\n\\ndata: [END]\\n\\n' | streambench check - -d ./plain.yaml", tmp_path)
    assert out.startswith("PASSED")
