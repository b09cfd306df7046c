"""The style of charts and pages: colours are CSS variables, so that one chart serves light and dark themes.

matplotlib knows no CSS, so it draws with placeholder colours, which are then replaced by variables in the SVG.
The series' colours are those of Okabe and Ito, told apart with any common colour vision, lightened for dark.
"""

from __future__ import annotations

# placeholder → (variable, light, dark)
PALETTE = {
    "#010203": ("ink", "#1b1f24", "#e8eaed"),
    "#010204": ("muted", "#5c6570", "#a3abb5"),
    "#010205": ("grid", "#dfe3e8", "#3a4048"),
    "#010301": ("series-1", "#0072b2", "#56b4e9"),
    "#010302": ("series-2", "#d55e00", "#ff8a3d"),
    "#010303": ("series-3", "#009e73", "#2fc79a"),
    "#010304": ("series-4", "#aa4499", "#e08bd0"),
    "#010305": ("series-5", "#8a6d00", "#f0e442"),
    "#010306": ("series-6", "#4b5563", "#c2c9d1"),
    "#010307": ("series-7", "#882255", "#f28cb1"),
    "#010308": ("series-8", "#117733", "#7ddc8b"),
}
INK, MUTED, GRID = list(PALETTE)[:3]
SERIES = list(PALETTE)[3:]

# Beside a colour, a line has its own dashes: prints and colour-blind readers need them.
Dashes = tuple[float, ...] | None
DASHES: tuple[Dashes, ...] = (None, (5, 2), (1.5, 1.5), (7, 2, 1.5, 2), (3, 3), (9, 3), (1, 3), (5, 1))


def css_variables() -> str:
    """The colours as CSS, light by default, dark where the reader's system is; printing is always light."""
    light = "".join(f"--{name}:{colour};" for name, colour, _ in PALETTE.values())
    dark = "".join(f"--{name}:{colour};" for name, _, colour in PALETTE.values())
    return f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"


def with_css_colours(svg: str) -> str:
    """A picture with variables in place of the placeholder colours."""
    for placeholder, (name, _, _) in PALETTE.items():
        svg = svg.replace(placeholder, f"var(--{name})")
    return svg
