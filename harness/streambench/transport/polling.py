"""Engine.IO's long-polling as messages of a socket: each packet of an answer's body is one `Data`.

Bytes are turned into packets here and not above, since a packet is the message of this transport, as a frame is
WebSocket's: what is above sees the same arrivals from both.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

from streambench.endings import Ending, ErrorClass, http_error_class
from streambench.findings import Finding
from streambench.transport.arrivals import Arrival, Data, Ended, Failed, Head, Noted, Read
from streambench.transport.failures import MAX_EXCERPT_BYTES, RequestFailed, answer_excerpt
from streambench.wire.budget import Budget
from streambench.wire.decompress import Decompressor
from streambench.wire.engineio import SEPARATOR, Packet, PayloadDecoder, encode_frame
from streambench.wire.limits import WireError, WireLimits
from streambench.wire.portions import MOST, portions


class Answer:
    """Reads the answer to one request, whose arrivals an HTTP connection gives it: the body, or why there is none.

    `complete` when it has come as a whole; `failure` where it did not. Statuses in `welcome` are those of answers that
    can be used.
    """

    def __init__(self, limits: WireLimits, welcome: Container[int] = (200,)) -> None:
        self.complete = False
        self.failure: RequestFailed | None = None
        self._limits = limits
        self._welcome = welcome
        self._status = 0
        self._closes = False  # the end of the connection is the end of the body
        self._read_anything = False
        self._decompressor: Decompressor | None = None
        self._excerpt = bytearray()  # the beginning of a body that says why there is no answer

    def body(self, arrival: Arrival) -> Iterator[bytes]:
        """What an arrival brings of a welcome answer's body, its content coding undone. Raises WireError."""
        match arrival:
            case Read():
                self._read_anything = True
            case Head():
                self._status = arrival.status
                self._closes = not arrival.headers.keys() & {"content-length", "transfer-encoding"}
                encoding = arrival.headers.get("content-encoding")
                if encoding:
                    self._decompressor = Decompressor(encoding, self._limits)
            case Data(data=bytes(data)):
                for piece in (data,) if self._decompressor is None else self._decompressor.feed(data):
                    if self._status in self._welcome:
                        yield piece
                    elif len(self._excerpt) < MAX_EXCERPT_BYTES:
                        self._excerpt += piece[: MAX_EXCERPT_BYTES - len(self._excerpt)]
                    else:
                        return
            case Failed():
                self.fail(RequestFailed(arrival.error, arrival.message))
            case Ended():
                self._end(arrival.ending)

    def _end(self, ending: Ending) -> None:
        whole = ending is Ending.RESPONSE_END or (ending is Ending.FIN and self._status >= 200 and self._closes)
        if whole and self._status in self._welcome:
            self.complete = self.failure is None
        elif whole:
            said = answer_excerpt(bytes(self._excerpt))
            message = f"the server answered {self._status}" + (f": {said}" if said else "")
            self.fail(RequestFailed(http_error_class(self._status), message))
        else:
            reset = ending is Ending.RESET
            self.fail(
                RequestFailed(
                    ErrorClass.RESET if reset else ErrorClass.DISCONNECT,
                    f"the connection was {'reset' if reset else 'closed'} before the response was complete",
                    closed_idle=not self._read_anything,
                    reset=reset,
                )
            )

    def fail(self, failure: RequestFailed) -> None:
        """The answer cannot be used; the first reason stands."""
        if self.failure is None and not self.complete:
            self.failure = failure


class PacketReader:
    """Turns the answers to one session's GET requests into messages; `begin` before each of them."""

    def __init__(self, limits: WireLimits) -> None:
        self._limits = limits
        self._decoder = PayloadDecoder(limits)
        self._budget = Budget(limits)
        self._answer = Answer(limits)

    def begin(self) -> Answer:
        """The next request is about to be sent; returns what will be known of its answer."""
        self._answer = Answer(self._limits)
        return self._answer

    def take(self, arrivals: Iterable[Arrival]) -> Iterator[list[Arrival]]:
        """The arrivals of a GET's answer as those of a socket; an answer's own head and end are not among them.

        They come in lists that are short, whatever came. What cannot be read ends the session: `Failed` and `Ended` are
        the last arrivals then.
        """
        out: list[Arrival] = []
        spent = 0
        for arrival in arrivals:
            if isinstance(arrival, Read):
                self._budget.early_ns = arrival.early_ns
                out.append(Read(arrival.at_ns, arrival.size, arrival.kernel, early_ns=arrival.early_ns))
            try:
                for piece in self._answer.body(arrival):
                    self._budget.frames.spend(piece.count(SEPARATOR), arrival.at_ns - self._budget.early_ns)
                    for portion, size in portions(piece, SEPARATOR):
                        self._packets(self._decoder.feed(portion), arrival.at_ns, out)
                        self._decoder.feed(b"")  # raises what is wrong behind them
                        spent += 1 + size
                        if spent > MOST:
                            yield out
                            out, spent = [], 0
                if isinstance(arrival, Ended) and self._answer.complete:
                    self._budget.polls.spend(1, arrival.at_ns)
                    self._packets([self._decoder.finish()], arrival.at_ns, out)
            except WireError as error:
                ending = unreadable(error, arrival.at_ns)
                self._answer.fail(RequestFailed(ending[0].error, str(error)))
                out += [*self._noted(arrival.at_ns), *ending]
                break
        yield out

    def _packets(self, packets: list[Packet], at_ns: int, out: list[Arrival]) -> None:
        out += self._noted(at_ns)
        out += [Data(at_ns, encode_frame(packet), packet.offset) for packet in packets]

    def _noted(self, at_ns: int) -> list[Arrival]:
        findings: list[Finding] = self._decoder.take_findings()
        return [Noted(at_ns, finding) for finding in findings]


def unreadable(error: WireError, at_ns: int) -> tuple[Failed, Ended]:
    """What the server sent cannot be read any further, so we leave."""
    return Failed(at_ns, error.error_class, str(error), error.finding), Ended(at_ns, Ending.CLIENT)


def lost(failure: RequestFailed, at_ns: int) -> list[Arrival]:
    """A request has failed, and with it the session."""
    if failure.error in (ErrorClass.DISCONNECT, ErrorClass.RESET):
        return [Ended(at_ns, Ending.RESET if failure.reset else Ending.FIN, message=str(failure))]
    return [Failed(at_ns, failure.error, str(failure)), Ended(at_ns, Ending.RESPONSE_END)]
