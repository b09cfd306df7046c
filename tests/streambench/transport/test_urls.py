"""What a URL becomes on the wire; the expected values are those of the URL standard (and of `new URL` in browsers)."""

from __future__ import annotations

import pytest

from streambench.transport.target import locate
from streambench.transport.urls import encoded_host, encoded_path, encoded_query, encoded_url


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("/chat/stream-2.0_x~y!$&'()*+,;=:@", "/chat/stream-2.0_x~y!$&'()*+,;=:@"),
        ("/ä b", "/%C3%A4%20b"),
        ("/😀", "/%F0%9F%98%80"),
        ("/\ud83d", "/%EF%BF%BD"),
        ("/\x00\x1f\x7f", "/%00%1F%7F"),
        ('/"<>`{}^|[]', "/%22%3C%3E%60%7B%7D%5E|[]"),
        ("/%20%zz%", "/%20%zz%"),
        ("/a\\b", "/a/b"),
        ("/a/./b/../c", "/a/c"),
        ("/a/%2e%2E/b/%2e", "/b/"),
        ("/../..", "/"),
        ("/a/.../.well-known", "/a/.../.well-known"),
    ],
)
def test_paths(written: str, sent: str) -> None:
    assert encoded_path(written) == sent
    assert encoded_path(sent) == sent


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("a=b&c=/?:@", "a=b&c=/?:@"),
        ("q=ü ö", "q=%C3%BC%20%C3%B6"),
        ("a='\"<>#", "a=%27%22%3C%3E%23"),
        ("`{}^|", "`{}^|"),
    ],
)
def test_queries(written: str, sent: str) -> None:
    assert encoded_query(written) == sent


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("Example.COM", "example.com"),
        ("MÜNCHEN.example", "xn--mnchen-3ya.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
        ("☃.example", "xn--n3h.example"),
        ("ex%61mple.com", "example.com"),
        ("under_score", "under_score"),
        ("::1", "::1"),
        ("127.0.0.1", "127.0.0.1"),
    ],
)
def test_hosts(written: str, sent: str) -> None:
    assert encoded_host(written) == sent


@pytest.mark.parametrize("host", ["", "a b", "a%20b", "a%2Fb", "\u202e.example"])
def test_what_is_no_host(host: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  idna's errors and ours
        encoded_host(host)


def test_whole_urls() -> None:
    assert encoded_url("http://münchen.example:80/ä?x=ü ö#/admin") == (
        "http://xn--mnchen-3ya.example:80/%C3%A4?x=%C3%BC%20%C3%B6#/admin"
    )
    where = locate("https://[::1]:8443/v1/?key=a b", "/grüße?n=1")
    assert (where.authority, where.request_target) == ("[::1]:8443", "/v1/gr%C3%BC%C3%9Fe?n=1&key=a%20b")
