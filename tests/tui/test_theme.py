"""Colours: readable on their ground, told apart by eyes that see fewer of them and in grey, and never the only sign."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path
from typing import TypeAlias

import pytest
from rich.color import Color

from holdfast.errors import ConfigError
from holdfast_tui import glyphs, theme, themes
from holdfast_tui.theme import ANSI_THEME, COLOURLESS, ROLES, THEMES, Theme, fewer
from tui.desks import bench, frame

Rgb: TypeAlias = tuple[float, float, float]
Matrix: TypeAlias = tuple[Rgb, Rgb, Rgb]

OWN = [each for each in THEMES.values() if each.own]
SIGHT: dict[str, Matrix] = {
    "all colours": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
"""Machado, Oliveira, Fernandes 2009, severity 1.0, on linear RGB."""


def linear(colour: str) -> Rgb:
    red, green, blue = (_linear(value / 255) for value in Color.parse(colour).get_truecolor())
    return red, green, blue


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def seen(colour: str, sight: Matrix) -> Rgb:
    light = linear(colour)
    red, green, blue = (min(1.0, max(0.0, sum(a * b for a, b in zip(row, light, strict=True)))) for row in sight)
    return red, green, blue


def luminance(light: Rgb) -> float:
    return 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2]


def contrast(one: str, other: str) -> float:
    """WCAG 2."""
    low, high = sorted((luminance(linear(one)), luminance(linear(other))))
    return (high + 0.05) / (low + 0.05)


def lab(light: Rgb) -> Rgb:
    """CIE 1976, under D65."""
    red, green, blue = light
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.95047
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.08883
    fx, fy, fz = map(_lab, (x, luminance(light), z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def _lab(value: float) -> float:
    return math.cbrt(value) if value > 0.008856 else 7.787 * value + 16 / 116


def colours(look: Theme) -> dict[str, str]:
    """Each colour that text has, by role; plain text is the empty role."""
    return {"": look.ink, **look.colours}


@pytest.mark.parametrize("look", OWN, ids=lambda look: look.name)
def test_every_role_is_readable_on_its_ground_and_reversed(look: Theme) -> None:
    for role in ROLES:
        style = look.style(role)
        ink = style.color.name if style.color is not None else look.ink
        ground = style.bgcolor.name if style.bgcolor is not None else look.ground
        assert contrast(ink, ground) >= 4.5, role
        assert not style.dim, f"{role}: faint text of a colour would be fainter than measured"


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("look", OWN, ids=lambda look: look.name)
def test_colours_are_told_apart_by_all_eyes(look: Theme, sight: str) -> None:
    for one, other in combinations(colours(look).items(), 2):
        apart = math.dist(lab(seen(one[1], SIGHT[sight])), lab(seen(other[1], SIGHT[sight])))
        assert apart >= 15, (one, other)


@pytest.mark.parametrize("look", OWN, ids=lambda look: look.name)
def test_roles_of_one_weight_are_told_apart_in_grey(look: Theme) -> None:
    for one, other in combinations(colours(look), 2):
        if look.style(one).bold == look.style(other).bold:
            apart = abs(lab(linear(colours(look)[one]))[0] - lab(linear(colours(look)[other]))[0])
            assert apart >= 5, (one, other)


def test_every_role_has_a_word_and_no_two_roles_of_a_state_look_alike() -> None:
    assert all(role.words for role in ROLES.values())
    for look in (ANSI_THEME, *OWN):
        styles = [look.style(role) for role in ("", "dim", "run", "warn", "fail", "dead", "mark", "match", "pending")]
        assert len(set(styles)) == len(styles), look.name


def test_without_colours_the_weights_are_left() -> None:
    for role, known in ROLES.items():
        assert COLOURLESS.style(role) == known.weight
    assert len({COLOURLESS.style(role) for role in ("", "dim", "fail", "dead", "match", "pending")}) == 6


def test_a_terminal_of_few_colours_gets_eight_and_its_own_ground() -> None:
    for look in OWN:
        few = fewer(look)
        assert not few.own
        numbers = [few.style(role).color for role in ROLES]
        assert all(number is None or (number.number or 0) < 8 for number in numbers)
    assert fewer(ANSI_THEME) is ANSI_THEME


# --- a user's own -----------------------------------------------------------------------------------------------------

GOOD = 'ground = "#000000"\nink = "#FFFFFF"\n[roles]\nrun = "bright_cyan"\nfail = "#FF0000"\n'


def stored(directory: Path, text: str, name: str = "mine") -> Path:
    file = directory / "themes" / f"{name}.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


def test_a_theme_of_the_users_own_names_some_roles(tmp_path: Path) -> None:
    stored(tmp_path, GOOD)
    look = themes.find("mine", tmp_path)
    assert look.style("run").color == Color.parse("bright_cyan")
    assert look.style("dead") == look.style("fail") + ROLES["dead"].weight
    assert look.style("warn") == ANSI_THEME.style("warn")
    assert look.style("cursor").reverse
    assert themes.names(tmp_path) == ["ansi", "dark", "light", "contrast", "mine"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ground = ", "expected TOML, found"),
        ("[roles]\nrunn = 'red'", "roles.runn: expected one of dim, run, warn, fail, dead, mark; did you mean run?"),
        ("grund = '#000000'", "grund: expected one of ground, ink, cursor, roles"),
        ("[roles]\nrun = 'blurple'", 'roles.run: expected a colour like "#6FC3F0" or "bright_cyan", found \'blurple\''),
        ("[roles]\nrun = 7", "found 7"),
        ("ground = 'red'\nink = '#000000'", "ground: expected a colour like"),
        ("ground = '#000000'", "expected ground and ink together, found one"),
        ("roles = 1", "roles: expected a table, found 1"),
    ],
)
def test_a_theme_that_is_wrong_is_said_with_its_file(text: str, why: str, tmp_path: Path) -> None:
    file = stored(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        themes.find("mine", tmp_path)
    assert str(error.value).startswith(f"{file}: ")
    assert why in str(error.value)


def test_a_theme_that_there_is_not_is_said_with_those_that_there_are(tmp_path: Path) -> None:
    for name in ("drak", "../themes/mine"):
        with pytest.raises(ConfigError, match="expected one of ansi, dark, light, contrast, found"):
            themes.find(name, tmp_path)


# --- on the desk ------------------------------------------------------------------------------------------------------


async def test_another_theme_is_painted_at_once_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stored(tmp_path, GOOD)
    stored(tmp_path, "ink = 1", name="broken")
    async with bench() as desk:
        desk.app.config_dir = tmp_path
        before = frame(desk.app)
        for name, ground in (("dark", "#121212"), ("mine", "#000000"), ("light", "#fafafa")):
            await desk.press(":", *f"theme {name}", "enter")
            assert f"theme {name}" in desk.text
            assert grounds(desk.app) == {ground, *([] if name == "mine" else [THEMES[name].cursor.lower()])}
        await desk.press(":", *"theme broken", "enter")
        assert "broken.toml: ink: expected a colour" in desk.text
        await desk.press(":", *"theme", "enter")
        assert "theme light; there are ansi, dark, light, contrast, broken, mine" in desk.text
        await desk.press(":", *"theme ansi", "enter", "j", "k")
        assert frame(desk.app) == before


def grounds(app: object) -> set[str]:
    strips = app.screen._compositor.render_strips()  # type: ignore[attr-defined]
    return {segment.style.bgcolor.name.lower() for strip in strips for segment in strip if segment.style.bgcolor}


async def test_no_color_keeps_the_weights_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with bench() as desk:
        await desk.press("4")
        strips = desk.app.screen._compositor.render_strips()
        styles = [segment.style for strip in strips for segment in strip if segment.style is not None]
        assert all(style.color is None or style.color.is_default for style in styles)
        assert any(style.bold for style in styles)
        await desk.press(":", *"theme dark", "enter")
        assert "theme dark, without its colours: NO_COLOR is set" in desk.text
    theme.use(ANSI_THEME)


def test_a_terminal_of_ascii_gets_ascii_column_for_column() -> None:
    drawn = "├ ▾ a ▁▂▃▄▅▆▇█ │└─ …→⠿ é 接 ␛"
    assert glyphs.plain(drawn) == "| v a .:-=+*## |`- ~>* é 接 ?"
    assert all(len(signs) == len(plains) and plains.isascii() for signs, plains in glyphs.PAIRS)
