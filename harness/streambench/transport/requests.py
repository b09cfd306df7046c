"""A request to send: its head, the same for every version of HTTP, its cookies, and its bytes for HTTP/1.1."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from streambench import __version__
from streambench.transport.proxy import proxy_authorization
from streambench.transport.target import Endpoint, Location

USER_AGENT = f"streambench/{__version__}"


@dataclass(slots=True, frozen=True)
class Request:
    """What one HTTP request says beside where it goes."""

    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


def request_headers(
    endpoint: Endpoint, where: Location, request: Request, cookies: Mapping[str, str]
) -> dict[str, str]:
    """The request's headers, names in lower case; the endpoint's own win over the request's, and those over ours."""
    headers = {"host": where.authority, "user-agent": USER_AGENT, "accept-encoding": "identity"}
    headers |= {name.lower(): value for name, value in (*request.headers, *endpoint.headers)}
    if cookies:
        jar = "; ".join(f"{name}={value}" for name, value in cookies.items())
        headers["cookie"] = f"{headers['cookie']}; {jar}" if "cookie" in headers else jar
    if request.body or request.method not in ("GET", "HEAD", "DELETE"):
        headers["content-length"] = str(len(request.body))
    return headers


def request_bytes(endpoint: Endpoint, where: Location, request: Request, cookies: Mapping[str, str]) -> bytes:
    """The whole request, head and body, for one write."""
    target = where.request_target
    headers = request_headers(endpoint, where, request, cookies)
    if endpoint.proxy and not where.secure:
        target = f"http://{where.authority}{target}"
        authorization = proxy_authorization(urlsplit(endpoint.proxy))
        if authorization is not None:
            headers["proxy-authorization"] = authorization
    lines = [f"{request.method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace") + request.body


def remember_cookies(cookies: dict[str, str], set_cookie: Iterable[str]) -> None:
    """Add the cookies of `Set-Cookie` headers; a load balancer's affinity may depend on them."""
    for header in set_cookie:
        name, equals, value = header.partition(";")[0].partition("=")
        if equals and name.strip():
            cookies[name.strip()] = value.strip()
