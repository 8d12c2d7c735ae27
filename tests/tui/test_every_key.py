"""That no key is silent: whatever is pressed, on whichever screen, something of it is seen."""

from __future__ import annotations

import pytest

from holdfast_tui import keys
from holdfast_tui.router import Mode
from tui.desks import Bench, bench, frame
from tui.world import FakeClient, run_id

FIRST = {
    **dict.fromkeys(("down", "last", "half_down", "page_down"), "g"),
    "fold": "=",
    "unfold": "hh",
    "fold_all": "=",
    "unfold_all": "-",
    "further": "+",
    "fit": "+",
    "pan_left": "+l",
}
"""What has to be pressed before an action finds something to do."""

UNSEEN = {"quit", "redraw", "pane_up", "pane_down"}
"""Nothing is left to see, the same is painted again, or the text of a pane is no longer than the pane."""


async def _open(desk: Bench, screen: str) -> None:
    if screen in (keys.RUN, keys.TIMELINE, keys.HISTORY):
        desk.app.open_run(run_id(2895))
        await desk.settle()
        if screen == keys.TIMELINE:
            await desk.press("t")
        elif screen == keys.HISTORY:
            desk.app.open_history(desk.page.watched)  # type: ignore[attr-defined]
    else:
        desk.app.section(keys.DEAD if screen == keys.GROUPS else screen)
        await desk.settle()
        if screen == keys.GROUPS:
            await desk.press("u")
    await desk.settle()
    assert desk.kind == screen


@pytest.mark.parametrize("screen", keys.SCREENS)
async def test_every_action_of_every_screen_answers(screen: str) -> None:
    silent = []
    async with bench(FakeClient()) as desk:
        await _open(desk, screen)
        page, place = desk.page, desk.app.trail.places[-1]
        for action in keys.on(screen):
            if action.id in UNSEEN or keys.SECTIONS.get(action.keys[0]) == screen:
                continue
            if desk.app.screen is not page or page.state.mode is not Mode.NORMAL:
                await desk.press("escape", "escape")
                desk.app._show(place)
            await desk.press("g", "j", "j", *FIRST.get(action.id, ""))
            before = frame(desk.app)
            await desk.press(action.keys[0])
            if frame(desk.app) == before:
                silent.append(action.id)
    assert not silent
