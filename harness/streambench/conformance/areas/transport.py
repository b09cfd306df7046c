"""Transport and headers: what a response must declare before the first byte of its body."""

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
    "A response that starts a stream has status 200.",
    source="WHATWG HTML, section 9.2.3",
    remedy="Answer 200: EventSource treats every other status as a failed connection.",
    defect="status-202",
    needs=HTTP,
)
async def status_200(trial: Trial) -> None:
    """Ask an ordinary question.

    The status is 200.
    """
    reply = await trial.plain()
    check(reply.status == 200, "wrong status", expected="200", got=str(reply.status))


@case(
    "sse.content-type",
    MUST,
    "An event stream is served as text/event-stream.",
    source="WHATWG HTML, section 9.2.3",
    remedy="Send `Content-Type: text/event-stream`: clients reject anything else.",
    defect="wrong-content-type",
    needs=HTTP,
)
async def content_type(trial: Trial) -> None:
    """Ask an ordinary question.

    The media type is text/event-stream.
    """
    reply = await trial.plain()
    given = reply.exchange.headers.get("content-type", "no content type")
    check(reply.content_type == EVENT_STREAM, "wrong content type", expected=EVENT_STREAM, got=given)


@case(
    "sse.charset",
    MUST,
    "An event stream declares no charset other than UTF-8.",
    source="WHATWG HTML, section 9.2.5",
    remedy="Omit the charset, or send `charset=utf-8`: event streams are always UTF-8.",
    defect="latin1-charset",
    needs=HTTP,
)
async def charset(trial: Trial) -> None:
    """Ask an ordinary question.

    The content type has no charset parameter, or utf-8.
    """
    reply = await trial.plain()
    given = reply.exchange.headers.get("content-type", "")
    parameters = {
        name.strip().lower(): value.strip().strip('"').lower()
        for name, _, value in (part.partition("=") for part in given.split(";")[1:])
    }
    check(parameters.get("charset", "utf-8") == "utf-8", "wrong charset", expected="charset=utf-8", got=given)


@case(
    "http.not-cached",
    SHOULD,
    "A stream tells caches not to store it.",
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
    check(bool(names & {"no-cache", "no-store"}), "caches may store it", expected="no-cache", got=given or "none")


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
    "A streamed response has no Content-Length.",
    source="RFC 9112, section 6.2",
    remedy="Do not set Content-Length on a stream: a server can only know it once it has the whole reply.",
    defect="announces-length",
    needs=HTTP,
)
async def no_length(trial: Trial) -> None:
    """Ask an ordinary question.

    There is no Content-Length header.
    """
    reply = await trial.plain()
    streamed(reply)
    given = reply.exchange.headers.get("content-length")
    check(given is None, "the response has a Content-Length", expected="none", got=given or "")


@case(
    "http.not-compressed",
    MUST,
    "A response is not compressed unless the client accepts compression.",
    source="RFC 9110, section 12.5.3",
    remedy="Compress only if Accept-Encoding allows it, and exclude event streams from compression.",
    defect="always-gzip",
    needs=HTTP,
)
async def not_compressed(trial: Trial) -> None:
    """Ask with `Accept-Encoding: identity`.

    There is no Content-Encoding other than identity.
    """
    given = (await trial.plain()).exchange.headers.get("content-encoding", "identity")
    check(given == "identity", "the body is compressed", expected="identity", got=given)


@case(
    "http.headers-early",
    SHOULD,
    "The response headers are sent before the model produces its first word.",
    source="WHATWG HTML, section 9.2.3: a connection is announced when its headers arrive",
    remedy="Send status and headers as soon as the request is accepted; do not wait for the upstream.",
    defect="late-headers",
    needs=(*HTTP, Need.TWO_SIDED),
    timed=True,
)
async def headers_early(trial: Trial) -> None:
    """Ask while the upstream takes 900 ms for its first word.

    The headers arrive at least 300 ms before the first text.
    """
    reply = await trial.planned("slow first word", **SLOW_FIRST)
    streamed(reply)
    check(bool(reply.contents), "no text arrived", got=describe(reply))
    early_ms = (reply.contents[0].at_ns - reply.exchange.head_ns) / NS_PER_MS
    check(early_ms >= LATE_MS, "the headers arrived with the first text", expected="earlier", got=f"{early_ms:.0f} ms")


@case(
    "http.keeps-connection",
    SHOULD,
    "The connection stays open for the next request.",
    source="RFC 9112, section 9.3",
    remedy="Do not send `Connection: close` after a complete reply: every prompt would pay for a new connection.",
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
    "A method that a route does not support is refused with 405 and an Allow header.",
    source="RFC 9110, section 15.5.6",
    remedy="Answer 405 with `Allow: POST`.",
    defect="no-allow",
    needs=HTTP,
)
async def wrong_method(trial: Trial) -> None:
    """Send PUT to the chat route.

    405, with an Allow header.
    """
    method, url = trial.subject.route({})
    reply = await trial.client.send("PUT" if method != "PUT" else "PATCH", url, body=b"{}")
    refused(reply, 405)
    check("allow" in reply.exchange.headers, "405 without Allow", expected=f"Allow: {method}")


@case(
    "http.unknown-route",
    MUST,
    "A request for a route that does not exist is refused with 404.",
    source="RFC 9110, section 15.5.5",
    remedy="Answer 404: with a page or an empty 200, a wrong URL looks like a reply.",
    defect="answers-everything",
    needs=HTTP,
)
async def unknown_route(trial: Trial) -> None:
    """Send a request to a random path.

    404.
    """
    reply = await trial.client.send("POST", trial.subject.url_at_root("/streambench-no-such-route"), body=b"{}")
    refused(reply, 404)


@case(
    "http.error-type",
    SHOULD,
    "An error response is JSON.",
    source="RFC 9457, section 3",
    remedy="Send API errors as JSON: clients cannot parse an HTML page.",
    defect="html-errors",
    needs=HTTP,
)
async def error_type(trial: Trial) -> None:
    """Send something that is not JSON to the chat route.

    The response has a JSON content type and a JSON body.
    """
    method, url = trial.subject.route({})
    reply = await trial.client.send(method, url, body=b"{", headers={"content-type": "application/json"})
    check(reply.status >= 400, "it was not refused", expected="a status of 400 or more", got=describe(reply))
    is_json = reply.content_type.endswith("json") and reply.json() is not None
    check(is_json, "the refusal is not JSON", expected="application/json", got=describe(reply))


@case(
    "http.foreign-origin",
    MUST,
    "Pages from another origin cannot read responses unless the server allows that origin.",
    source="Fetch, section 3.2.3 (CORS protocol)",
    remedy="Do not reflect the Origin header: keep a list of allowed origins.",
    defect="any-origin",
    needs=(*HTTP, Need.AUTH),
)
async def foreign_origin(trial: Trial) -> None:
    """Ask as a page from https://evil.example would.

    Access-Control-Allow-Origin neither names it nor is a wildcard.
    """
    reply = await trial.ask(headers={"origin": "https://evil.example"}, leave=lambda _: True)
    given = reply.exchange.headers.get("access-control-allow-origin", "none")
    check(given not in ("*", "https://evil.example"), "another origin is allowed", expected="none", got=given)
