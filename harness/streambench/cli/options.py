"""The types of options that several commands take."""

from __future__ import annotations

from typing import Any

import click

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


DURATION = DurationType()
