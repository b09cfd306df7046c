"""From what arrives of a stream to its record: content types and encodings, messages, findings, and how it ended.

A decoding takes the arrivals of one stream in their order, live, behind the reads, or from a file; it asks for no time
and waits for nothing, so the record is the same each time. What a driver must know of the stream while it runs is one
value, its `Progress`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from enum import IntEnum

from streambench.dialects.out_of_turn import is_end, late_end
from streambench.endings import Ending, ErrorClass
from streambench.printable import printable
from streambench.record.recorder import Recorder, wrong_content_type
from streambench.record.sockets import SocketReader, charge, open_reader
from streambench.record.tap import Setting
from streambench.transport.arrivals import (
    Arrival,
    Cancelled,
    Connected,
    Data,
    Ended,
    Failed,
    Head,
    Noted,
    Read,
    Reads,
    Resent,
    Sent,
    Usual,
)
from streambench.transport.failures import MAX_EXCERPT_BYTES, answer_excerpt
from streambench.wire.budget import Budget, event_meter, line_meter
from streambench.wire.decompress import Decompressor
from streambench.wire.framings import FRAMINGS
from streambench.wire.limits import FloodError, WireError, WireLimits
from streambench.wire.message import WireMessage
from streambench.wire.portions import BYTES_SHIFT, MOST, cost, portions

MAX_ENCODING_CHARS = 100
MAX_DELTA_BYTES = 1 << 16  # of deltas that repeat one another: these take no longer than a portion of anything else
SHORT_BYTES = 1 << 12  # of a read whose lines are counted to find out whether it takes long


class Progress(IntEnum):
    """How far a stream has come, as far as it matters to whoever waits for it; it never goes back."""

    WAITING = 0  # for the first content
    STREAMING = 1
    COMPLETE = 2  # the terminal event came; only the end of the response is missing
    INTERRUPTED = 3  # an event said that the stream has failed; the protocol's own closing event may follow
    ABANDONED = 4  # it has failed, and there is nothing to wait for
    ENDED = 5


_WAITING, _STREAMING = Progress.WAITING, Progress.STREAMING


class StreamDecoding:
    """Turns the arrivals of one stream into calls of its recorder.

    `alive_ns` is the stamp of the newest sign of life, None before the first.
    """

    def __init__(self, recorder: Recorder, setting: Setting) -> None:
        self.alive_ns: int | None = None
        self._recorder = recorder
        self._tap = recorder.tap
        if self._tap is not None:
            self._tap.begin(setting)
        self._complete_ns: int | None = None  # when the dialect had all it needs

    @property
    def progress(self) -> Progress:
        """How far the stream has come."""
        recorder = self._recorder
        if recorder.done:
            if recorder.ended:
                return Progress.ENDED
            if recorder.unreadable:
                return Progress.ABANDONED
            return Progress.COMPLETE if recorder.record.error is None else Progress.INTERRUPTED
        return Progress.STREAMING if recorder.chunks else Progress.WAITING

    @property
    def chunks(self) -> int:
        """How many events with text have come."""
        return self._recorder.chunks

    def milestone(self, name: str) -> Callable[[], bool]:
        """What says whether the stream has come to a milestone of its dialect by now."""
        return self._recorder.milestone(name)

    @property
    def stream_id(self) -> str:
        """The stream's name in its run."""
        return self._recorder.record.id

    def take(self, arrivals: Sequence[Arrival]) -> Progress:
        """Take in what came next: the arrivals of one read, or what the driver itself has to say."""
        if self._tap is not None:
            self._tap.take(arrivals)
        if self._recorder.ended:
            self._too_late(arrivals)
            return Progress.ENDED
        recorder = self._recorder
        for arrival in arrivals:
            kind = arrival.__class__
            if kind is Data:
                if not recorder.unreadable:
                    self._data(arrival)  # type: ignore[arg-type]
            elif kind is Read:
                self._read(arrival)  # type: ignore[arg-type]
            else:
                self._other(arrival)
        if recorder.done:
            return self.progress
        return _STREAMING if recorder.chunks else _WAITING

    @property
    def usual(self) -> Usual | None:
        """How the data of a read begins and ends that may be taken in together with others; None if none may."""
        return None

    def take_together(self, reads: Reads) -> bool:
        """Take in what several reads brought, where each is one more delta; else nothing is taken."""
        return False

    def is_long(self, arrivals: Sequence[Arrival]) -> bool:
        """Whether taking these in may last longer than others should wait."""
        return False

    def turns(self, arrivals: Sequence[Arrival]) -> Iterator[Progress]:
        """The same as `take`, in turns that are short whatever came: how far the stream has come between two."""
        self.take(arrivals)
        yield from ()

    def _other(self, arrival: Arrival) -> None:
        """Arrivals that a stream has few of."""
        recorder = self._recorder
        match arrival:
            case Connected():
                recorder.connected(
                    arrival.at_ns,
                    reused=arrival.reused,
                    ahead_ns=arrival.ahead_ns,
                    again=arrival.again,
                    own_ns=arrival.own_ns,
                )
            case Sent():
                recorder.sent(arrival.at_ns, late_ns=arrival.late_ns)
            case Resent():
                recorder.resent()
            case Head():
                self._head(arrival)
            case Noted(finding=finding):
                recorder.findings([finding])
            case Failed():
                self._failed(arrival)
            case Ended():
                self._end(arrival)
            case Cancelled(at_ns=at_ns, left=True):
                recorder.leave(at_ns)
            case Cancelled(at_ns=at_ns):
                recorder.censor(at_ns)

    def _messages(self, messages: Iterable[WireMessage], at_ns: int) -> None:
        self._recorder.messages(messages, at_ns)
        self._recorded(at_ns)

    def _recorded(self, at_ns: int) -> None:
        """Events of the read with this stamp were recorded."""
        if self._recorder.done and self._complete_ns is None:
            self._complete_ns = at_ns

    def _over(self, ending: Ending, at_ns: int, close_code: int | None = None, *, cut: bool = False) -> None:
        """The stream is over; where it was complete before, it ended then."""
        self._recorder.end(ending, at_ns if self._complete_ns is None else self._complete_ns, close_code, cut=cut)

    # What the kinds of transport differ in

    def _read(self, read: Read) -> None:
        raise NotImplementedError

    def _data(self, data: Data) -> None:
        raise NotImplementedError

    def _head(self, head: Head) -> None:
        """The head of a response; a socket's answer to the upgrade says nothing of a stream."""

    def _too_late(self, arrivals: Sequence[Arrival]) -> None:
        """What comes after the end of the stream."""

    def _failed(self, failed: Failed) -> None:
        if failed.finding is not None:
            self._recorder.findings([failed.finding])
        self._recorder.fail(failed.error, failed.message)

    def _end(self, ended: Ended) -> None:
        self._over(ended.ending, ended.at_ns, ended.close_code)


