"""Transport and headers: what a response must say before the first byte of its body."""

from __future__ import annotations

from streambench.conformance.case import Keyword, Need, case
from streambench.conformance.judging import check, describe, refused, streamed
from streambench.conformance.reply import EVENT_STREAM
from streambench.conformance.trial import Trial
from streambench.units import NS_PER_MS

MUST, SHOULD, MAY = Keyword
HTTP = (Need.EVENT_STREAM,)
LATE_MS = 300
SLOW_FIRST = {"profile": {"name": "fixed", "ttft_ms": 900, "gap_ms": 5}, "tokens": 8}


@case(
    "http.status-200",
    MUST,
    "A stream that begins is answered 200.",
    source="WHATWG HTML, section 9.2.3",
    remedy="Answer 200; EventSource fails the connection on every other status.",
    defect="status-202",
    needs=HTTP,
)
async def status_200(trial: Trial) -> None:
    """Ask an ordinary question.

    The status is 200.
    """
    reply = await trial.plain()
    check(reply.status == 200, "the stream has another status", expected="200", got=str(reply.status))


@case(
    "sse.content-type",
    MUST,
    "An event stream is served as text/event-stream.",
    source="WHATWG HTML, section 9.2.3",
    remedy="Send `Content-Type: text/event-stream`; clients refuse to read anything else as events.",
    defect="wrong-content-type",
    needs=HTTP,
)
async def content_type(trial: Trial) -> None:
    """Ask an ordinary question.

    The content type without its parameters is text/event-stream.
    """
    reply = await trial.plain()
    given = reply.exchange.headers.get("content-type", "no content type")
    check(reply.content_type == EVENT_STREAM, "the content type is another", expected=EVENT_STREAM, got=given)


@case(
    "sse.charset",
    MUST,
    "An event stream names no other character encoding than UTF-8.",
    source="WHATWG HTML, section 9.2.5",
    remedy="Leave the charset out, or write `charset=utf-8`: event streams are always UTF-8.",
    defect="latin1-charset",
    needs=HTTP,
)
async def charset(trial: Trial) -> None:
    """Ask an ordinary question.

    The content type has no charset, or UTF-8.
    """
    reply = await trial.plain()
    given = reply.exchange.headers.get("content-type", "")
    parameters = {
        name.strip().lower(): value.strip().strip('"').lower()
        for name, _, value in (part.partition("=") for part in given.split(";")[1:])
    }
    check(parameters.get("charset", "utf-8") == "utf-8", "another charset", expected="charset=utf-8", got=given)


@case(
    "http.not-cached",
    SHOULD,
    "A stream tells caches to keep nothing of it.",
    source="WHATWG HTML, section 9.2.8; RFC 9111, section 5.2.2",
    remedy="Send `Cache-Control: no-cache` or `no-store`.",
    defect="cacheable-stream",
    needs=HTTP,
)
async def not_cached(trial: Trial) -> None:
    """Ask an ordinary question.

    Cache-Control has no-cache or no-store.
    """
    reply = await trial.plain()
    given = reply.exchange.headers.get("cache-control", "")
    names = {part.strip().lower() for part in given.split(",")}
    check(bool(names & {"no-cache", "no-store"}), "caches may keep it", expected="no-cache", got=given or "none")


@case(
    "http.not-transformed",
    MAY,
    "A stream asks proxies not to buffer or change it.",
    source="RFC 9111, section 5.2.2.6; nginx, X-Accel-Buffering",
    remedy="Send `Cache-Control: no-transform` or `X-Accel-Buffering: no`; nginx buffers a stream without it.",
    defect="transformable-stream",
    needs=HTTP,
)
async def not_transformed(trial: Trial) -> None:
    """Ask an ordinary question.

    Cache-Control has no-transform, or X-Accel-Buffering is no.
    """
    headers = (await trial.plain()).exchange.headers
    holds = "no-transform" in headers.get("cache-control", "") or headers.get("x-accel-buffering") == "no"
    check(holds, "no header keeps proxies from buffering", expected="X-Accel-Buffering: no")


@case(
    "http.no-length",
    MUST,
    "A stream does not announce its length.",
    source="RFC 9112, section 6.2",
    remedy="Do not set Content-Length on a stream: a server that knows it has the whole reply already.",
    defect="announces-length",
    needs=HTTP,
)
async def no_length(trial: Trial) -> None:
    """Ask an ordinary question.

    There is no Content-Length.
    """
    reply = await trial.plain()
    streamed(reply)
    given = reply.exchange.headers.get("content-length")
    check(given is None, "the length is announced before the reply is made", expected="none", got=given or "")


