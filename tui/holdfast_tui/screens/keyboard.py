"""The keys of a screen: what the router makes of them, and the looks that all screens share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from textual import events

from holdfast_tui import keys, router
from holdfast_tui.command import Offer
from holdfast_tui.router import Act, Answer, Do, Given, Mode, Narrow, Picked, Say, Scene, Submit
from holdfast_tui.screens.frame import Frame

CAPITALS = "capitals change things and ask first, lowercase only looks: press it again"
"""What is said the first time that somebody presses a capital."""


class Keyboard(Frame):
    """A frame that keys are pressed on: each action of `keys.ACTIONS` is a `do_<id>`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._then: Callable[[str], None] | None = None
        """What takes the key that is picked, or the text that is typed."""
        self._troubled = False
        """Whether row 23 showed what was wrong when the key was pressed."""

    def pick(self, title: str, choices: tuple[tuple[str, str], ...], then: Callable[[str], None]) -> None:
        """Let one key choose: row 24 shows the choices, esc leaves.

        Args:
            choices: keys with their words; `q` can be one, then only esc leaves.
            then: gets the key that was chosen; it may ask further. Where it raises ValueError, that is said.
        """
        self._then = then
        self.state = router.pick(router.Choices(title=title, choices=choices))

    def fill(self, text: str, name: str, start: str, then: Callable[[str], None]) -> None:
        """Ask for a line of text that sends nothing by itself: a file's name, a limit.

        Args:
            text: what is asked for.
            name: what stands before the text that is typed.
            start: what stands there at first.
            then: gets what was typed; it may ask further. Where it raises ValueError, that is shown and what was typed
                stays, to be mended.
        """
        self._then = then
        self.state = router.fill(router.Blank(text=text, name=name, start=start, left=""))

    def scene(self) -> Scene:
        """What the router must know."""
        gateway, desk = self.desk.gateway, self.desk
        keymap = keys.keymap(self.kind, read_only=gateway.read_only, actions=desk.actions)
        return Scene(
            keys={key: action.id for key, action in keymap.items()},
            off=keys.refused(self.kind, why=gateway.refusal(), actions=desk.actions),
            moves=frozenset(action.id for action in keymap.values() if action.moves),
            filter=self.filter,
            home=self.home,
            marked=len(self.window.marks),
            zoomed=self.has_class("-zoom"),
            root=desk.at_root,
            history=tuple(desk.memory.commands),
            complete=self._complete,
        )

    def _complete(self, text: str) -> list[str]:
        return [offer.line for offer in self.desk.offers(self, text)]

    @property
    def offers(self) -> Sequence[Offer]:
        if self.state.mode is not Mode.COMMAND:
            return ()
        return self.desk.offers(self, self.state.text if self.state.stem is None else self.state.stem)

    @property
    def ghost(self) -> str:
        return router.ghost(self.state, self.scene()) if self.state.mode is Mode.COMMAND else ""

    def on_key(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
        if self.app.screen is not self:  # typed ahead: the key before it went to another screen
            self.app.post_message(events.Key(event.key, event.character))
            return
        self._pressed_at = self.now
        scene, key = self.scene(), router.key_name(event.key, event.character)
        if self.state.mode is Mode.NORMAL:
            self._troubled, self.said = self.troubled, ("", "")
            self.desk.tour.did(scene.keys.get(key, ""))
        self._carry(router.press(self.state, key, scene))

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        self._pressed_at = self.now
        self._carry(router.paste(self.state, event.text))

    def on_table_opened(self) -> None:
        scene = self.scene()
        opening = (key for key, action in scene.keys.items() if action in ("open", "zoom"))
        self._carry(router.press(self.state, next(opening, "enter"), scene))

    def _carry(self, step: router.Step) -> None:
        self.state = step.state
        for intent in step.intents:
            self._do(intent)
        self.paint()

    def _do(self, intent: router.Intent) -> None:
        match intent:
            case Act(id) if id in keys.SECTIONS.values():
                self.desk.section(id)
            case Act("open" | "zoom") if self._troubled:
                self.desk.details()
            case Act(id) if keys.BY_ID[id].changes and self.desk.memory.once("capitals"):
                self.say(CAPITALS, "title")
            case Act(id):
                getattr(self, f"do_{id}")()
            case Narrow(text):
                self.filter = text
                self.narrowed()
            case Submit(text):
                self.desk.command(text)
            case Answer(option):
                self._then = None
                self.take_answer(option)
            case Given(text) if self._then is not None:
                self._hand_over(self._then, text)
            case Given(text):
                self.take_text(text)
            case Picked(key):
                self._choose(key)
            case Say(text):
                self.say(text)
            case Do.UNZOOM:
                self.zoom(False)
            case Do.UNMARK:
                self.window.unmark()
            case Do.BACK:
                self.desk.back()
            case Do.QUIT:
                self.desk.exit()
            case Do.STOP:
                self.stop_sending()

    def _choose(self, key: str) -> None:
        """Give the key that was picked to whom it is for; what can't be done is said."""
        then, self._then = self._then, None
        try:
            if then is not None and key:
                then(key)
        except ValueError as error:
            self.say(str(error), "warn")

    def _hand_over(self, then: Callable[[str], None], text: str) -> None:
        """Give what was typed to whom it is for; what can't be taken may be mended."""
        asked, self.state, self._then = self.state, router.NORMAL, None
        try:
            then(text)
        except ValueError as error:
            self._then, self.state = then, msgspec.structs.replace(asked, wrong=str(error))

    # --- for what asks to say -----------------------------------------------------------------------------------------

    def take_answer(self, option: str) -> None:
        """A question was answered; empty: no."""
        raise NotImplementedError

    def take_text(self, text: str) -> None:
        """What a question needs was typed."""
        raise NotImplementedError

    def stop_sending(self) -> None:
        """Send nothing more of what is being sent."""
        raise NotImplementedError

    # --- looks --------------------------------------------------------------------------------------------------------

    def do_down(self) -> None:
        self._move(1)

    def do_up(self) -> None:
        self._move(-1)

    def do_half_down(self) -> None:
        self._move(self.window.height // 2)

    def do_half_up(self) -> None:
        self._move(-(self.window.height // 2))

    def do_page_down(self) -> None:
        self._move(self.window.height - 1)

    def do_page_up(self) -> None:
        self._move(1 - self.window.height)

    def _move(self, by: int) -> None:
        if self.has_class("-zoom"):
            self.pane.scroll_lines(by)
        else:
            self.moved(lambda: self.window.move(by))

    def do_first(self) -> None:
        self.moved(lambda: self.window.to(0))

    def do_last(self) -> None:
        self.moved(lambda: self.window.to(len(self.window) - 1))

    def moved(self, move: Callable[[], None]) -> None:
        """Move the cursor; screens that follow stop where it leaves the end."""
        move()

    def zoom(self, on: bool) -> None:
        """Give the pane the whole body, or take it back."""
        self.set_class(on, "-zoom")
        self.call_after_refresh(self.paint)

    def do_backward(self) -> None:
        self.desk.walk(-1)

    def do_forward(self) -> None:
        self.desk.walk(1)

    def explained(self) -> str:
        """Why what is under the cursor is as it is, in one line; empty where there is nothing to say."""
        return ""

    def do_explain(self) -> None:
        """What the cursor is on, or else why keys are off."""
        why = self.desk.gateway.refusal()
        off = [action.keys[0] for action in keys.on(self.kind, self.desk.actions) if action.changes]
        refused = f"{' '.join(off)} are off: {why}" if why else ""
        self.say(self.explained() or refused or "nothing is off here, and there is nothing to explain")

    def do_help(self) -> None:
        self.desk.help(self)

    def do_again(self) -> None:
        self._pressed_at = 0
        self.desk.gateway.again()
        self.refresh_data()
        live = self.desk.gateway.link.live(self.desk.gateway.clock())
        self.say("reading again" if live else "connecting again")

    def do_redraw(self) -> None:
        self.forget()
        self.app.refresh(layout=True)
        self.desk.redraw()

    def do_mark(self) -> None:
        self.window.mark()
        self.moved(lambda: self.window.move(1))

    def do_mark_all(self) -> None:
        self.window.marks |= dict.fromkeys(self.window.keys)
        self.say(f"{len(self.window.marks):,} marked: all that are shown")

    def do_pane(self) -> None:
        """Turn to the next page; where there was no room for the pane, open it first."""
        if self.pane.size.width:
            self.turn()
        else:
            self.zoom(True)

    def turn(self) -> None:
        """Show the pane's next page."""

    def do_pane_up(self) -> None:
        self.pane.scroll_lines(-3)

    def do_pane_down(self) -> None:
        self.pane.scroll_lines(3)
