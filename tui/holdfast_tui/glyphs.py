"""What the screens draw with, for terminals that have ASCII alone: column for column, so that nothing moves."""

from __future__ import annotations

PAIRS = (
    ("▁▂▃▄▅▆▇█", ".:-=+*##"),
    ("▉▊▋▌▍▎▐░▒▓", "#######:+#"),
    ("▏", "_"),
    ("│┃║├┝┤┥┬┴┼", "|||||||+++"),
    ("└┕┘┌┐╭╮╯╰", "``'.,.,'`"),
    ("─━═╌╴╶", "--=---"),
    ("▸▶›→⟶▾▼‹←▴▲↑↓↳", ">>>>>vv<<^^^v>"),
    ("…•·×✓✗□■●○◦", "~*.xyn-#*oo"),
)
"""Signs, and what stands for each: sparks and bars, the cursor of a prompt, guides, folds and arrows, marks."""

_TABLE: dict[int, str] = {
    ord(sign): plain for signs, plains in PAIRS for sign, plain in zip(signs, plains, strict=True)
}
_TABLE |= {code: " .:-=+*##"[(code - 0x2800).bit_count()] for code in range(0x2800, 0x2900)}
"""Dots of a plot, in braille, by how many there are."""
_TABLE |= dict.fromkeys(range(9216, 9255), "?")
"""Control characters of others, whose pictures are shown."""


def plain(text: str) -> str:
    """A text with every sign that the screens draw replaced by one of ASCII; letters of any script stay."""
    return text if text.isascii() else text.translate(_TABLE)
