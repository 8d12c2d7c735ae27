"""An editor that cannot be started is said, and the terminal is not left for it."""

from __future__ import annotations

import pytest

from holdfast_tui.terminal.editor import command
from tui.desks import bench


@pytest.mark.parametrize(
    ("env", "why"),
    [
        ({}, "no editor: set VISUAL or EDITOR, as in EDITOR=vim"),
        ({"VISUAL": " ", "EDITOR": ""}, "no editor: set VISUAL or EDITOR, as in EDITOR=vim"),
        ({"EDITOR": "none-such -x"}, "no program 'none-such', which VISUAL or EDITOR names"),
        ({"VISUAL": "vi '"}, "VISUAL or EDITOR: expected a command, found no closing quotation"),
        ({"EDITOR": "true", "PATH": "/usr/bin:/bin"}, "this terminal cannot be left to an editor"),
    ],
)
async def test_why_there_is_no_text(env: dict[str, str], why: str) -> None:
    async with bench() as desk:
        desk.app.env = env
        assert await desk.app.edit("text") == (None, why)


def test_the_command_may_have_arguments_and_visual_comes_first() -> None:
    assert command({"VISUAL": "code --wait 'a b'", "EDITOR": "vi"}) == ["code", "--wait", "a b"]
    assert command({"EDITOR": "emacsclient -a ''"}) == ["emacsclient", "-a", ""]
