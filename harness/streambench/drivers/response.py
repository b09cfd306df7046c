"""What a response means for the record: its status, its content type, its encoding, and the messages in its body."""

from __future__ import annotations

import json
from collections.abc import Mapping

from streambench.drivers.decompress import Decompressor
from streambench.drivers.target import TargetSpec
from streambench.endings import Ending, ErrorClass
from streambench.record.recorder import Recorder, wrong_content_type
from streambench.wire.limits import OversizeError, WireError
from streambench.wire.ndjson import NdjsonDecoder
from streambench.wire.sse import SseDecoder

MAX_EXCERPT_BYTES = 2048
CONTENT_TYPES = {
    "sse": ("text/event-stream",),
    "ndjson": (
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/json-lines",
        "application/stream+json",
        "application/json",
    ),
}
# A body of one of these is a page or an answer, never a stream that only lacks the right label.
NOT_STREAMS = {"sse": ("text/html", "application/json", "application/problem+json"), "ndjson": ("text/html",)}


class ResponseReader:
    """What a response's head and body mean for the record, the same for every version of HTTP.

    The HTTP layer calls `head` once, then `body` for each piece.
    """

    def __init__(self, spec: TargetSpec, recorder: Recorder) -> None:
        self._spec = spec
        self.recorder = recorder
        self._decoder: SseDecoder | NdjsonDecoder = (
            SseDecoder(spec.limits) if spec.dialect.transport == "sse" else NdjsonDecoder(spec.limits)
        )
        self._decompressor: Decompressor | None = None
        self._excerpt: bytearray | None = None  # the body is an answer to show, not a stream
        self._status = 0
        self._unwelcome_type: str | None = None
        self._unreadable = False
        self.complete_ns: int | None = None  # when the dialect had all it needs

    def head(self, status: int, headers: Mapping[str, str], at_ns: int) -> None:
        """The response's status and its headers, names in lower case."""
        recorder = self.recorder
        recorder.headers(status, at_ns)
        self._status = status
        content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        transport = self._spec.dialect.transport
        if not 200 <= status < 300:
            self._excerpt = bytearray()
        elif content_type not in CONTENT_TYPES[transport]:
            expected = CONTENT_TYPES[transport][0]
            recorder.findings([wrong_content_type(expected, content_type)])
            if content_type in NOT_STREAMS[transport]:
                self._unwelcome_type = content_type
                self._excerpt = bytearray()
        try:
            if headers.get("content-encoding"):
                self._decompressor = Decompressor(headers["content-encoding"], self._spec.limits.max_decompressed_bytes)
        except WireError as error:
            self._wire_error(error)

    def body(self, data: bytes, at_ns: int) -> None:
        """A piece of the body, transfer coding removed; `at_ns` is when it arrived."""
        recorder = self.recorder
        if self._unreadable:
            return
        try:
            if self._decompressor is not None:
                data = self._decompressor.feed(data)
            if self._excerpt is not None:
                self._excerpt += data[: MAX_EXCERPT_BYTES - len(self._excerpt)]
                return
            messages = self._decoder.feed(data)
        except WireError as error:
            self._wire_error(error)
            return
        for message in messages:
            recorder.message(message, at_ns)
        if self._decoder.findings:
            recorder.findings(self._decoder.take_findings())
        if recorder.done and self.complete_ns is None:
            self.complete_ns = at_ns
        if messages:
            try:
                self._decoder.feed(b"")  # raises what is wrong behind them
            except WireError as error:
                self._wire_error(error)

    def end(self, ending: Ending, at_ns: int) -> None:
        """The response is over."""
        recorder = self.recorder
        if self._excerpt is not None:
            excerpt = answer_excerpt(bytes(self._excerpt))
            if self._unwelcome_type is None:
                recorder.fail_status(self._status, excerpt)
            else:
                expected = CONTENT_TYPES[self._spec.dialect.transport][0]
                recorder.fail(ErrorClass.PROTOCOL, f"the response is {self._unwelcome_type}, not {expected}: {excerpt}")
        else:
            try:
                for message in self._decoder.finish() if not self._unreadable else ():
                    recorder.message(message, at_ns)
            except WireError as error:
                self._wire_error(error)
            recorder.findings(self._decoder.take_findings())
        recorder.end(ending, self.complete_ns if self.complete_ns is not None else at_ns)

    def _wire_error(self, error: WireError) -> None:
        self._unreadable = True
        if self._excerpt is not None:
            return  # the status or the type says what is wrong; the body was only to be shown
        self.recorder.findings([*self._decoder.take_findings(), error.finding])
        oversize = isinstance(error, OversizeError)
        self.recorder.fail(ErrorClass.OVERSIZE if oversize else ErrorClass.PROTOCOL, str(error))


def answer_excerpt(body: bytes) -> str:
    """The beginning of an answer for a message: an error object's own message where there is one."""
    text = body.decode("utf-8", "replace").strip()
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return " ".join(text.split())[:300]
    error = data.get("error", data.get("message", data.get("detail"))) if isinstance(data, dict) else None
    if isinstance(error, dict):
        error = error.get("message", error)
    return (error if isinstance(error, str) else " ".join(text.split()))[:300]
