"""Framing of events: bytes that every popular client reads the same way."""

from __future__ import annotations

import itertools

from streambench.conformance.case import Keyword, Need, case
from streambench.conformance.judging import check, clean, streamed
from streambench.conformance.trial import Trial

MUST, SHOULD, MAY = Keyword
SSE = (Need.EVENT_STREAM,)
HTML = "WHATWG HTML, section 9.2.6"


async def _rule(trial: Trial, *rules: str) -> None:
    reply = await trial.plain()
    streamed(reply)
    clean(reply.broken(*rules))


@case(
    "sse.utf8",
    MUST,
    "An event stream is valid UTF-8.",
    source="WHATWG HTML, section 9.2.5",
    remedy="Encode whole characters: decode the upstream's bytes incrementally before you split them again.",
    defect="invalid-utf8",
    needs=SSE,
)
async def utf8(trial: Trial) -> None:
    """Ask an ordinary question.

    Every byte of the body is part of a valid character.
    """
    await _rule(trial, "sse.invalid-utf8")


@case(
    "sse.no-bom",
    SHOULD,
    "An event stream begins without a byte order mark.",
    source=HTML,
    remedy="Write UTF-8 without a byte order mark: clients that do not strip it lose the first field.",
    defect="sse-bom",
    needs=SSE,
)
async def no_bom(trial: Trial) -> None:
    """Ask an ordinary question.

    The body does not begin with EF BB BF.
    """
    await _rule(trial, "sse.bom")


@case(
    "sse.no-bare-cr",
    SHOULD,
    "No line ends in CR alone.",
    source=HTML,
    remedy="End lines in LF: clients that look for LF never see the event end.",
    defect="sse-bare-cr",
    needs=SSE,
)
async def no_bare_cr(trial: Trial) -> None:
    """Ask an ordinary question.

    Every CR is followed by LF.
    """
    await _rule(trial, "sse.bare-cr")


@case(
    "sse.lf",
    SHOULD,
    "Lines end in LF.",
    source=HTML,
    remedy="End lines in LF and events in two: clients that split at LF LF never see an event end in CR LF.",
    defect="sse-crlf",
    needs=SSE,
)
async def lf(trial: Trial) -> None:
    """Ask an ordinary question.

    No line ends in CR LF.
    """
    await _rule(trial, "sse.crlf")


@case(
    "sse.space",
    SHOULD,
    "A space follows `data:`.",
    source=HTML,
    remedy="Write `data: `: clients that look for it skip lines without the space.",
    defect="sse-no-space",
    needs=SSE,
)
async def space(trial: Trial) -> None:
    """Ask an ordinary question.

    Every data line begins with `data: `.
    """
    await _rule(trial, "sse.no-space")


@case(
    "sse.one-line",
    SHOULD,
    "The data of an event is one line.",
    source=HTML,
    remedy="Write JSON on one line: clients that parse each line separately get fragments.",
    defect="sse-multi-line",
    needs=SSE,
)
async def one_line(trial: Trial) -> None:
    """Ask an ordinary question.

    No event has more than one data line.
    """
    await _rule(trial, "sse.multi-line-data")


@case(
    "sse.no-foreign-line-ends",
    SHOULD,
    "The data contains no character that clients treat as a line break.",
    source="RFC 8259, section 7, allows the escape",
    remedy="Escape U+2028, U+2029 and U+0085 in JSON: Python clients split the event there.",
    defect="sse-line-separator",
    needs=SSE,
)
async def no_foreign_line_ends(trial: Trial) -> None:
    """Ask an ordinary question.

    The data contains no character that Python's splitlines treats as a line break.
    """
    await _rule(trial, "sse.foreign-line-end")


@case(
    "sse.data",
    SHOULD,
    "Every block has data.",
    source=HTML,
    remedy="Send keep-alives as comments (`: ping`): a block without data makes some SDKs emit an empty event.",
    defect="sse-no-data",
    needs=SSE,
)
async def data(trial: Trial) -> None:
    """Ask an ordinary question.

    No block with fields lacks data, and no id is followed by a blank block.
    """
    await _rule(trial, "sse.no-data", "sse.blank-block-after-id")


@case(
    "sse.last-event-dispatched",
    SHOULD,
    "A blank line follows the last event.",
    source=HTML,
    remedy="End the last event with a blank line too: otherwise conforming clients drop it.",
    defect="sse-cut-tail",
    needs=SSE,
)
async def last_event_dispatched(trial: Trial) -> None:
    """Ask an ordinary question.

    The body ends with a blank line.
    """
    await _rule(trial, "sse.undispatched-tail")


@case(
    "sse.flushed-whole",
    SHOULD,
    "An event is not split across writes that are far apart.",
    source="WHATWG HTML, section 9.2.6: an event is dispatched by the blank line after it",
    remedy="Write an event and its blank line in one go: clients dispatch the event only at the blank line.",
    defect="splits-events",
    needs=SSE,
    timed=True,
)
async def flushed_whole(trial: Trial) -> None:
    """Ask an ordinary question.

    No read ends in the middle of an event, unless the next one follows within 20 ms.
    """
    reply = await trial.plain()
    streamed(reply)
    pieces = reply.exchange.pieces
    for (at_ns, piece), (next_ns, _) in itertools.pairwise(pieces):
        held_ms = (next_ns - at_ns) / 1e6
        check(
            piece.endswith((b"\n\n", b"\r\n\r\n", b"\r\r")) or held_ms < 20,
            f"an event was written in two parts, {held_ms:.0f} ms apart",
            got=piece[-60:].decode("utf-8", "replace"),
        )