class ResponseDecoding(StreamDecoding):
    """A stream that is the body of one HTTP response, whichever version; `transport` names its framing."""

    def __init__(self, recorder: Recorder, transport: str, limits: WireLimits) -> None:
        super().__init__(recorder, Setting(transport, limits))
        self._framing = FRAMINGS[transport]
        self._limits = limits
        assert self._framing.body is not None
        self._decoder = self._framing.body(limits)
        self._repeats = recorder.repeats(self._decoder, min(limits.max_event_bytes, limits.max_line_bytes))
        self._decompressor: Decompressor | None = None
        self._lines, self._events = line_meter(limits), event_meter(limits)
        self._early_ns = 0  # that of the newest read
        self._excerpt: bytearray | None = None  # the body is an answer to show, not a stream
        self._status = 0
        self._unwelcome_type: str | None = None
        self._broken = False  # what came cannot be read any further

    def _read(self, read: Read) -> None:
        self.alive_ns = read.at_ns
        self._early_ns = read.early_ns
        self._recorder.read(read.at_ns, read.size, kernel=read.kernel, early_ns=read.early_ns)
        if read.pieces > 1:
            self._recorder.coalesced()

    def _head(self, head: Head) -> None:
        recorder = self._recorder
        encoding = head.headers.get("content-encoding") or None
        recorder.headers(head.status, head.at_ns, encoding and printable(encoding)[:MAX_ENCODING_CHARS])
        self._status = head.status
        content_type = head.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not 200 <= head.status < 300:
            self._excerpt = bytearray()
        elif content_type not in self._framing.content_types:
            recorder.findings([wrong_content_type(self._framing.accept, content_type)])
            if content_type in self._framing.not_streams:
                self._unwelcome_type = content_type
                self._excerpt = bytearray()
        try:
            if encoding:
                self._decompressor = Decompressor(encoding, self._limits)
        except WireError as error:
            self._unreadable(error)

    @property
    def usual(self) -> Usual | None:
        """As the newest deltas."""
        return None if self._decompressor is not None or self._recorder.done else self._repeats.usual

    def take_together(self, reads: Reads) -> bool:
        """Take them in where each is one more delta: nothing but the text and the stamps has to be looked at."""
        recorder, repeats, count = self._recorder, self._repeats, len(reads.data)
        if self.usual is None or not recorder.has_room(count):
            return False
        if not (self._lines.affords(count * repeats.lines) and self._events.affords(count)):
            return False
        texts = repeats.text_of_each(reads.data)
        if texts is None:
            return False
        if self._tap is not None:
            self._tap.take_together(reads)
        self.alive_ns = reads.at_ns[-1]
        repeats.pass_over(reads.data)
        recorder.reads(reads)
        recorder.delta_of_each(texts, reads.at_ns)
        self._lines.spend_each(repeats.lines, reads.at_ns, reads.apart_ns)
        self._events.spend_each(1, reads.at_ns, reads.apart_ns)
        return True

    def is_long(self, arrivals: Sequence[Arrival]) -> bool:
        """Whether it may hold more than a portion."""
        if self._decompressor is not None or any(map(_announces_compressed, arrivals)):
            return True
        data = [arrival.data for arrival in arrivals if isinstance(arrival, Data)]
        return sum(map(len, data)) > SHORT_BYTES or sum(map(cost, data)) > MOST

    def turns(self, arrivals: Sequence[Arrival]) -> Iterator[Progress]:
        """A portion of the body a turn. What is left once the stream is over is dropped, as what comes later."""
        if self._tap is not None:
            self._tap.take(arrivals)
        recorder = self._recorder
        if recorder.ended:
            return
        spent = 0
        for arrival in arrivals:
            match arrival:
                case Data() if not recorder.unreadable:
                    for size in self._portions(arrival):
                        spent += 1 + size
                        if spent > MOST and not recorder.unreadable:
                            yield self.progress
                            spent = 0
                            if recorder.ended:
                                return
                case Data():
                    pass
                case Read():
                    self._read(arrival)
                case _:
                    self._other(arrival)

    def _data(self, data: Data) -> None:
        if self._decompressor is None:
            self._taken(data.data, data.at_ns)
        else:
            for _ in self._portions(data):
                pass

    def _portions(self, data: Data) -> Iterator[int]:
        """Take in data portion by portion, saying what each has cost."""
        assert isinstance(data.data, bytes)
        pieces: Iterator[bytes] = iter((data.data,))
        if self._decompressor is not None:
            pieces = self._decompressor.feed(data.data)
        while not (self._broken or self._recorder.unreadable or self._has_excerpt):
            try:
                piece = next(pieces, None)
            except WireError as error:
                self._unreadable(error)
                return
            if piece is None:
                return
            for part in self._repeats.parts(piece):
                if len(part) <= MAX_DELTA_BYTES and self._deltas(part, data.at_ns):
                    yield len(part) >> BYTES_SHIFT
                    continue
                for portion, size in portions(part):
                    self._taken(portion, data.at_ns)
                    yield size

    def _deltas(self, part: bytes, at_ns: int) -> bool:
        """Take in what consists of deltas that repeat one another; False where it is anything else."""
        if self._excerpt is not None or self._broken or self._recorder.unreadable:
            return False
        texts = self._repeats.texts(part)
        if texts is None:
            return False
        try:
            self._texts(texts, at_ns)
        except WireError as error:
            self._unreadable(error)
        return True

    def _taken(self, piece: bytes | str, at_ns: int) -> None:
        if self._broken or self._recorder.unreadable:
            return
        assert isinstance(piece, bytes)
        try:
            self._piece(piece, at_ns)
        except WireError as error:
            self._unreadable(error)

    @property
    def _has_excerpt(self) -> bool:
        return self._excerpt is not None and len(self._excerpt) >= MAX_EXCERPT_BYTES

    def _piece(self, piece: bytes, at_ns: int) -> None:
        """The next bytes of the body, content coding undone. Raises WireError."""
        if self._excerpt is not None:
            self._excerpt += piece[: MAX_EXCERPT_BYTES - len(self._excerpt)]
            return
        for part in self._repeats.parts(piece):
            self._part(part, at_ns)
            if self._recorder.unreadable:
                return

    def _part(self, piece: bytes, at_ns: int) -> None:
        """The next bytes of a stream. Raises WireError."""
        recorder = self._recorder
        since_ns = at_ns - self._early_ns
        texts = self._repeats.texts(piece)
        if texts is not None:
            self._texts(texts, at_ns)
            return
        # Before they are read: lines without an event in them would cost as much as events.
        lines = piece.count(b"\n")
        if b"\r" in piece:
            lines += piece.count(b"\r")
        self._lines.spend(lines, since_ns)
        decoder = self._decoder
        messages = decoder.feed(piece)
        if messages:
            self._messages(messages, at_ns)
        if decoder.findings:
            recorder.findings(decoder.take_findings())
        if messages:
            self._events.spend(len(messages), since_ns)
            if decoder.failure is not None:
                raise decoder.failure

    def _texts(self, texts: list[str], at_ns: int) -> None:
        """The texts of as many deltas. Raises WireError."""
        since_ns, count = at_ns - self._early_ns, len(texts)
        self._lines.spend(count * self._repeats.lines, since_ns)
        self._recorder.deltas(texts, at_ns)
        self._recorded(at_ns)
        self._events.spend(count, since_ns)

    def _end(self, ended: Ended) -> None:
        recorder = self._recorder
        if self._excerpt is not None:
            excerpt = answer_excerpt(bytes(self._excerpt))
            if self._unwelcome_type is None:
                recorder.fail_status(self._status, excerpt)
            else:
                expected = self._framing.accept
                recorder.fail(ErrorClass.PROTOCOL, f"the response is {self._unwelcome_type}, not {expected}: {excerpt}")
        else:
            try:
                for message in self._decoder.finish() if not self._broken else ():
                    recorder.message(message, ended.at_ns)
            except WireError as error:
                self._unreadable(error)
            recorder.findings(self._decoder.take_findings())
        self._over(ended.ending, ended.at_ns, cut=ended.cut)

    def _unreadable(self, error: WireError) -> None:
        self._broken = True
        if self._excerpt is not None:
            return  # the status or the type says what is wrong; the body was only to be shown
        self._recorder.findings([*self._decoder.take_findings(), error.finding])
        self._recorder.fail(error.error_class, str(error))