@case(
    "http.not-compressed",
    MUST,
    "A body is not compressed for a client that does not ask for it.",
    source="RFC 9110, section 12.5.3",
    remedy="Compress only what Accept-Encoding allows, and leave event streams out of compression.",
    defect="always-gzip",
    needs=HTTP,
)
async def not_compressed(trial: Trial) -> None:
    """Ask with `Accept-Encoding: identity`.

    There is no Content-Encoding, or identity.
    """
    given = (await trial.plain()).exchange.headers.get("content-encoding", "identity")
    check(given == "identity", "the body is compressed", expected="identity", got=given)


@case(
    "http.headers-early",
    SHOULD,
    "The response's headers are sent before the model has its first word.",
    source="WHATWG HTML, section 9.2.3: a connection is announced when its headers come",
    remedy="Send status and headers when the request is accepted, and do not wait for the upstream.",
    defect="late-headers",
    needs=(*HTTP, Need.TWO_SIDED),
    timed=True,
)
async def headers_early(trial: Trial) -> None:
    """Ask while the upstream's first word takes 900 ms.

    The headers come at least 300 ms before the first text.
    """
    reply = await trial.planned("slow first word", **SLOW_FIRST)
    streamed(reply)
    check(bool(reply.contents), "no text came", got=describe(reply))
    early_ms = (reply.contents[0].at_ns - reply.exchange.head_ns) / NS_PER_MS
    check(early_ms >= LATE_MS, "the headers came with the first text", expected="earlier", got=f"{early_ms:.0f} ms")


@case(
    "http.keeps-connection",
    SHOULD,
    "The connection stays for the next request.",
    source="RFC 9112, section 9.3",
    remedy="Do not send `Connection: close` after a whole reply: every question would pay for a new connection.",
    defect="closes-connection",
    needs=HTTP,
)
async def keeps_connection(trial: Trial) -> None:
    """Ask an ordinary question.

    The response does not say `Connection: close`.
    """
    given = (await trial.plain()).exchange.headers.get("connection", "keep-alive").lower()
    check("close" not in given, "the connection is closed", expected="keep-alive", got=given)


@case(
    "http.wrong-method",
    MUST,
    "A method that a route does not have is refused with 405, and Allow names those it has.",
    source="RFC 9110, section 15.5.6",
    remedy="Answer 405 with `Allow: POST`.",
    defect="no-allow",
    needs=HTTP,
)
async def wrong_method(trial: Trial) -> None:
    """Send PUT to the route of questions.

    405, with Allow.
    """
    method, url = trial.subject.route({})
    reply = await trial.client.send("PUT" if method != "PUT" else "PATCH", url, body=b"{}")
    refused(reply, 405)
    check("allow" in reply.exchange.headers, "405 without Allow", expected=f"Allow: {method}")


@case(
    "http.unknown-route",
    MUST,
    "A route that does not exist is refused with 404.",
    source="RFC 9110, section 15.5.5",
    remedy="Answer 404; a page or an empty 200 lets a wrong address pass for a reply.",
    defect="answers-everything",
    needs=HTTP,
)
async def unknown_route(trial: Trial) -> None:
    """Send a request to a path that nobody can have made.

    404.
    """
    reply = await trial.client.send("POST", trial.subject.url_at_root("/streambench-no-such-route"), body=b"{}")
    refused(reply, 404)


@case(
    "http.error-type",
    SHOULD,
    "A refusal is JSON, as what is refused would have been.",
    source="RFC 9457, section 3",
    remedy="Answer errors of an API as JSON: clients cannot read a page.",
    defect="html-errors",
    needs=HTTP,
)
async def error_type(trial: Trial) -> None:
    """Send something that is not JSON to the route of questions.

    The refusal's content type is JSON, and its body is.
    """
    method, url = trial.subject.route({})
    reply = await trial.client.send(method, url, body=b"{", headers={"content-type": "application/json"})
    check(reply.status >= 400, "it was not refused", expected="a status of 400 or more", got=describe(reply))
    is_json = reply.content_type.endswith("json") and reply.json() is not None
    check(is_json, "the refusal is not JSON", expected="application/json", got=describe(reply))


@case(
    "http.foreign-origin",
    MUST,
    "A page of another origin is not let in unless the server is told to.",
    source="Fetch, section 3.2.3 (CORS protocol)",
    remedy="Do not reflect the Origin header: list the origins that may ask.",
    defect="any-origin",
    needs=(*HTTP, Need.AUTH),
)
async def foreign_origin(trial: Trial) -> None:
    """Ask as a page of https://evil.example would.

    Access-Control-Allow-Origin neither names it nor is a wildcard.
    """
    reply = await trial.ask(headers={"origin": "https://evil.example"}, leave=lambda _: True)
    given = reply.exchange.headers.get("access-control-allow-origin", "none")
    check(given not in ("*", "https://evil.example"), "another origin is let in", expected="none", got=given)
