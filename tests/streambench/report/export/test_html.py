"""`report.html`: one file, without a network, in which no text of a server can be more than text."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree as ET

from streambench.analysis.summary import Summary
from streambench.report.export.html import render_html
from streambench.report.plots import Plot

Drawn = Callable[[str], list[Plot]]
VOID = {"meta", "br", "img", "link", "input", "hr"}
# The only URLs of a page are names of namespaces; nothing of it is loaded.
NAMESPACES = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


class Page(HTMLParser):
    """Reads a page, and insists that every element is closed in its order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_is_well_formed_and_loads_nothing(any_summary: Summary, kind: str, drawn: Drawn) -> None:
    text = render_html(any_summary, drawn(kind))
    page = Page(text)
    loading = {"src", "href", "xlink:href", "srcset", "action", "data", "poster", "background"}
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "img", "base", "form")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in loading:
                assert (value or "").startswith("#"), (tag, name, value)
            elif "//" in (value or ""):
                assert value in NAMESPACES, (tag, name, value)
    styles = re.findall(r"<style.*?</style>", text, re.DOTALL)
    assert styles
    assert not any("url(" in style.replace("url(#", "") or "@import" in style for style in styles)
    policy = next(attributes for tag, attributes in page.tags if attributes.get("http-equiv"))
    assert "default-src 'none'" in (policy["content"] or "")


def test_ids_are_unique_and_references_lead_somewhere(comparison: Summary, drawn: Drawn) -> None:
    page = Page(render_html(comparison, drawn("comparison")))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.tags:
        for name in ("aria-labelledby", "href", "xlink:href"):
            for target in (attributes.get(name) or "").split():
                assert target.removeprefix("#") in ids


def test_what_a_server_sent_is_shown_as_it_is(hostile: Summary, nasty: str) -> None:
    page = Page(render_html(hostile, []))
    shown = "".join(page.text)
    assert "<script>alert(1)</script>" in shown
    assert "<img src=http://evil.test/x onerror=a>" in shown
    assert "{{ 7*7 }}" in shown
    assert not any(tag in ("script", "img") for tag, _ in page.tags)


def test_the_first_thing_is_the_verdict_and_what_was_found(comparison: Summary) -> None:
    text = render_html(comparison, [])
    shown = " ".join("".join(Page(text).text).split())
    assert comparison.verdict in shown
    for part in ("paced: paced", "real: forwarded", "ttfc.p95 < 100ms", "http_500", "it broke", "some.rule"):
        assert part in shown, part


def test_every_metric_that_has_values_is_in_the_table(comparison: Summary) -> None:
    text = render_html(comparison, [])
    for name, values in comparison.targets["real"].distributions.items():
        assert (f">{name} " in text or f">{name}\n" in text or f">{name}<" in text) is (len(values) > 0), name


def test_pictures_are_in_the_page_as_they_are(comparison: Summary, drawn: Drawn) -> None:
    plots = drawn("comparison")
    text = render_html(comparison, plots)
    for plot in plots:
        ET.fromstring(plot.svg)
        assert plot.svg in text
