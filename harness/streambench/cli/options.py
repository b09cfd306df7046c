"""The argument and option types that several commands share, and their shell completion."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click
from click.shell_completion import CompletionItem

from streambench.units import parse_duration_ns


class DurationType(click.ParamType):  # type: ignore[type-arg]
    """A duration with its unit, such as `30s`; the value is in ns."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Nanoseconds; a text without a unit is a usage error."""
        if isinstance(value, int):
            return value
        try:
            return parse_duration_ns(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class ScenarioType(click.ParamType):  # type: ignore[type-arg]
    """A scenario: a file, or the name of a bundled one."""

    name = "scenario"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Bundled names, and files."""
        from streambench.load.loading import bundled_scenarios

        return _starting(bundled_scenarios(), incomplete) or [CompletionItem(incomplete, type="file")]


class DialectType(click.ParamType):  # type: ignore[type-arg]
    """A dialect: a file, or the name of a bundled one."""

    name = "dialect"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Bundled names, and files."""
        from streambench.dialects import bundled_dialects

        return _starting(bundled_dialects(), incomplete) or [CompletionItem(incomplete, type="file")]


class GateType(click.ParamType):  # type: ignore[type-arg]
    """A gate, such as `ttfc.p95 < 800ms`."""

    name = "gate"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The metrics, with the statistics that they can be asked for."""
        from streambench.analysis.gates import STATISTICS, TARGET_VALUES
        from streambench.analysis.metrics import METRICS

        statistics = ("p50", "p95", "p99", *STATISTICS)
        return _starting([*TARGET_VALUES, *(f"{name}.{one}" for name in METRICS for one in statistics)], incomplete)


def _starting(words: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


DURATION = DurationType()
SCENARIO = ScenarioType()
DIALECT = DialectType()
GATE = GateType()
