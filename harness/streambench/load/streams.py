"""One stream before it begins: its prompt, its mark for the fake upstream, its record."""

from __future__ import annotations

from collections.abc import Mapping

from streambench.load.prompts import Prompts
from streambench.load.targets import Target
from streambench.record.model import StreamRecord
from streambench.record.recorder import Recorder
from streambench.upstream.plans import Plan, marked


def begin_stream(
    target: Target,
    prompts: Prompts,
    plans: Mapping[int | None, Plan],
    number: int,
    intended_ns: int,
    start_ns: int,
    *,
    tokens: int | None = None,
    keep_text: bool = False,
) -> tuple[StreamRecord, Recorder, str]:
    """The record of a target's stream with this number, what fills it, and what is to be said.

    `tokens`: the length of its reply, where that is not the prompt's affair. Where a plan orders the reply, the prompt
    carries its mark, and the text is kept to be compared with what was sent.
    """
    prompt = prompts.of_stream(number)
    text, mark = prompt.text, None
    plan = plans.get(prompt.tokens if tokens is None else tokens)
    if plan is not None:
        mark = plan.mark_of(number)
        text = marked(text, mark)
    spec = target.spec
    record = StreamRecord(
        id=f"{spec.name}/{number}",
        target=spec.name,
        dialect=spec.dialect.name,
        intended_ns=intended_ns,
        start_ns=start_ns,
        mark=mark,
    )
    keep_text = keep_text or plan is not None
    return record, Recorder(record, spec.dialect, keep_text=keep_text, max_events=spec.endpoint.limits.max_events), text
