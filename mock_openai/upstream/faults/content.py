"""Faults that leave a part out of the reply; the reply's protocol knows which frames those are."""

from __future__ import annotations

from dataclasses import dataclass

from mock_openai.upstream.faults.kind import Kind
from mock_openai.upstream.stream import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut(Kind):
    """A reply without one of its parts."""

    part: Part


KINDS = [
    LeftOut("missing-finish", "no finish reason (Responses: none of the `.done` events)", part=Part.FINISH),
    LeftOut("missing-usage", "no usage", part=Part.USAGE),
    LeftOut(
        "missing-done",
        "no `[DONE]` (Responses: no `response.completed`; Gemini: no `finishReason`)",
        stream_only=True,
        part=Part.DONE,
    ),
]
