"""Hostile words, one line each: what a server, a header or a file may say where a person will read it.

`marks` are what must be in no output that shows the word: the part of it that would act.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HostileWord:
    """A word, and the parts of it that must not come out as they are."""

    name: str
    text: str
    marks: tuple[str, ...]


WORDS = [
    HostileWord("ansi", "\x1b[2J\x1b[31mred", ("\x1b",)),
    HostileWord("title", "\x1b]0;owned\x07", ("\x1b", "\x07")),
    HostileWord("clipboard", "\x1b]52;c;cm0gLXJm\x1b\\", ("\x1b",)),
    HostileWord("csi-of-one-byte", "\x9b31m", ("\x9b",)),
    HostileWord("bell", "ding\x07", ("\x07",)),
    HostileWord("backspaces", "safe\b\b\b\bevil", ("\b",)),
    HostileWord("null", "a\0b", ("\0",)),
    HostileWord("bidi", "\u202eevil\u2066", ("\u202e", "\u2066")),
    HostileWord("unseen", "a\u200b\ufeff\u2060b", ("\u200b", "\ufeff", "\u2060")),
    HostileWord("tags", "a\U000e0041\U000e0042", ("\U000e0041",)),
    HostileWord("line-breaks", "a\r\n# heading\n\n::error::x\u2028y", ("\n# heading", "\n::error", "\u2028")),
    HostileWord("script", "<script>alert(1)</script>", ("<script>alert(1)",)),
    HostileWord("image", "\"'><img src=x onerror=alert(1)>", ("<img",)),
    HostileWord("svg", "</style></svg><svg onload=alert(1)>", ("<svg onload",)),
    HostileWord("cdata", "]]><evil/><![CDATA[", ("<evil",)),
    HostileWord("entity", "<!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/passwd'>]>&y;", ("<!DOCTYPE x", "<!ENTITY")),
    HostileWord("template", "{{ 7 * 7 }}{% raw %}", ()),
    HostileWord("table-cell", "a | b | c |", ()),
    HostileWord("link", "[click](javascript:alert(1))", ()),
    HostileWord("code-span", "``` `x` ```", ()),
    HostileWord("formula", "=cmd|' /C calc'!A0", ()),
    HostileWord("formula-with-a-plus", "+1+cmd|' /C calc'!A0", ()),
    HostileWord("formula-with-an-at", "@SUM(1+1)*cmd|' /C calc'!A0", ()),
    HostileWord("long", "x" * 100_000, ()),
]
