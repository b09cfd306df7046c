"""Dialect files: what is read, and that every mistake is found on loading, with its place, reason and nearest name."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from streambench.dialects import Dialect, bundled_dialects, load_dialect
from streambench.dialects.loading import parse_dialect
from streambench.errors import ConfigurationError
from streambench.wire.message import WireMessage

HEAD = """\
dialect: mine
version: 1
transport: sse
name: type
events:
  start: {}
  delta: {content: text}
  stop: {}
  error: {error: message}
grammar: start delta* stop
interrupt: error
"""


def load(text: str) -> Dialect:
    return parse_dialect(text, Path("mine.yaml"))


def failure(text: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        load(text)
    return caught.value


def test_a_small_dialect() -> None:
    dialect = load(HEAD)
    assert (dialect.name, dialect.transport, dialect.terminal) == ("mine", "sse", ("stop",))
    assert dialect.needs_terminal
    assert dialect.summary == dialect.grammar == "start delta* stop"


@pytest.mark.parametrize("name", bundled_dialects())
def test_the_bundled_dialects_load_and_carry_the_name_of_their_file(name: str) -> None:
    dialect = load_dialect(name)
    assert dialect.name == name
    assert len(dialect.summary) < 100
    assert any(rule.content for rule in dialect.events.values())
    assert name == "plain-text" or any(rule.error for rule in dialect.events.values())
    dialect.render_request({"prompt": "Hi", "thread_id": "t", "conversation_id": "c", "client_id": "x"})


@pytest.mark.parametrize(
    ("old", "new", "line", "column", "reason", "suggestion"),
    [
        # names
        ("grammar: start delta* stop", "grammar: start dleta* stop", 10, 16, "names 'dleta'", "delta"),
        ("interrupt: error", "interrupt: eror", 11, 12, "names 'eror'", "error"),
        ("interrupt: error", "interrupt: error\nanywhere: [stat]", 12, 12, "no event 'stat'", "start"),
        ("interrupt: error", "interrupt: error\nterminal: stopp", 12, 11, "no event 'stopp'", "stop"),
        ("delta: {content: text}", "delta: {contents: text}", 7, 11, "has no key 'contents'", "content"),
        ("transport: sse", "transport: ssee", 3, 12, "must be one of sse", "sse"),
        ("transport: sse", "transprot: sse", 3, 1, "has no key 'transprot'", "transport"),
        ("name: type", "name: sse.evnt", 4, 7, "is not known", "sse.event"),
        ("interrupt: error", "interrupt: error\nunknown: ignore", 12, 10, "must be one of fail, info", "info"),
        ("start: {}", "start: {}\n  'a b': {}", 7, 3, "cannot be the name of an event", None),
        (
            "interrupt: error",
            "interrupt: error\ninvariants:\n  - time.nondecresing",
            13,
            5,
            "there is no check 'nondecresing'",
            "nondecreasing",
        ),
        (
            "interrupt: error",
            "interrupt: error\ninvariants:\n  - {check: concat, event: dleta, path: text}",
            13,
            28,
            "there is no event 'dleta'",
            "delta",
        ),
        (
            "interrupt: error",
            "interrupt: error\ninvariants:\n  - {check: concat, event: delta, pth: text}",
            13,
            5,
            "needs 'path'",
            None,
        ),
        (
            "interrupt: error",
            "interrupt: error\ninvariants:\n  - {check: constant, path: id, evnt: delta}",
            13,
            33,
            "no parameter 'evnt'",
            "event",
        ),
        # reachability and language
        ("stop: {}\n", "stop: {}\n  usage: {}\n", 9, 3, "'usage' can never come", None),
        ("grammar: start delta* stop", "grammar: ''", 10, 11, "empty", None),
        ("interrupt: error", "interrupt: error\nterminal: start", 12, 11, "still asks for stop", None),
        ("interrupt: error", "interrupt: error\nterminal: error", 12, 11, "no stream can end with 'error'", None),
        (
            "grammar: start delta* stop",
            "grammar: start delta stop delta\nterminal: stop",
            11,
            11,
            "language is empty",
            None,
        ),
        ("interrupt: error", "interrupt: error*", 11, 12, "could be empty", None),
        ("interrupt: error", "interrupt: each(id){error}+", 11, 12, "cannot have slices", None),
        ("interrupt: error", "interrupt: error\nanywhere: [delta]", 12, 11, "should not place it as well", None),
        # paths
        ("content: text", "content: a..b", 7, 20, "is not a path", None),
        ("error: message", "error: ' '", 9, 18, "is not a path", None),
        ("name: type", "name: 'type.'", 4, 7, "is not a path", None),
        ("grammar: start delta* stop", "grammar: start each(a..b){delta} stop", 10, 16, "path of a field", None),
        # YAML
        ("stop: {}\n", "stop: {}\n  start: {}\n", 9, 3, "'start' appears twice", None),
        ("version: 1", "version: 1\nversion: 1", 3, 1, "'version' appears twice", None),
        ("start: {}", "start: {", 8, 3, "not valid YAML", None),
        ("name: type", "name: !!python/name:os.system x", 4, 7, "is not allowed", None),
        ("version: 1", "version: 2", 2, 10, "version 1", None),
        ("version: 1\n", "", 1, 1, "needs 'version'", None),
        # forms of values
        ("delta: {content: text}", "delta: {content: text, mode: snapshots}", 7, 32, "must be one of", "snapshot"),
        ("stop: {}", "stop: {mode: delta}", 8, 16, "'content', which is missing", None),
        ("stop: {}", "stop: {by: id}", 8, 14, "needs 'content'", None),
        ("stop: {}", "stop: {content: a, mode: whole}", 8, 28, "needs 'by'", None),
        ("stop: {}", "stop: {schema: {type: strin}}", 8, 25, "not a valid JSON Schema", None),
        ("stop: {}", "stop: {schema: text}", 8, 18, "must be a JSON Schema", None),
        ("stop: {}", "stop: {schema: {$ref: 'http://127.0.0.1/x'}}", 8, 18, "nothing is fetched", None),
        ("stop: {}", "stop: {undispatched: true}", 8, 24, "needs 'name: sse.event'", None),
        ("stop: {}", "stop: {when: {a: 1}}", 8, 16, "needs 'of'", None),
        ("stop: {}", "stop: {of: delta}", 8, 3, "needs 'when'", None),
        ("stop: {}", "stop: {of: delta, when: {}}", 8, 27, "has no test", None),
        ("stop: {}", "stop: {of: delta, when: {a: {is: 1}}}", 8, 32, "has no key 'is'", None),
        ("stop: {}", "stop: {of: delta, when: {a: {exists: 1}}}", 8, 40, "takes true or false", None),
        ("stop: {}", "stop: {of: delta, when: {a: {in: []}}}", 8, 36, "a list of values", None),
        ("stop: {}", "stop: {of: delta, when: {a: true, a.b: 1}}", 8, 27, "contradicts itself", None),
        ("stop: {}", "stop: {literal: '[DONE]', of: stops}", 8, 19, "cannot be used with it", None),
        # requests
        (
            "interrupt: error",
            "interrupt: error\nrequest: {json: {q: '{promt}'}}",
            12,
            21,
            "nothing gives {promt} a value",
            "prompt",
        ),
        ("interrupt: error", "interrupt: error\nrequest: {emit: [a]}", 12, 11, "has no key 'emit'", None),
        (
            "interrupt: error",
            "interrupt: error\nrequest: {json: {}, body: ''}",
            12,
            27,
            "either 'json' or 'body'",
            None,
        ),
        ("interrupt: error", "interrupt: error\nrequest: []", 12, 10, "'request' is empty", None),
        (
            "interrupt: error",
            "interrupt: error\nrequest: [{path: /a}, {json: {}}]",
            12,
            10,
            "the 'path' of its stream",
            None,
        ),
        (
            "interrupt: error",
            "interrupt: error\npath: /b\nrequest: [{json: {}}, {json: {}}]",
            13,
            11,
            "needs 'path'",
            None,
        ),
        (
            "interrupt: error",
            "interrupt: error\npath: '/b/{id}'\nrequest: [{path: /a, capture: {ids: id}}, {}]",
            12,
            7,
            "nothing gives {id} a value",
            "ids",
        ),
        ("interrupt: error", "interrupt: error\nsetup: [{json: {}}]", 12, 9, "needs 'path'", None),
        (
            "interrupt: error",
            "interrupt: error\nsetup: [{path: /x, await: start}]",
            12,
            20,
            "'await' is for sockets",
            None,
        ),
        (
            "interrupt: error",
            "interrupt: error\nsetup: [{path: /x, capture: {a: b..c}}]",
            12,
            33,
            "is not a path",
            None,
        ),
    ],
)
def test_a_mistake_is_located(old: str, new: str, line: int, column: int, reason: str, suggestion: str | None) -> None:
    assert old in HEAD
    error = failure(HEAD.replace(old, new, 1))
    assert reason in error.reason
    assert (error.path, error.line, error.column) == ("mine.yaml", line, column)
    assert error.suggestion == suggestion


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ("{if: start, await: stop}", "'if' needs 'within'"),
        ("{if: start, within: 1s, send: [a]}", "'if' needs 'await'"),
        ("{within: 1s, await: stop}", "of 'if', which is missing"),
        ("{if: begin, within: 1s, await: stop}", "there is no event 'begin'"),
        ("{if: start, within: soon, await: stop}", "'within': "),
        ("{if: start, within: 1s, await: stop, path: /x}", "is for sockets"),
    ],
)
def test_a_step_that_may_have_nothing_to_wait_for(step: str, reason: str) -> None:
    text = HEAD.replace("transport: sse", f"transport: websocket\nsetup: [{step}]")
    assert reason in failure(text).reason


def test_the_message_can_be_clicked_and_names_the_remedy() -> None:
    error = failure(HEAD.replace("start delta* stop", "start dleta* stop"))
    assert str(error) == (
        "mine.yaml:10:16: the grammar names 'dleta', which is not among the events. Did you mean 'delta'?"
    )


@pytest.mark.parametrize("style", ["|", ">", "|-", ">-"])
def test_a_place_in_a_grammar_of_several_lines(style: str) -> None:
    text = HEAD.replace("grammar: start delta* stop", f"grammar: {style}\n  start\n\n     # then\n    dleta* stop")
    error = failure(text)
    assert (error.line, error.column) == (14, 5)


def test_a_place_at_the_end_of_a_grammar_of_several_lines() -> None:
    error = failure(
        HEAD.replace("grammar: start delta* stop", "grammar: |\n  start\n  ( delta* stop\ninterrupt: error", 1).replace(
            "\ninterrupt: error", "", 1
        )
    )
    assert "')' is missing" in error.reason
    assert (error.line, error.column) == (12, 16)


def test_conditions_that_overlap_are_refused() -> None:
    text = """\
        dialect: x
        version: 1
        transport: sse
        events:
          one: {when: {a: {exists: true}}}
          two: {when: {b: {exists: true}}}
        grammar: one two
        """
    error = failure(dedent(text))
    assert "could be both 'one' and 'two'" in error.reason
    assert (error.line, error.column) == (6, 15)


def test_two_events_without_a_condition_are_refused() -> None:
    error = failure("dialect: x\nversion: 1\ntransport: sse\nevents: {one: {}, two: {}}\ngrammar: one two\n")
    assert "only one can do without" in error.reason
    assert error.line == 4


def test_an_alias_gives_a_name_to_what_the_notation_cannot_speak_of() -> None:
    dialect = load(HEAD.replace("start: {}", "start: {of: 'chat begins!'}"))
    assert dialect.identify(WireMessage('{"type": "chat begins!"}', 0))[0] == "start"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"\xff\xfe", "not UTF-8"),
        (b"- a\n- b\n", "a dialect must be a mapping, not a list"),
        (b"just text", "a dialect must be a mapping"),
        (b"a: &x [*x]\n", "too deep"),
        (b"#" * (1 << 20) + b"##", "larger than"),
        (b"[" * 200 + b"]" * 200, "too deep"),
    ],
)
def test_a_file_that_is_no_dialect(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=reason):
        load_dialect(str(path))


def test_aliases_cannot_blow_a_file_up() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    assert "too large" in failure("\n".join(lines)).reason


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        load_dialect(str(tmp_path / "missing.yaml"))


def test_an_unknown_dialect_has_a_suggestion() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_dialect("openai-caht")
    assert caught.value.suggestion == "openai-chat"
