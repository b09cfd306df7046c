"""Gates as a regular expression, for editors: whatever it rejects can never be decided."""

from __future__ import annotations

import re
from collections.abc import Iterable

from streambench.analysis.gates import ALIASES, FINDINGS, GATE_VERDICTS, OPERATORS, ORDERINGS, STATISTICS, TARGET_VALUES
from streambench.analysis.metrics import METRICS
from streambench.analysis.milestones import PREFIX, REACHED
from streambench.analysis.rule_index import rule_pattern
from streambench.dialects.milestone import NAME
from streambench.load.kinds import DURATION_PATTERN

_TARGET = r"\s*([^:<>=!]+\s*:\s*)?"
_SIGNED = r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,2})?"
_QUANTILE = r"p([1-9]\d?(\.\d+)?|0[1-9](\.\d+)?|00?\.\d*[1-9]\d*)"
_CONFIDENCE = r"(\s*,?\s*confidence:?\s+[5-9]\d(\.\d+)?\s*%)?"
# At most 1, or 100%: `error_rate < 5` is not what it says.
_RATIO = r"[-+]?(0*\.\d+|0+(\.\d*)?|1(\.0*)?|\d+(\.\d*)?[eE]-\d{1,2})"
_PERCENT = r"[-+]?(0*\d{1,2}(\.\d*)?|0*100(\.0*)?|\.\d+)([eE]-\d{1,2})?"
_LIMITS = {
    "ms": DURATION_PATTERN,
    "ratio": rf"({_RATIO}|{_PERCENT}\s*%)",
    "per s": rf"{_SIGNED}(\s*/\s*(s|m|min|h))?",
}


def gate_pattern() -> str:
    """The pattern of a gate of any scenario: whether its target is seen from both sides, a pattern cannot know."""
    forms = [rf"authenticity\s*(==|!=)\s*{_any_of(GATE_VERDICTS)}"]
    for unit in sorted({*TARGET_VALUES.values()} - {""}):
        names = _any_of(name for name, its_unit in TARGET_VALUES.items() if its_unit == unit)
        forms.append(rf"{names}\s*{_any_of(OPERATORS)}\s*{_LIMITS.get(unit, _SIGNED)}")
    forms.append(rf"{re.escape(FINDINGS)}{rule_pattern()}\s*{_any_of(OPERATORS)}\s*{_SIGNED}")
    for unit in sorted({metric.unit for metric in METRICS.values()}):
        named = {**METRICS, **{alias: METRICS[name] for alias, name in ALIASES.items()}}
        names = _any_of(name for name, metric in named.items() if metric.unit == unit)
        limit = _LIMITS.get(unit, _SIGNED)
        forms.append(rf"{names}\.({_QUANTILE}|{_any_of(STATISTICS)})\s*{_any_of(OPERATORS)}\s*{limit}")
        forms.append(rf"{names}\.{_QUANTILE}\s*{_any_of(ORDERINGS)}\s*{limit}{_CONFIDENCE}")
    of_milestone = rf"{re.escape(PREFIX)}{NAME}\."
    limit = _LIMITS["ms"]
    forms.append(rf"{of_milestone}({_QUANTILE}|{_any_of(STATISTICS)})\s*{_any_of(OPERATORS)}\s*{limit}")
    forms.append(rf"{of_milestone}{_QUANTILE}\s*{_any_of(ORDERINGS)}\s*{limit}{_CONFIDENCE}")
    forms.append(rf"{of_milestone}{REACHED}\s*{_any_of(OPERATORS)}\s*{_LIMITS['ratio']}")
    return rf"^{_TARGET}({'|'.join(forms)})\s*$"


def _any_of(words: Iterable[str]) -> str:
    longest_first = sorted(words, key=lambda word: (-len(word), word))
    return f"({'|'.join(re.escape(word) for word in longest_first)})"
