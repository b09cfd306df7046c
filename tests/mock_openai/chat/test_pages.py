"""The pages on the chat systems name every route, event, option and defect that there is."""

from __future__ import annotations

import re
from pathlib import Path

from mock_openai.chat.__main__ import parser
from mock_openai.chat.app import create_app
from mock_openai.chat.defects.reference import table
from mock_openai.chat.server import ChatSettings

PAGES = Path(__file__).resolve().parents[3] / "docs/reference/systems"
SYSTEMS = Path(__file__).resolve().parents[3] / "mock_openai/chat/systems"


def test_every_option_and_every_defect_is_documented() -> None:
    page = (PAGES / "README.md").read_text()
    for action in parser()._actions:
        for option in action.option_strings:
            assert option in ("-h", "--help") or f"`{option}" in page, option
    assert table() in page, "print it again: python -m mock_openai.chat.defects.reference"


def test_every_route_is_documented() -> None:
    pages = "".join(page.read_text() for page in PAGES.glob("*.md"))
    app = create_app(ChatSettings(upstream="http://127.0.0.1:9"))
    for resource in app.router.resources():
        path = resource.canonical
        if path not in ("/", "/page/{name}", "/openai/chatCompletion/stream/{session}"):
            assert path in pages, path


def test_every_event_is_documented() -> None:
    for module, patterns in {
        "assistant_ws": [
            r'(?:send|show|respond)\(\s*"(\w+)"',
            r'case "(\w+)"',
            r'"code": "(\w+)"',
            r'return "(\w+)", ',
        ],
        "thread_events": [r'send\("(\w+)"'],
        "room_chat": [r'(?:tell|emit|_answer)\(\s*(?:client, )?"([\w-]+)"', r'\("([\w-]+)", self\.'],
        "room_chat_rest": [r'event="(\w+)"'],
        "conversation_stream": [r'"type": "(\w+)"'],
    }.items():
        page = (PAGES / f"{module.removesuffix('_rest').replace('_', '-')}.md").read_text()
        source = (SYSTEMS / f"{module}.py").read_text()
        for pattern in patterns:
            found = re.findall(pattern, source)
            assert found, (module, pattern)
            for name in found:
                assert re.search(rf"`[^`]*\b{re.escape(name)}\b[^`]*`", page), (module, name)
