"""URLs as the URL standard writes them on the wire: hosts by IDNA, paths and queries percent-encoded.

What a user or a server wrote may hold spaces, umlauts or worse; a request line may not. What is encoded already stays
as it is (https://url.spec.whatwg.org, sections 1.3, 3.3 and 4.4).
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import idna

_NOT_IN_PATH = re.compile(r"[^!$-;=@-\]_a-z|~]+")
_NOT_IN_QUERY = re.compile(r"[^!$-&(-;=?-~]+")
_FORBIDDEN_IN_HOST = re.compile(r"[\x00-\x20\"#%/<>?@\\^`{|}\x7f]")
_DOT = re.compile(r"\.|%2e", re.IGNORECASE)


@lru_cache(maxsize=256)
def encoded_host(host: str) -> str:
    """A host in ASCII and lower case: names of other scripts by UTS #46 (not transitional) and Punycode.

    Raises ValueError for what can be no host.
    """
    name = unquote(host, errors="strict") if "%" in host and ":" not in host else host
    if not name.isascii():
        name = idna.uts46_remap(name, std3_rules=False, transitional=False)
        name = ".".join(
            label if label.isascii() else "xn--" + label.encode("punycode").decode() for label in name.split(".")
        )
    if not name or _FORBIDDEN_IN_HOST.search(name):
        raise ValueError(f"{host!r} is not a host name")
    return name.lower()


def encoded_path(path: str) -> str:
    """A path as it is sent: percent-encoded, its steps `.` and `..` taken, also where those are encoded."""
    encoded = _NOT_IN_PATH.sub(_percent, path.replace("\\", "/"))
    return _without_dots(encoded) if "/." in encoded or "/%2" in encoded else encoded


def encoded_query(query: str) -> str:
    """A query, without its question mark, as it is sent."""
    return _NOT_IN_QUERY.sub(_percent, query)


def encoded_url(url: str) -> str:
    """A whole URL as it is sent; a fragment stays as it is. Raises ValueError for one whose host can be none."""
    parts = urlsplit(url)
    host = encoded_host(parts.hostname or "")
    authority = f"[{host}]" if ":" in host else host
    if parts.port is not None:
        authority += f":{parts.port}"
    return urlunsplit((parts.scheme, authority, encoded_path(parts.path), encoded_query(parts.query), parts.fragment))


def _percent(match: re.Match[str]) -> str:
    # Half a character has no bytes of its own; the standard sends a replacement character.
    return quote(match[0].encode("utf-16", "surrogatepass").decode("utf-16", "replace"), safe="%")


def _without_dots(path: str) -> str:
    kept: list[str] = []
    steps = path.split("/")
    for number, step in enumerate(steps, 1):
        dots = len(_DOT.findall(step)) if not _DOT.sub("", step) else 0
        if dots == 2 and len(kept) > 1:
            kept.pop()
        elif dots not in (1, 2):
            kept.append(step)
        if dots in (1, 2) and number == len(steps):
            kept.append("")
    return "/".join(kept)
