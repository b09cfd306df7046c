"""The kinds of checks that are shipped, by the names that dialect files use."""

from __future__ import annotations

from streambench.dialects.checks.check import CheckKind
from streambench.dialects.checks.fields import Constant, LastOnly, Nondecreasing, contiguous, field_kind
from streambench.dialects.checks.pairs import closed, promised
from streambench.dialects.checks.texts import concat, json_parses

SHIPPED: dict[str, CheckKind] = {
    "concat": concat,
    "nondecreasing": field_kind(Nondecreasing),
    "constant": field_kind(Constant),
    "contiguous": contiguous,
    "last_only": field_kind(LastOnly),
    "closed": closed,
    "json": json_parses,
    "promised": promised,
}
