"""What to try first when streams fail: one sentence for each error class that has a usual cause."""

from __future__ import annotations

from streambench.endings import ErrorClass, http_error_class

_LOGIN = "Check the credentials: `auth` in a scenario, --bearer-env or --header for `probe`."
_PATH = "Check the path and the method of the URL."
_BODY = "Compare the request with what the endpoint expects: `streambench dialects show NAME` prints it."
_SERVER = "The server's own log has the reason."

_REMEDIES: dict[str, str] = {
    http_error_class(400): _BODY,
    http_error_class(401): _LOGIN,
    http_error_class(403): _LOGIN,
    http_error_class(404): _PATH,
    http_error_class(405): _PATH,
    http_error_class(422): _BODY,
    http_error_class(429): "The endpoint limits the rate: lower the load, or raise the limit for this test.",
    http_error_class(500): _SERVER,
    http_error_class(502): "A proxy answered, and not the service: check that the service is up.",
    http_error_class(503): _SERVER,
    http_error_class(504): "A proxy gave up waiting for the service: compare its timeout with `ttfc`.",
    ErrorClass.TLS: "Check the certificate; `tls: {verify: ca.pem}` trusts a private authority.",
    ErrorClass.TIMEOUT_CONNECT: "Check the address, and whether a firewall drops the packets.",
}


def remedy(error: str) -> str | None:
    """What to try first for an error class (`http_401`, `tls`), or None where no cause is the usual one."""
    return _REMEDIES.get(error)
