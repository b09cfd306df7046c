"""The tester is tested: each case holds on the reference server, and is broken by exactly its defect."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from mock_openai.chat.defects.catalogue import DEFECTS
from streambench.conformance.case import BROKEN, Case, Verdict
from streambench.conformance.runner import CaseResult, run_suite
from streambench.conformance.suite import AREAS, all_cases
from tools.conformance import (
    FOLDER,
    LIMITED_AREA,
    SYSTEMS,
    broken_by_its_defect,
    fake_upstream,
    home_of,
    pages,
    reference,
)

# Areas in which time counts: on a loaded machine a second try may be needed.
TIMED = {"transport", "framing", "streaming", "termination", "leaving", "slow_readers", "concurrency", "storage"}
TIMED |= {"rate_limits"}
LONG = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def upstream_url() -> Iterator[str]:
    """One fake upstream for all suites."""
    with fake_upstream() as url:
        yield url


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.id)
def test_a_case_says_all_that_a_reader_must_know(case: Case) -> None:
    assert re.fullmatch(r"[a-z0-9]+\.[a-z0-9]+(-[a-z0-9]+)*", case.id)
    assert case.area in AREAS
    for text in (case.requirement, case.steps, case.judgement, case.remedy):
        assert text[0].isupper() or text[0].isdigit() or text[0] == "`", text
        assert text.endswith("."), text
    assert "\n" not in case.requirement
    assert case.source
    assert case.defect in DEFECTS, "a case without a defect that breaks it does not exist"


@LONG
@pytest.mark.parametrize("system", SYSTEMS)
async def test_every_case_holds_on_the_reference_server(upstream_url: str, system: str) -> None:
    """Each on the system on which it is shown; `python -m tools.conformance --prove` has all on all."""
    results: list[CaseResult] = []
    for limited in (False, True):
        cases = [case for case in all_cases() if home_of(case) == system and (case.area == LIMITED_AREA) is limited]
        if cases:
            async with reference(upstream_url, system, limited=limited) as subject:
                results += (await run_suite(subject, cases)).results
    for result in results:
        accepted = {Verdict.PASSED, Verdict.FLAKY} if result.case.area in TIMED else {Verdict.PASSED}
        assert result.verdict in accepted, told(result)


@LONG
async def test_every_case_is_broken_by_its_defect(upstream_url: str) -> None:
    for result in await broken_by_its_defect(upstream_url, all_cases()):
        assert result.verdict is BROKEN[result.case.keyword], told(result)
        assert result.log, f"{result.case.id} shows nothing of what went over the wire"
        assert "alice-token" not in result.log + " ".join(result.commands)


# Mistakes that chat services were really shipped with, each with the case that finds it.
PUBLIC_BUGS = {
    "the history takes the first ten messages instead of the last": ("history.newest", "first-ten-history"),
    "a reply is written into somebody else's conversation": ("owner.write", "writes-to-others"),
    "the stream has text/plain": ("sse.content-type", "wrong-content-type"),
    "text comes twice after a fallback": ("upstream.nothing-twice", "double-text-on-fallback"),
    "the upstream is not cancelled when the user leaves": ("leave.cancels", "no-cancel"),
    "an error in mid-stream is swallowed": ("upstream.errs-in-stream", "silent-truncation"),
    "the replies of two users at once are mixed": ("concurrent.own-text", "mixes-replies"),
    "UTF-8 is split into U+FFFD": ("text.utf8-split", "splits-utf8"),
    "a slow reader blocks everyone": ("slow.others", "blocks-on-slow-reader"),
    "keep-alives break the client's JSON": ("grammar.keep-alives-are-comments", "keep-alive-as-data"),
    "the first content comes after the upstream ended": ("stream.begins-early", "buffers-reply"),
}


@LONG
async def test_each_public_bug_is_found(upstream_url: str) -> None:
    cases = {case.id: case for case in all_cases()}
    for case_id, defect in PUBLIC_BUGS.values():
        assert cases[case_id].defect == defect
    wanted = [cases[case_id] for case_id, _ in PUBLIC_BUGS.values()]
    for result in await broken_by_its_defect(upstream_url, wanted):
        assert result.verdict is BROKEN[result.case.keyword], told(result)


@LONG
@pytest.mark.parametrize("system", ["assistant-ws", "room-chat"])
async def test_cases_of_all_transports_hold_and_are_broken_on_sockets(upstream_url: str, system: str) -> None:
    """A selection, for time; `python -m tools.conformance --prove` has them all."""
    areas = ("text", "inputs", "access", "history")
    cases = [case for case in all_cases() if case.area in areas]
    async with reference(upstream_url, system) as subject:
        held = {result.case.id: result for result in (await run_suite(subject, cases)).results}
    testable = [case for case in cases if held[case.id].verdict is not Verdict.NOT_TESTABLE]
    assert len(testable) > 20
    for case in testable:
        assert held[case.id].verdict is Verdict.PASSED, told(held[case.id])
    for result in await broken_by_its_defect(upstream_url, testable, system):
        assert result.verdict is BROKEN[result.case.keyword], told(result)


def test_the_pages_are_those_of_the_code() -> None:
    written = {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.md") if path.name != "real-software.md"}
    assert written == pages(), "write them anew: python -m tools.conformance"


def told(result: CaseResult) -> str:
    """A result for whoever has to mend it."""
    return f"{result.case.id} {result.verdict}: {result.message} expected {result.expected!r}, got {result.got!r}"
