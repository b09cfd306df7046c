"""pytest: each conformance case of a scenario is a test item, with its remedy as the text of a failure.

`pytest --streambench-conform scenario.yaml` adds the cases of a scenario; files called `*.conform.yaml` are collected
by themselves. Nothing of the product is imported before one of the two is there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from streambench.conformance.case import Case
    from streambench.conformance.runner import CaseResult
    from streambench.load.scenario import Scenario

OPTION = "--streambench-conform"
SUFFIX = ".conform.yaml"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that names scenarios."""
    parser.getgroup("streambench").addoption(
        OPTION,
        action="append",
        default=[],
        metavar="SCENARIO",
        help="test every conformance case on the targets of this scenario, a file or a bundled name (repeatable)",
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect scenarios of conformance that lie among the tests."""
    if not file_path.name.endswith(SUFFIX):
        return None
    suite = ConformanceSuite.from_parent(parent, name=file_path.name)
    suite.scenario_name = str(file_path)
    return suite


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the cases of the scenarios that the option names, behind all other items."""
    for name in config.getoption(OPTION):
        suite = ConformanceSuite.from_parent(session, name=Path(name).name)
        suite.scenario_name = name
        items.extend(suite.collect())


class ConformanceSuite(pytest.Collector):
    """The cases of one scenario. They are run together, side by side, when the first of them is asked for."""

    scenario_name: str

    def collect(self) -> Iterator[ConformanceItem]:
        """An item a target and case."""
        from streambench.conformance.suite import chosen_cases, expected_failures
        from streambench.errors import StreambenchError
        from streambench.load.loading import load_scenario

        try:
            self.scenario: Scenario = load_scenario(self.scenario_name, environ=os.environ)
            cases = chosen_cases(self.scenario.conform.cases)
            self.expected = expected_failures(self.scenario)
        except StreambenchError as error:
            raise self.CollectError(str(error)) from error
        self.results: dict[tuple[str, str], CaseResult] = {}
        for target in self.scenario.targets:
            for case in cases:
                item = ConformanceItem.from_parent(self, name=f"{target.name}::{case.id}")
                item.target, item.case = target.name, case
                yield item

    def result_of(self, item: ConformanceItem) -> CaseResult:
        """What came of an item's case. The first one runs all that this process has of the suite."""
        if (item.target, item.case.id) not in self.results:
            import asyncio

            distributed = hasattr(self.config, "workerinput")  # xdist has dealt the items out one by one
            items: Iterable[Any] = [item] if distributed else self.session.items
            asyncio.run(self._run([one for one in items if getattr(one, "parent", None) is self]))
        return self.results[item.target, item.case.id]

    async def _run(self, items: list[ConformanceItem]) -> None:
        from streambench.conformance.runner import run_suite
        from streambench.conformance.target import open_subjects

        async with open_subjects(self.scenario, self.scenario.conform.profile) as subjects:
            for subject in subjects:
                cases = [item.case for item in items if item.target == subject.name]
                suite = await run_suite(subject, cases, expected_failures=self.expected)
                self.results |= {(subject.name, result.case.id): result for result in suite.results}


class DoesNotHold(Exception):
    """A case that fails its item."""

    def __init__(self, result: CaseResult) -> None:
        super().__init__(result.message)
        self.result = result


class ConformanceItem(pytest.Item):
    """One case on one target."""

    parent: ConformanceSuite
    target: str
    case: Case

    def runtest(self) -> None:
        """Pass, skip or fail as the case's verdict says; a broken SHOULD is a warning unless the scenario is strict."""
        from streambench.conformance.case import Verdict

        result = self.parent.result_of(self)
        if result.expected_failure and result.is_bad:
            pytest.xfail(result.message)
        match result.verdict:
            case Verdict.NOT_TESTABLE:
                pytest.skip(f"{result.message}; it takes {result.unlock}")
            case Verdict.PASSED if not result.expected_failure:
                return
            case Verdict.INFO:
                return
            case Verdict.WARNING if not self.parent.scenario.conform.strict:
                self.warn(pytest.PytestWarning(f"{self.case.id}: {result.message}. {self.case.remedy}"))
            case _:
                raise DoesNotHold(result)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The requirement, what came, the remedy, and what went over the wire."""
        if not isinstance(excinfo.value, DoesNotHold):
            return super().repr_failure(excinfo, style)
        from streambench.report.conformance_text import describe_result

        result = excinfo.value.result
        if result.expected_failure:
            return f"{self.case.id} holds, although it may fail: take it off `expected_failures`"
        return "\n".join([*describe_result(result, commands=True), "", result.log])

    def reportinfo(self) -> tuple[str, int | None, str]:
        """Where the item comes from, and what it is called."""
        return self.parent.scenario_name, None, self.name