def _announces_compressed(arrival: Arrival) -> bool:
    return isinstance(arrival, Head) and "content-encoding" in arrival.headers


class SocketDecoding(StreamDecoding):
    """A reply on a socket that outlives it.

    `reader` is the connection's own, and knows what came before; what it found until now belongs to no reply. Only
    messages are signs of life: a server may go on with its heartbeat long after the reply has died. The end of the
    reply before, where it comes once more, is none of this reply's events.
    """

    def __init__(
        self, recorder: Recorder, reader: SocketReader, limits: WireLimits, setting: Setting | None = None
    ) -> None:
        reader.take_findings()
        setting = setting or reader.setting()
        super().__init__(recorder, setting)
        self._follows = setting.follows
        self._end_told = setting.end_told
        self._budget = Budget(limits)
        self._reader = reader
        self._repeats = recorder.message_repeats(limits.max_event_bytes)
        self._texts: list[str] = []  # of deltas of the read at hand that are not recorded yet
        self._begin_offset: int | None = None  # of what came first, were it a heartbeat
        self._first_offset = -1  # of the reply's first message, once it has come
        self._messages_in_read = 0

    def take(self, arrivals: Sequence[Arrival]) -> Progress:
        """Take in what came next, and what the reader found in it."""
        if self._tap is not None:
            self._tap.take(arrivals)
        if self._recorder.ended:
            self._too_late(arrivals)
            return Progress.ENDED
        begin = 0
        while begin < len(arrivals):
            arrival = arrivals[begin]
            taken = 1
            if isinstance(arrival, Read):
                self._read(arrival)
            elif not isinstance(arrival, Data):
                self._other(arrival)
            elif not self._recorder.unreadable:
                taken = self._run(arrivals, begin)
                if not taken:
                    self._data(arrival)
            begin += max(taken, 1)
        self._record_texts()
        if not self._recorder.ended:
            self._take_findings()
        return self.progress

    def _read(self, read: Read) -> None:
        self._settle()
        self._budget.early_ns = read.early_ns
        self._recorder.read(read.at_ns, read.size, kernel=read.kernel, early_ns=read.early_ns)

    def _run(self, arrivals: Sequence[Arrival], begin: int) -> int:
        """Take in the messages from `begin` on that are deltas of one read; returns how many.

        A message that comes alone is not taken so: gathering costs more than one message saves.
        """
        if begin + 1 == len(arrivals) or arrivals[begin + 1].__class__ is not Data:
            return 0
        run = self._repeats.run(arrivals, begin, self._reader.lead)
        if not run:
            return 0
        count, events = len(run[0]), self._budget.events
        last = arrivals[begin + count - 1]
        assert isinstance(last, Data)
        texts = self._repeats.take(run, last.offset - self._first_offset) if events.affords(count) else None
        if texts is None:
            for arrival in arrivals[begin : begin + count]:
                if isinstance(arrival, Data) and not self._recorder.unreadable:
                    self._data(arrival)
        else:
            events.spend(count, last.at_ns - self._budget.early_ns)
            self.alive_ns = last.at_ns
            self._messages_in_read += count
            self._texts += texts
        return count

    def _data(self, data: Data) -> None:
        delta = self._repeats.delta(data.data, self._reader.lead, data.offset - self._first_offset)
        if delta is None:
            self._message(data)
            return
        try:
            self._budget.events.spend(1, data.at_ns - self._budget.early_ns)
        except FloodError as error:
            self._give_up(error, data.at_ns)
            return
        self.alive_ns = data.at_ns
        self._messages_in_read += 1
        text, findings = delta
        self._texts.append(text)
        if findings:
            self._record_texts()
            self._recorder.findings(findings)

    def _message(self, data: Data) -> None:
        """Take in a message that has to be read."""
        self._record_texts()
        if self._begin_offset is None:
            self._begin_offset = data.offset
        asked = self._reader.asked
        messages = self._reader.read(data)
        try:
            charge(self._budget, data, messages, asks=self._reader.asked > asked)
        except FloodError as error:
            self._give_up(error, data.at_ns)
            return
        if self._follows and messages:
            messages = self._own_messages(messages)
        if messages:
            self.alive_ns = data.at_ns
            self._messages_in_read += len(messages)
            if self._first_offset < 0:
                self._first_offset = messages[0].offset
            for message in messages:
                message.offset -= self._first_offset
            self._messages(messages, data.at_ns)
        if self._reader.loss is not None:
            self._lost(data.at_ns)

    def _own_messages(self, messages: Sequence[WireMessage]) -> Sequence[WireMessage]:
        """The messages of this reply: without those, ahead of its first, that can only end the reply before."""
        dialect = self._recorder.dialect
        for index, message in enumerate(messages):
            if not is_end(dialect, message):
                self._follows = ""
                return messages[index:]
            if not self._end_told:
                self._end_told = True
                self._recorder.findings([late_end(dialect, message, self._follows)])
        return ()

    def _record_texts(self) -> None:
        texts = self._texts
        if texts:
            assert self.alive_ns is not None
            self._texts = []
            self._recorder.deltas(texts, self.alive_ns)
            self._recorded(self.alive_ns)

    def _give_up(self, error: FloodError, at_ns: int) -> None:
        self._reader.give_up(error)
        self._lost(at_ns)

    def _other(self, arrival: Arrival) -> None:
        self._record_texts()
        self._reader.read(arrival)
        if isinstance(arrival, Cancelled):
            self._settle()
        if not isinstance(arrival, Noted):
            super()._other(arrival)

    def _too_late(self, arrivals: Sequence[Arrival]) -> None:
        for arrival in arrivals:
            self._reader.read(arrival)

    def _settle(self) -> None:
        """All arrivals of a read have been taken."""
        self._record_texts()
        if self._messages_in_read > 1:
            self._recorder.coalesced()
        self._messages_in_read = 0
        self._take_findings()

    def _failed(self, failed: Failed) -> None:
        self._take_findings()
        self._recorder.fail(failed.error, failed.message)

    def _end(self, ended: Ended) -> None:
        self._settle()
        super()._end(ended)

    def _lost(self, at_ns: int) -> None:
        """The session on the socket has ended, or cannot be read any further."""
        loss = self._reader.loss
        assert loss is not None
        self._settle()
        if loss.error is not None:
            self._recorder.fail(loss.error, str(loss))
        self._over(loss.ending, at_ns, loss.close_code)

    def _take_findings(self) -> None:
        first = (self._begin_offset or 0) if self._first_offset < 0 else self._first_offset
        for finding in self._reader.take_findings():
            offset = finding.offset
            within = None if offset is None or offset < first else offset - first
            self._recorder.findings([replace(finding, offset=within)])


def open_decoding(recorder: Recorder, setting: Setting) -> StreamDecoding:
    """The decoding of a stream with such a setting, from its beginning."""
    if not FRAMINGS[setting.transport].is_socket:
        return ResponseDecoding(recorder, setting.transport, setting.limits)
    return SocketDecoding(recorder, open_reader(setting), setting.limits, setting)
