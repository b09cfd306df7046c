"""What a suite says of cases that hold, that do not, that sometimes do, and that cannot be decided."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from streambench.conformance.case import Broken, Case, Judge, Keyword, Need, Untestable, Verdict
from streambench.conformance.exchange import Exchange
from streambench.conformance.profile import Profile
from streambench.conformance.reply import Reply
from streambench.conformance.runner import SuiteResult, run_suite
from streambench.conformance.subject import Subject
from streambench.conformance.suite import all_cases
from streambench.conformance.trial import Trial
from streambench.conformance.wire_log import WireLog, curl
from streambench.dialects import load_dialect
from streambench.drivers.target import TargetSpec
from streambench.errors import ExitCode
from streambench.report.conformance import render_badge, render_matrix, render_page, report_cases
from streambench.report.conformance_text import describe_cases, describe_suite
from streambench.report.export.junit import render_junit
from streambench.transport.target import Endpoint

SUBJECT = Subject(
    TargetSpec(
        "mine",
        load_dialect("chat-stream"),
        Endpoint("http://127.0.0.1:9/chat", headers=(("Authorization", "Bearer s3cret"),)),
    ),
    Profile(),
    None,
    lambda text: text.replace("s3cret", "***"),
)


async def holds(trial: Trial) -> None:
    """Does nothing."""


async def breaks(trial: Trial) -> None:
    raise Broken("it says s3cret <b>", expected="nothing", got="s3cret | more")


async def undecidable(trial: Trial) -> None:
    raise Untestable("who knows", "a better world")


async def buggy(trial: Trial) -> None:
    raise KeyError("s3cret")


def sometimes() -> Judge:
    tries = itertools.count()

    async def judge(trial: Trial) -> None:
        if next(tries) == 0:
            raise Broken("not this time")

    return judge


def a_case(judge: Judge, name: str = "made.up", keyword: Keyword = Keyword.MUST, *needs: Need) -> Case:
    return Case(name, "It holds.", keyword, "nobody", "transport", needs, "Do.", "See.", "Mend it.", "none", judge)


async def run(*cases: Case, **options: object) -> SuiteResult:
    return await run_suite(SUBJECT, cases, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "keyword", "verdict", "code"),
    [
        (lambda: holds, Keyword.MUST, Verdict.PASSED, ExitCode.PASSED),
        (lambda: breaks, Keyword.MUST, Verdict.FAILED, ExitCode.CONFORMANCE),
        (lambda: breaks, Keyword.SHOULD, Verdict.WARNING, ExitCode.PASSED),
        (lambda: breaks, Keyword.MAY, Verdict.INFO, ExitCode.PASSED),
        (sometimes, Keyword.MUST, Verdict.FLAKY, ExitCode.CONFORMANCE),
        (lambda: undecidable, Keyword.MUST, Verdict.NOT_TESTABLE, ExitCode.INVALID),
        (lambda: buggy, Keyword.MUST, Verdict.HARNESS_ERROR, ExitCode.INVALID),
    ],
)
async def test_verdicts(make: Callable[[], Judge], keyword: Keyword, verdict: Verdict, code: ExitCode) -> None:
    suite = await run(a_case(make(), "made.up", keyword))
    assert (suite.results[0].verdict, suite.exit_code) == (verdict, code)
    assert "s3cret" not in str(suite.to_json())


async def test_strict_makes_a_warning_a_failure() -> None:
    assert (await run(a_case(breaks, "made.up", Keyword.SHOULD), strict=True)).exit_code is ExitCode.CONFORMANCE


async def test_what_a_target_lacks_is_told_with_what_unlocks_it() -> None:
    (result,) = (await run(a_case(breaks, "made.up", Keyword.MUST, Need.SECOND_USER))).results
    assert result.verdict is Verdict.NOT_TESTABLE
    assert "second_user" in result.unlock


async def test_an_expected_failure_is_no_failure_until_it_holds() -> None:
    assert (await run(a_case(breaks), expected_failures=["made.up"])).exit_code is ExitCode.PASSED
    suite = await run(a_case(holds), expected_failures=["made.up"])
    assert suite.exit_code is ExitCode.CONFORMANCE
    assert [result.case.id for result in suite.outlived] == ["made.up"]


async def test_a_case_that_breaks_is_tried_three_times() -> None:
    (result,) = (await run(a_case(breaks))).results
    assert result.tries == 3


async def test_reports_of_several_targets_hold_hostile_texts() -> None:
    suites = [await run(a_case(holds, "made.good"), a_case(breaks, "made.bad")), await run(a_case(holds, "made.good"))]
    page = render_page(suites)
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
    assert "s3cret" not in page
    matrix = render_matrix(suites)
    assert "| `made.bad` | MUST: It holds. | ❌ |  |" in matrix
    root = ET.fromstring(render_junit(report_cases(suites), name="c", seconds=1.0).encode())
    assert (root.get("tests"), root.get("failures")) == ("3", "1")
    badge = ET.fromstring(render_badge(suites))
    assert "2 of 3" in (badge.get("aria-label") or "")


def test_a_wire_log_shows_both_sides_with_stamps_and_places_and_no_secret() -> None:
    log = WireLog("POST http://x/")
    log.add(b"POST / HTTP/1.1\r\nauthorization: Bearer s3cret\r\n\r\n", 1_000_000, True)
    log.add(b"HTTP/1.1 200 OK\r\n", 3_500_000, False)
    log.add(b"\xff\x00data\n", 4_000_000, False)
    text = log.text(SUBJECT.mask)
    assert "s3cret" not in text
    assert "2.500 ms  <       0  HTTP/1.1 200 OK\\r\\n" in text
    assert "3.000 ms  <      17  \\xff\\x00data\\n" in text
    assert "0.000 ms  >      17  authorization: Bearer ***" in text


def test_a_request_can_be_sent_again_with_curl() -> None:
    text = curl("POST", "http://x/?q=1", [("authorization", "Bearer s3cret")], b'{"a": "it\'s"}', SUBJECT.mask)
    assert text.startswith("curl -sN -X POST 'http://x/?q=1' -H 'authorization: Bearer ***'")
    assert "--data-binary" in text
    assert "no curl command" in curl("POST", "http://x/", [], b"\xff", SUBJECT.mask)


@pytest.mark.parametrize("width", [60, 80])
async def test_a_suite_fits_a_narrow_terminal(width: int) -> None:
    suite = await run(a_case(breaks, "made.bad"), a_case(breaks, "made.lacking", Keyword.MUST, Need.SECOND_USER))
    suite.results[0].message = "it says " + "word " * 40
    suite.results[0].got = "x" * 300
    text = describe_suite(suite, width=width) + describe_cases(all_cases(), width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "Mend it." in text


async def test_a_suite_that_is_stopped_keeps_what_was_decided() -> None:
    stop = asyncio.Event()

    async def waits(trial: Trial) -> None:
        stop.set()
        await asyncio.Event().wait()

    suite = await run(a_case(holds, "made.good"), a_case(waits, "made.endless"), stop=stop)
    assert [result.case.id for result in suite.results] == ["made.good"]
    assert suite.interrupted
    assert suite.exit_code is ExitCode.INTERRUPTED


async def test_what_goes_wrong_now_and_then_never_passes_with_enough_repeats() -> None:
    tries = itertools.count(1)

    async def judge(trial: Trial) -> None:
        if next(tries) % 7 == 0:  # about 15%
            raise Broken("this time")

    (result,) = (await run(a_case(judge), repeat=20)).results
    assert result.verdict is Verdict.FLAKY
    assert result.message == "it held 6 of 7 times: this time"


async def test_cases_that_judge_ordinary_replies_look_at_more_of_them_and_share_these(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = itertools.count(1)

    async def ask(trial: Trial, **_: object) -> Reply:
        body = b"wrong" if next(asked) % 7 == 0 else b"right"  # about 15%
        exchange = Exchange("POST", "http://x/", [], b"", status=200, pieces=[(0, body)])
        trial.exchanges.append(exchange)
        return Reply(exchange)

    async def judge(trial: Trial) -> None:
        if (await trial.plain()).exchange.body == b"wrong":
            raise Broken("this time")

    monkeypatch.setattr(Trial, "ask", ask)
    results = (await run(a_case(judge, "made.one"), a_case(judge, "made.other"))).results
    assert [result.verdict for result in results] == [Verdict.FLAKY, Verdict.FLAKY]
    assert next(asked) <= 20 + 1


async def test_a_timed_case_that_fails_on_a_busy_machine_is_not_testable() -> None:
    async def judge(trial: Trial) -> None:
        await asyncio.sleep(0.03)
        held_up = threading.Event()
        held_up.wait(0.25)  # the loop stands still, as it does where there is no core to spare
        await asyncio.sleep(0.03)
        raise Broken("late")

    timed = replace(a_case(judge), timed=True)
    (result,) = (await run(timed)).results
    assert result.verdict is Verdict.NOT_TESTABLE
    assert "machine too busy" in result.message
    (result,) = (await run(a_case(judge))).results
    assert result.verdict is Verdict.FAILED
