"""Integrity of the text: what the upstream wrote is what the user reads."""

from __future__ import annotations

from streambench.analysis.differences import Sent, compare
from streambench.conformance.case import Keyword, Need, case
from streambench.conformance.judging import check, clean, streamed
from streambench.conformance.reply import Reply
from streambench.conformance.trial import Trial

MUST, SHOULD, MAY = Keyword
BOTH = (Need.TWO_SIDED,)
UPSTREAM = "the text that the upstream wrote"
ACCENTS = "Größe, naïve façade: Ελληνικά, русский, हिन्दी, 日本語, العربية and back. "
EMOJI = "Flags 🇩🇪🇫🇷, a family 👩‍👩‍👧‍👦, a wave 👋🏽, and a clef 𝄞 in a row. "
LAYOUT = "# Title\n\n- one\n  - two\n\n```python\nif x:\n\treturn  1\n```\n\nEnd.  \n"
TRICKY = 'He said "{\\"a\\": [1]}" & <b>it</b> \\n stays; data: [DONE] is text, too. '
FRAMES = 'First line\n\ndata: {"done": true}\n\nevent: error\n: comment\nlast line of the text'
LONG = "abcdefghij" * 2000


async def _text(trial: Trial, name: str, text: str) -> None:
    reply = await trial.planned(name, text=text)
    _same(trial, reply, text)


def _same(trial: Trial, reply: Reply, text: str) -> None:
    streamed(reply)
    if reply.text == text:
        return
    at = next((i for i, (a, b) in enumerate(zip(text, reply.text, strict=False)) if a != b), len(reply.text))
    check(
        False,
        f"the text differs from character {at + 1} on; {len(text)} characters were written, {len(reply.text)} came",
        expected=repr(text[at : at + 40]),
        got=repr(reply.text[at : at + 40]),
    )


async def _no(trial: Trial, *rules: str) -> None:
    """The comparison with the upstream's text finds nothing of this kind."""
    reply = await trial.planned("words", tokens=40)
    streamed(reply)
    entries = await trial.upstream.settled(reply.mark)
    check(bool(entries), "the prompt did not reach the upstream", expected="a request with its mark")
    sent = Sent(entries[-1]["text"], stopped=entries[-1]["ended"] == "cancelled")
    found = compare([sent], reply.text, complete=True)
    clean([finding for finding in found.findings if finding.rule in rules])


@case(
    "text.whole",
    MUST,
    "No text that the upstream wrote is lost.",
    source=UPSTREAM,
    remedy="Forward every chunk, including the last, before you end the reply.",
    defect="loses-text",
    needs=BOTH,
)
async def whole(trial: Trial) -> None:
    """Ask for a reply in which no word occurs twice.

    All of its words arrive.
    """
    await _no(trial, "content.lost")


@case(
    "text.once",
    MUST,
    "No text is sent twice.",
    source=UPSTREAM,
    remedy="Send only what is new, and keep track of what was sent.",
    defect="doubles-text",
    needs=BOTH,
)
async def once(trial: Trial) -> None:
    """Ask for a reply in which no word occurs twice.

    No word arrives twice.
    """
    await _no(trial, "content.duplicated")


@case(
    "text.in-order",
    MUST,
    "Text arrives in the order in which it was written.",
    source=UPSTREAM,
    remedy="Send chunks from one task, in the order in which they arrive.",
    defect="reorders-text",
    needs=BOTH,
)
async def in_order(trial: Trial) -> None:
    """Ask for a reply in which no word occurs twice.

    The words arrive in order.
    """
    await _no(trial, "content.reordered")


@case(
    "text.unchanged",
    MUST,
    "Text arrives unchanged.",
    source=UPSTREAM,
    remedy="Forward text as it is; escape and format it where it is displayed.",
    defect="alters-text",
    needs=BOTH,
)
async def unchanged(trial: Trial) -> None:
    """Ask for a reply in which no word occurs twice.

    No word is changed.
    """
    await _no(trial, "content.altered")


@case(
    "text.layout",
    MUST,
    "Line breaks, indentation and spaces arrive unchanged.",
    source=UPSTREAM,
    remedy="Do not strip chunks or split them at white space: Markdown and code depend on it.",
    defect="strips-chunks",
    needs=BOTH,
)
async def layout(trial: Trial) -> None:
    """Ask for a reply in Markdown with a list and code.

    Every character arrives.
    """
    await _text(trial, "layout", LAYOUT)


@case(
    "text.beyond-ascii",
    MUST,
    "Characters of every script arrive unchanged.",
    source=UPSTREAM,
    remedy="Use UTF-8 end to end.",
    defect="garbles-unicode",
    needs=BOTH,
)
async def beyond_ascii(trial: Trial) -> None:
    """Ask for a reply in several scripts.

    Every character arrives.
    """
    await _text(trial, "accents", ACCENTS * 2)


