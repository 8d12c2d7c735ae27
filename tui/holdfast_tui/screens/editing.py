"""A text that the operator changes, in place or in an editor of their own."""

from __future__ import annotations

from collections.abc import Callable

from holdfast_tui.screens.page import Page
from holdfast_tui.terminal.editor import command
from holdfast_tui.widgets.editor import edit


async def edited(page: Page, title: str, text: str, validate: Callable[[str], object]) -> str | None:
    """Let the operator change a text until it is valid. Await it in a worker; arguments and answer as of `edit`."""

    async def own(text: str) -> tuple[str | None, str]:
        return await page.desk.edit(text, name="holdfast.json")

    return await edit(page.app, title, text, validate, own=own if _has_own(page) else None)


def _has_own(page: Page) -> bool:
    try:
        return bool(command(page.desk.env))
    except ValueError:
        return True  # it is there and can't be read: that is said when it is tried
