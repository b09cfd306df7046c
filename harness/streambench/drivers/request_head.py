"""The head of a request, the same for every version of HTTP, and the bytes of one for HTTP/1.1."""

from __future__ import annotations

from collections.abc import Mapping

from streambench import __version__
from streambench.dialects import RenderedRequest
from streambench.drivers.connect import SECURE_SCHEMES, Endpoint, proxy_authorization
from streambench.drivers.target import TargetSpec

USER_AGENT = f"streambench/{__version__}"


def request_headers(
    spec: TargetSpec, where: Endpoint, request: RenderedRequest, cookies: Mapping[str, str]
) -> dict[str, str]:
    """The request's headers, names in lower case; the target's own win over the dialect's, and those over ours."""
    headers = {"host": where.authority, "user-agent": USER_AGENT, "accept-encoding": "identity"}
    headers |= {name.lower(): value for name, value in (*request.headers, *spec.headers)}
    if cookies:
        jar = "; ".join(f"{name}={value}" for name, value in cookies.items())
        headers["cookie"] = f"{headers['cookie']}; {jar}" if "cookie" in headers else jar
    if request.body or request.method not in ("GET", "HEAD", "DELETE"):
        headers["content-length"] = str(len(request.body))
    return headers


def request_bytes(spec: TargetSpec, where: Endpoint, request: RenderedRequest, cookies: Mapping[str, str]) -> bytes:
    """The whole request, head and body, for one write."""
    target = where.request_target
    headers = request_headers(spec, where, request, cookies)
    if spec.proxy and where.scheme not in SECURE_SCHEMES:
        from urllib.parse import urlsplit

        target = f"http://{where.authority}{target}"
        authorization = proxy_authorization(urlsplit(spec.proxy))
        if authorization is not None:
            headers["proxy-authorization"] = authorization
    lines = [f"{request.method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace") + request.body