@case(
    "text.utf8-split",
    MUST,
    "A character whose bytes arrive in two reads stays intact.",
    source="RFC 3629, section 3",
    remedy="Decode the upstream's bytes with an incremental decoder, never read by read.",
    defect="splits-utf8",
    needs=BOTH,
)
async def utf8_split(trial: Trial) -> None:
    """Ask while the upstream splits characters across two writes.

    Every character arrives, and no U+FFFD.
    """
    reply = await trial.ask(
        plan={"text": ACCENTS, "faults": [{"fault": "split-utf8", "gap_ms": 100, "at": {"probability": 1}}]}
    )
    _same(trial, reply, ACCENTS)


@case(
    "text.emoji",
    MUST,
    "Emoji and other characters outside the basic plane stay intact.",
    source="RFC 8259, section 8.2",
    remedy="Split text between characters, never between UTF-16 code units.",
    defect="splits-pairs",
    needs=BOTH,
)
async def emoji(trial: Trial) -> None:
    """Ask for a reply with flags, families and skin tones.

    Every character arrives, none in two halves.
    """
    reply = await trial.planned("emoji", text=EMOJI * 2)
    streamed(reply)
    clean(reply.broken("content.lone-surrogate", "content.split-pair"))
    _same(trial, reply, EMOJI * 2)


@case(
    "text.tricky",
    MUST,
    "Quotes, backslashes, braces and markup arrive unchanged.",
    source="RFC 8259, section 7",
    remedy="Let a JSON library do the escaping, and do it once.",
    defect="escapes-html",
    needs=BOTH,
)
async def tricky(trial: Trial) -> None:
    """Ask for a reply with JSON, HTML and backslashes in it.

    Every character arrives.
    """
    await _text(trial, "tricky", TRICKY * 2)


@case(
    "text.done-is-text",
    MUST,
    "A reply that contains `[DONE]` does not end there.",
    source=UPSTREAM,
    remedy="Compare an event's whole data with `[DONE]`, not the model's text.",
    defect="stops-at-done",
    needs=BOTH,
)
async def done_is_text(trial: Trial) -> None:
    """Ask for a reply with `[DONE]` in the middle.

    The text after it arrives too.
    """
    await _text(trial, "done", "The stream ends with [DONE] as its last event, says the book, and so it does.")


@case(
    "text.frames-are-text",
    MUST,
    "A reply that looks like events cannot inject events.",
    source="WHATWG HTML, section 9.2.6",
    remedy="Escape line breaks in data: otherwise whatever the model writes becomes part of the protocol.",
    defect="raw-newlines",
    needs=(*BOTH, Need.EVENT_STREAM),
)
async def frames_are_text(trial: Trial) -> None:
    """Ask for a reply that contains lines of an event stream.

    They arrive as text.
    """
    await _text(trial, "frames", FRAMES)


@case(
    "text.long-chunk",
    MUST,
    "A chunk of 20,000 characters arrives complete.",
    source=UPSTREAM,
    remedy="Set no limit on lines or chunks below what a model can write at once.",
    defect="cuts-long-chunks",
    needs=BOTH,
)
async def long_chunk(trial: Trial) -> None:
    """Ask while the upstream replies with one word of 20,000 letters.

    All of it comes.
    """
    await _text(trial, "a long chunk", LONG)


@case(
    "text.long-reply",
    MUST,
    "A reply of 1,500 words arrives complete.",
    source=UPSTREAM,
    remedy="Look for a buffer, a counter or a timeout that ends long replies.",
    defect="caps-text",
    needs=BOTH,
)
async def long_reply(trial: Trial) -> None:
    """Ask for 1,500 words as fast as the upstream can write them.

    All of them arrive.
    """
    reply = await trial.planned("a long reply", tokens=1500, profile="instant")
    streamed(reply)
    entries = await trial.upstream.settled(reply.mark)
    check(bool(entries), "the prompt did not reach the upstream")
    _same(trial, reply, entries[-1]["text"])


@case(
    "text.upstream-comments",
    MUST,
    "Keep-alive comments from the upstream are not part of the reply.",
    source="WHATWG HTML, section 9.2.6",
    remedy="Read the upstream's stream with a parser that handles comment lines.",
    defect="comments-as-text",
    needs=BOTH,
)
async def upstream_comments(trial: Trial) -> None:
    """Ask while the upstream sends a comment before every chunk.

    The text is what the upstream wrote, and the reply is complete.
    """
    text = "The comments stay behind, and the text of this reply arrives alone."
    reply = await trial.ask(plan={"text": text, "faults": [{"fault": "comments"}]})
    _same(trial, reply, text)
    check(reply.complete and not reply.interrupted, "the reply is not complete", got=reply.error or "")


@case(
    "text.upstream-frames",
    MUST,
    "The reply does not depend on how the upstream's bytes are split into packets.",
    source="WHATWG HTML, section 9.2.6",
    remedy="Parse the upstream's stream line by line, not read by read.",
    defect="needs-whole-frames",
    needs=BOTH,
)
async def upstream_frames(trial: Trial) -> None:
    """Ask while the upstream writes a few bytes at a time.

    The text is what the upstream wrote.
    """
    text = "Cut anywhere, this reply stays the same."
    faults = [{"fault": "drip", "bytes": 7, "gap_ms": 1}]
    reply = await trial.ask(plan={"text": text, "profile": "instant", "faults": faults})
    _same(trial, reply, text)
