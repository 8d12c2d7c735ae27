"""Themes: every role can be read on its ground and told from the others, whatever the eye; a user's own are checked."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
from rich.color import Color

from holdfast_tui import theme
from holdfast_tui.memory import Memory
from holdfast_tui.theme import ANSI, COLOURED, THEMES, Theme
from tui.desks import bench

EYES = {
    "usual": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
"""Linear RGB as it is seen: Machado, Oliveira and Fernandes 2009, severity 1."""


def linear(colour: str) -> list[float]:
    parts = [part / 255 for part in Color.parse(colour).get_truecolor()]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def luminance(colour: str) -> float:
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear(colour), strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def lab(colour: str, eye: str) -> tuple[float, float, float]:
    """CIE L*a*b* under D65, as an eye sees the colour."""
    r, g, b = (
        min(1, max(0, sum(weight * part for weight, part in zip(row, linear(colour), strict=True))))
        for row in EYES[eye]
    )
    xyz = (
        (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.95047,
        0.2126 * r + 0.7152 * g + 0.0722 * b,
        (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.08883,
    )
    x, y, z = (part ** (1 / 3) if part > 0.008856 else 7.787 * part + 16 / 116 for part in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def inks(found: Theme) -> dict[str, str]:
    return {"": found.ink, **{role: colour for role, colour in found.colours.items() if role != "cursor"}}


@pytest.mark.parametrize("name", THEMES)
def test_every_role_can_be_read_on_the_ground_and_the_ink_on_the_cursor(name: str) -> None:
    found = THEMES[name]
    for role, colour in inks(found).items():
        assert contrast(colour, found.ground) >= 4.5, role
    assert contrast(found.ink, found.colours["cursor"]) >= 4.5


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("name", THEMES)
def test_roles_differ_in_colour_for_every_eye(name: str, eye: str) -> None:
    seen = {role: lab(colour, eye) for role, colour in inks(THEMES[name]).items()}
    for one, other in combinations(seen, 2):
        apart = sum((a - b) ** 2 for a, b in zip(seen[one], seen[other], strict=True)) ** 0.5
        assert apart >= 15, (one, other, round(apart, 1))


def test_themes_have_every_role_and_what_is_told_by_weight_stays() -> None:
    for found in THEMES.values():
        assert set(found.styles) == set(ANSI)
        assert set(found.colours) == set(COLOURED)
        assert found.styles["dead"].reverse
        assert found.styles["fail"].bold
        assert found.styles["match"].underline
    assert [found.dark for found in THEMES.values()] == [True, False, True]


def test_a_users_theme_is_read_over_another(tmp_path: Path) -> None:
    (tmp_path / "themes").mkdir()
    (tmp_path / "themes" / "dusk.toml").write_text('base = "light"\nfail = "#FF0000"\nink = "#101010"\n')
    assert theme.names(tmp_path) == ["ansi", "dark", "light", "contrast", "dusk"]
    found = theme.find("dusk", tmp_path)
    assert found is not None
    assert (found.name, found.ground, found.ink) == ("dusk", THEMES["light"].ground, "#101010")
    assert found.colours["fail"] == "#FF0000"
    assert found.colours["run"] == THEMES["light"].colours["run"]
    assert theme.find("ansi", tmp_path) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('run = "blue"', "mine.toml: run: expected a colour like \"#6FC3F0\", found 'blue'"),
        ("run = 3", "found 3"),
        ('run = "#12"', "found '#12'"),
        (
            'fial = "#123456"',
            "fial: expected one of ground, ink, dim, run, warn, fail, mark, cursor; did you mean fail?",
        ),
        ('base = "mine"', "base: expected one of dark, light, contrast, found 'mine'"),
        ("run", "mine.toml: expected lines like run"),
    ],
)
def test_a_theme_that_is_wrong_is_said(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "themes").mkdir()
    (tmp_path / "themes" / "mine.toml").write_text(text)
    with pytest.raises(ValueError) as caught:
        theme.find("mine", tmp_path)
    assert said in str(caught.value)


async def test_a_theme_is_taken_at_once_kept_and_taken_again_in_the_next_session(tmp_path: Path) -> None:
    async with bench(memory=Memory(tmp_path)) as desk:
        await desk.press(":", *"theme", "space", *"dusk", "enter")
        assert "no theme dusk: there are ansi, dark, light, contrast" in desk.text
        await desk.press(":", *"theme", "space", *"li", "tab", "enter")
        assert desk.app.theme == "light"
        assert theme.style("run").color == Color.parse(THEMES["light"].colours["run"])
        shown = [segment.style for strip in desk.app.screen._compositor.render_strips() for segment in strip]
        assert Color.parse(THEMES["light"].ground) in {look.bgcolor for look in shown if look is not None}
    async with bench(memory=Memory(tmp_path)) as desk:
        assert desk.app.theme == "light"
        await desk.press(":", *"theme", "space", *"ansi", "enter")
        assert desk.app.theme == "ansi-dark"
        assert theme.style("run") == ANSI["run"]
    Memory(tmp_path).chosen("gone")
    async with bench(memory=Memory(tmp_path)) as desk:
        assert "no theme gone" in desk.text
