"""The record of a stream for each way in which it can end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from streambench.dialects import load_dialect
from streambench.endings import Ending, ErrorClass
from streambench.findings import Axis, Finding, Severity
from streambench.record.journal import encode_line
from streambench.record.model import Outcome, StreamRecord
from streambench.record.recorder import MAX_FINDINGS, MAX_MESSAGE_CHARS, Recorder, wrong_content_type
from streambench.wire.message import WireMessage

DIALECT = load_dialect("chat-stream")


@pytest.fixture
def recorder() -> Callable[..., Recorder]:
    def make(dialect: str = "chat-stream", **options: Any) -> Recorder:
        record = StreamRecord("s", "t", dialect, 0, 0)
        return Recorder(record, load_dialect(dialect), **{"keep_text": True, **options})

    return make


MakeRecorder = Callable[..., Recorder]


def say(recorder: Recorder, *payloads: object, at_ns: int = 10, dispatched: bool = True) -> None:
    """Each payload in a read of its own, one ns apart."""
    for i, payload in enumerate(payloads):
        recorder.read(at_ns + i, 10, kernel=True)
        recorder.message(WireMessage(json.dumps(payload), 0, dispatched=dispatched), at_ns + i)


HELLO, WORLD, DONE = {"content": "Hello"}, {"content": " wörld"}, {"done": True}


def rules(record: StreamRecord) -> list[str]:
    return [finding.rule for finding in record.violations]


@pytest.mark.parametrize("ending", [Ending.FIN, Ending.RESPONSE_END, Ending.RESET, Ending.TIMEOUT, Ending.CLIENT])
def test_a_stream_whose_terminal_event_came_is_complete_however_it_ends(recorder: MakeRecorder, ending: Ending) -> None:
    user = recorder()
    user.connected(1)
    user.sent(2)
    user.headers(200, 3)
    say(user, HELLO, WORLD)
    assert not user.done
    say(user, DONE, at_ns=20)
    assert user.done
    user.end(ending, 30)
    record = user.record
    assert (record.outcome, record.error, record.terminal_event) == (Outcome.COMPLETED, None, True)
    assert (record.connected_ns, record.sent_ns, record.headers_ns, record.status) == (1, 2, 3, 200)
    assert (record.ending, record.end_ns) == (ending, 30)
    assert record.text == "Hello wörld"
    assert record.violations == []
    assert list(record.events.at_ns) == [10, 11, 20]
    assert record.events.name == ["content", "content", "done"]
    assert list(record.events.chars) == [5, 6, 0]
    assert list(record.events.read) == [0, 1, 2]
    assert (record.reads, record.wire_bytes, record.stamps) == (3, 30, "kernel")


@pytest.mark.parametrize(
    ("ending", "error", "rule"),
    [
        (Ending.FIN, ErrorClass.DISCONNECT, "grammar.premature-end"),
        (Ending.RESPONSE_END, ErrorClass.DISCONNECT, "grammar.premature-end"),
        (Ending.CLOSE_FRAME, ErrorClass.DISCONNECT, "termination.close-frame"),
        (Ending.RESET, ErrorClass.RESET, "termination.reset"),
    ],
)
def test_a_stream_that_broke_off(recorder: MakeRecorder, ending: Ending, error: str, rule: str) -> None:
    user = recorder()
    say(user, HELLO)
    user.end(ending, 30, close_code=1001 if ending is Ending.CLOSE_FRAME else None)
    record = user.record
    assert (record.outcome, record.error, record.terminal_event) == (Outcome.FAILED, error, False)
    assert rules(record) == [rule]
    assert record.text == "Hello"
    if ending is Ending.CLOSE_FRAME:
        assert record.close_code == 1001
        assert "1001" in (record.error_message or "")


@pytest.mark.parametrize("error", [ErrorClass.TIMEOUT_FIRST_CHUNK, ErrorClass.TIMEOUT_IDLE])
def test_a_server_that_fell_silent(recorder: MakeRecorder, error: ErrorClass) -> None:
    user = recorder()
    say(user, HELLO)
    user.fail(error, "nothing more came")
    user.end(Ending.TIMEOUT, 30)
    assert (user.record.outcome, user.record.error, user.record.ending) == (Outcome.FAILED, error, Ending.TIMEOUT)
    assert rules(user.record) == ["termination.timeout"]


def test_a_stream_that_took_too_long_is_late_and_breaks_no_rule(recorder: MakeRecorder) -> None:
    user = recorder()
    say(user, HELLO)
    user.fail(ErrorClass.TIMEOUT_TOTAL, "the stream was not complete")
    user.end(Ending.TIMEOUT, 30)
    assert (user.record.outcome, user.record.error) == (Outcome.FAILED, ErrorClass.TIMEOUT_TOTAL)
    assert rules(user.record) == []


def test_an_error_event_fails_the_stream_with_its_own_words(recorder: MakeRecorder) -> None:
    user = recorder()
    say(user, HELLO, {"error": "the model is overloaded"})
    assert user.done
    user.end(Ending.RESPONSE_END, 30)
    record = user.record
    assert (record.outcome, record.error) == (Outcome.FAILED, ErrorClass.ERROR_EVENT)
    assert record.error_message == "the model is overloaded"
    assert not record.terminal_event
    assert record.violations == []


def test_an_unwelcome_status_is_its_own_error(recorder: MakeRecorder) -> None:
    user = recorder()
    user.headers(503, 5)
    user.fail_status(503, "come back later")
    user.end(Ending.RESPONSE_END, 30)
    record = user.record
    assert (record.outcome, record.error, record.status) == (Outcome.FAILED, "http_503", 503)
    assert "come back later" in (record.error_message or "")
    # That no event came is no second finding.
    assert record.findings == []


def test_a_connection_that_never_was(recorder: MakeRecorder) -> None:
    user = recorder()
    user.fail(ErrorClass.CONNECT, "refused")
    user.end(Ending.NOT_CONNECTED, 30)
    assert (user.record.error, user.record.ending, user.record.findings) == ("connect", Ending.NOT_CONNECTED, [])


def test_a_stream_that_its_user_left(recorder: MakeRecorder) -> None:
    user = recorder()
    say(user, HELLO)
    user.leave(30)
    record = user.record
    assert (record.outcome, record.ending, record.end_ns, record.error) == (Outcome.LEFT, Ending.CLIENT, 30, None)
    assert record.violations == []
    complete = recorder()
    say(complete, HELLO, DONE)
    complete.leave(30)
    assert complete.record.outcome is Outcome.COMPLETED


def test_a_chunk_that_comes_twice_at_once_is_noted(recorder: MakeRecorder) -> None:
    user = recorder()
    say(user, {"content": " streaming"}, {"content": " streaming"}, {"content": " ha"}, {"content": " ha"})
    (found,) = user.record.findings
    assert (found.rule, found.severity, found.event_index) == ("content.repeated", Severity.INFO, 1)
    # Later it is the model's own words.
    slow = recorder()
    say(slow, {"content": " streaming"})
    say(slow, {"content": " streaming"}, at_ns=50_000_000)
    assert slow.record.findings == []


def test_a_stream_that_we_had_to_end_is_censored(recorder: MakeRecorder) -> None:
    user = recorder()
    say(user, HELLO)
    user.censor(30)
    record = user.record
    assert (record.outcome, record.ending, record.end_ns) == (Outcome.CENSORED, Ending.CLIENT, 30)
    assert record.violations == []
    assert record.text == "Hello"


def test_ending_us_after_its_end_changes_nothing(recorder: MakeRecorder) -> None:
    complete = recorder()
    say(complete, HELLO, DONE)
    complete.censor(30)
    assert complete.record.outcome is Outcome.COMPLETED
    failed = recorder()
    failed.fail(ErrorClass.PROTOCOL, "not HTTP")
    failed.censor(30)
    assert failed.record.outcome is Outcome.FAILED


def test_the_first_failure_and_the_first_end_stand(recorder: MakeRecorder) -> None:
    user = recorder()
    say(user, HELLO)
    user.fail(ErrorClass.OVERSIZE, "too large")
    user.fail(ErrorClass.PROTOCOL, "and not HTTP")
    user.end(Ending.CLIENT, 30)
    user.end(Ending.RESET, 40)
    user.censor(50)
    record = user.record
    assert (record.error, record.error_message) == (ErrorClass.OVERSIZE, "too large")
    assert (record.ending, record.end_ns, record.outcome) == (Ending.CLIENT, 30, Outcome.FAILED)


def test_a_broken_rule_does_not_fail_a_stream(recorder: MakeRecorder) -> None:
    user = recorder()
    say(user, HELLO, {"content": 7}, DONE, HELLO)
    user.end(Ending.RESPONSE_END, 30)
    assert user.record.outcome is Outcome.COMPLETED
    assert len(user.record.violations) >= 2


def test_what_is_not_dispatched_is_no_event(recorder: MakeRecorder) -> None:
    user = recorder()
    say(user, HELLO)
    say(user, DONE, dispatched=False)
    user.end(Ending.FIN, 30)
    assert user.record.events.name == ["content"]
    assert user.record.error == ErrorClass.DISCONNECT


def test_what_a_dialect_takes_undispatched_is_an_event(recorder: MakeRecorder) -> None:
    """LangServe ends with a block that has no data."""
    user = recorder("langserve")
    user.read(10, 10, kernel=True)
    user.message(WireMessage('"Hello"', 0, event="data"), 10)
    user.read(11, 10, kernel=True)
    user.message(WireMessage("", 20, event="end", dispatched=False), 11)
    assert user.done
    assert user.record.events.name == ["data_text", "end"]
    user.end(Ending.CLIENT, 12)
    assert user.record.outcome is Outcome.COMPLETED
    assert user.record.terminal_event
    assert user.record.violations == []


def test_a_dialect_that_ends_by_closing_is_complete_then(
    recorder: MakeRecorder, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("dialect") / "closing.yaml"
    path.write_text(
        "dialect: closing\nversion: 1\ntransport: ndjson\nrequest: {json: {q: '{prompt}'}}\nname: keys\n"
        "events: {text: {content: text}}\ngrammar: text+\n"
    )
    for ending, outcome in ((Ending.FIN, Outcome.COMPLETED), (Ending.RESET, Outcome.FAILED)):
        user = recorder(str(path))
        say(user, {"text": "Hello"})
        assert not user.done
        user.end(ending, 30)
        assert user.record.outcome is outcome
        assert user.record.terminal_event is (outcome is Outcome.COMPLETED)


def test_tokens_are_what_the_protocol_said(recorder: MakeRecorder) -> None:
    user = recorder("openai-chat")
    shape = {"id": "a", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    say(user, {**shape, "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 42, "total_tokens": 43}})
    user.end(Ending.FIN, 30)
    assert user.record.tokens == 42


@pytest.mark.parametrize("sign", [1, -1])
def test_tokens_that_no_text_has_can_be_written_and_read_back(recorder: MakeRecorder, sign: int) -> None:
    user = recorder("openai-chat")
    shape = {"id": "a", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    tokens = sign * 10**400
    say(user, {**shape, "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": 1}})
    user.end(Ending.FIN, 30)
    line = encode_line(user.record.to_json(), str)
    assert StreamRecord.from_json(orjson.loads(line)).tokens == sign * 2**53


# Bounds


def test_a_stream_may_have_so_many_events(recorder: MakeRecorder) -> None:
    user = recorder(max_events=3)
    say(user, HELLO, HELLO)
    assert not user.done
    say(user, HELLO)
    assert user.done
    assert user.record.error == ErrorClass.OVERSIZE


def test_what_is_too_much_does_not_depend_on_how_it_was_read(recorder: MakeRecorder) -> None:
    user = recorder(max_events=3)
    user.read(5, 100, kernel=True)
    user.messages([WireMessage(json.dumps(HELLO), 0) for _ in range(5)], 5)
    assert user.record.error == ErrorClass.OVERSIZE
    assert len(user.record.events) == 3


def test_findings_are_kept_up_to_a_number_and_then_counted(recorder: MakeRecorder) -> None:
    user = recorder()
    user.findings([Finding(Axis.GRAMMAR, f"r{i}", "m") for i in range(MAX_FINDINGS + 7)])
    assert len(user.record.findings) == MAX_FINDINGS
    assert user.record.findings_dropped == 7
    assert user.record.findings[0].rule == "r0"


def test_which_findings_are_kept_does_not_depend_on_the_order_in_which_they_were_found(recorder: MakeRecorder) -> None:
    found = [Finding(Axis.GRAMMAR, f"r{i % 3}", "m", offset=i) for i in range(MAX_FINDINGS * 3)]
    records = []
    for order in (found, found[::-1], [*found[1::2], *found[::2]]):
        user = recorder()
        user.findings(order)
        records.append(user.record)
    for record in records:
        assert sorted(f.offset or 0 for f in record.findings) == list(range(MAX_FINDINGS))
        assert record.findings_dropped == 2 * MAX_FINDINGS
        told = sorted((further.first.rule, further.first.offset, further.count) for further in record.further)
        assert told == [("r0", 102, 66), ("r1", 100, 67), ("r2", 101, 67)]


def test_a_message_of_the_servers_is_cut(recorder: MakeRecorder) -> None:
    user = recorder()
    user.fail(ErrorClass.ERROR_EVENT, "x" * 10_000)
    assert len(user.record.error_message or "") == MAX_MESSAGE_CHARS


def test_text_is_kept_only_where_it_is_asked_for(recorder: MakeRecorder) -> None:
    user = recorder(keep_text=False)
    say(user, HELLO, DONE)
    user.end(Ending.RESPONSE_END, 30)
    assert user.record.text is None
    assert list(user.record.events.chars) == [5, 0]


def test_whether_content_has_come(recorder: MakeRecorder) -> None:
    for keep_text in (True, False):
        user = recorder(keep_text=keep_text)
        assert not user.chunks
        say(user, {"content": ""})
        assert not user.chunks
        say(user, HELLO)
        assert user.chunks


def test_reads_that_the_kernel_put_together(recorder: MakeRecorder) -> None:
    user = recorder()
    user.read(1, 10, kernel=True)
    user.coalesced()
    user.read(2, 5, kernel=False)
    assert (user.record.reads, user.record.coalesced_reads, user.record.wire_bytes) == (2, 1, 15)
    assert user.record.stamps == "mixed"


def test_a_late_read_is_known_by_its_number(recorder: MakeRecorder) -> None:
    user = recorder()
    user.connected(1, own_ns=7)
    user.sent(2, late_ns=5)
    for early_ns in (0, 3, 0):
        user.read(10, 5, kernel=True, early_ns=early_ns)
    own = user.record.own
    assert (own.connect_ns, own.send_ns, own.early) == (7, 5, {1: 3})


def test_a_wrong_content_type_says_both() -> None:
    finding = wrong_content_type("text/event-stream", "")
    assert finding.expected == ("text/event-stream",)
    assert finding.got


@pytest.mark.parametrize("texts", [[], [""], [" ", "\n"]])
def test_a_complete_reply_without_text_has_failed(recorder: MakeRecorder, texts: list[str]) -> None:
    user = recorder()
    say(user, *({"content": text} for text in texts), DONE)
    user.end(Ending.RESPONSE_END, 30)
    assert (user.record.outcome, user.record.error) == (Outcome.FAILED, ErrorClass.EMPTY)
    assert "content.empty" in rules(user.record)


def test_a_dialect_may_say_that_a_reply_needs_no_text(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        "dialect: own\nversion: 1\ntransport: sse\nname: type\nempty: info\n"
        "events: {text: {content: text}, tool: {}, end: {}}\ngrammar: (text | tool)* end\n"
    )
    user = Recorder(StreamRecord("s", "t", "own", 0, 0), load_dialect(str(path)), keep_text=True)
    say(user, {"type": "tool"}, {"type": "end"})
    user.end(Ending.RESPONSE_END, 30)
    assert (user.record.outcome, user.record.violations) == (Outcome.COMPLETED, [])
    assert [finding.rule for finding in user.record.findings] == ["content.empty"]
