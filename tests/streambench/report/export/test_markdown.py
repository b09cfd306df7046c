"""`summary.md`, read by a Markdown renderer as a CI service would."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from streambench.analysis.summary import Summary
from streambench.report.export.markdown import render_markdown


def tokens(text: str) -> list[Token]:
    out: list[Token] = []
    for token in MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text):
        out += [token, *(token.children or [])]
    return out


def tables(text: str) -> list[list[list[str]]]:
    """The cells of each table, as a reader sees them."""
    out: list[list[list[str]]] = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "table_open":
            out.append([])
        elif token.type == "tr_open":
            out[-1].append([])
        elif token.type == "inline" and out and token.level >= 4:
            out[-1][-1].append("".join(child.content for child in token.children or []))
    return out


def test_tables_have_as_many_cells_in_each_row(any_summary: Summary) -> None:
    found = tables(render_markdown(any_summary))
    assert len(found) >= 2
    for table in found:
        assert len({len(row) for row in table}) == 1


def test_what_a_server_sent_is_neither_markup_nor_html(hostile: Summary) -> None:
    kinds = {token.type for token in tokens(render_markdown(hostile))}
    assert not kinds & {"html_inline", "html_block", "link_open", "image", "em_open", "strong_open", "fence", "hr"}
    assert not kinds & {"s_open", "blockquote_open", "code_block"}


def test_a_text_is_one_item_however_many_lines_it_has(hostile: Summary, comparison: Summary) -> None:
    for summary in (hostile, comparison):
        text = render_markdown(summary)
        items = [token for token in tokens(text) if token.type == "list_item_open"]
        from streambench.report.wording import findings_in_words

        assert len(items) == len(findings_in_words(summary))


def test_gates_stand_there_as_they_were_written(comparison: Summary) -> None:
    gates = {row[1]: row for row in tables(render_markdown(comparison))[0][1:]}
    assert {"real: ttfc.p95 < 100ms", "paced: error_rate < 1%", "real: authenticity == forwarded"} <= set(gates)
    assert gates["real: ttfc.p95 < 100ms"][0] == "✅"
    assert gates["paced: ttfc.p95 < 100ms"][0] == "❌"
    assert gates["real: ttfc.p99 < 1s"][0] == "⚠️"
    assert "observed 430.0 ms" in gates["paced: ttfc.p95 < 100ms"][2]


@pytest.mark.parametrize(
    "text", ["a|b", "a`b", "`", "``|``", "a\\|b", "\\", "a_b_c", "*x*", "<b>", "&lt;", "~~x~~", "$"]
)
def test_any_text_survives_a_cell(summary_of: Callable[..., Summary], text: str) -> None:
    from streambench.report.export.markdown import _code, _escape, _table

    (table,) = tables(_table(("x", "y", "z"), [(_escape(text), _code(text), "end")]))
    assert table[1] == [text.replace("`", "ˋ"), text.replace("`", "ˋ"), "end"]
