"""What a key means: one pure function over a few modes. Focus never moves, layout never shifts: a prompt is a state.

`press` answers with the next state and what to do; who does it is the screen.
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from holdfast_tui.intents import (
    NORMAL,
    NOTHING_SENT,
    Act,
    Answer,
    Blank,
    Choices,
    Do,
    Given,
    Intent,
    Mode,
    Narrow,
    Picked,
    Question,
    Say,
    Scene,
    State,
    Step,
    Submit,
)

__all__ = [
    "NORMAL",
    "NOTHING_SENT",
    "ROOT",
    "Act",
    "Answer",
    "Blank",
    "Choices",
    "Do",
    "Given",
    "Intent",
    "Mode",
    "Narrow",
    "Picked",
    "Question",
    "Say",
    "Scene",
    "State",
    "Step",
    "Submit",
    "ask",
    "edit",
    "fill",
    "ghost",
    "key_name",
    "paste",
    "pick",
    "press",
    "sending",
]

ROOT = "this is the first screen: ctrl+c quits"


def key_name(key: str, character: str | None) -> str:
    """A key as the table names it: a printable one is itself, but `space`."""
    if key.startswith("alt+"):
        return key
    if character is not None and character.isprintable() and len(character) == 1:
        return "space" if character == " " else character
    return key


def press(state: State, key: str, scene: Scene) -> Step:
    """One key."""
    if key == "ctrl+c":
        return _quit(state)
    match state.mode:
        case Mode.NORMAL:
            return _normal(state, key, scene)
        case Mode.FILTER:
            return _filter(state, key, scene)
        case Mode.COMMAND:
            return _command(state, key, scene)
        case Mode.ASK:
            return _ask(state, key)
        case Mode.TYPED:
            return _typed(state, key)
        case Mode.BLANK:
            return _blank(state, key)
        case Mode.PICK:
            return _pick(state, key)
        case Mode.SENDING:
            return _sending(state, key, scene)
        case _:
            assert_never(state.mode)


def paste(state: State, text: str) -> Step:
    """A paste: text for a prompt on one line; it never answers a question and never is a key."""
    text = "".join(text.splitlines()[:1])
    match state.mode:
        case Mode.FILTER:
            return Step(_typing(state, state.text + text), (Narrow(state.text + text),))
        case Mode.COMMAND | Mode.BLANK:
            return Step(_typing(state, state.text + text))
        case _:
            return Step(state)


def ask(question: Question) -> State:
    """The state that asks."""
    return State(mode=Mode.TYPED if question.typed else Mode.ASK, question=question)


def fill(blank: Blank) -> State:
    """The state in which something is typed."""
    return State(mode=Mode.BLANK, blank=blank, text=blank.start)


def pick(choices: Choices) -> State:
    """The state in which one key chooses."""
    return State(mode=Mode.PICK, pick=choices)


def sending() -> State:
    return State(mode=Mode.SENDING)


def _quit(state: State) -> Step:
    if state.mode is Mode.SENDING and not state.warned:
        warned = msgspec.structs.replace(state, warned=True)
        return Step(warned, (Say("still sending: esc stops, ctrl+c again quits"),))
    return Step(state, (Do.QUIT,))


def _normal(state: State, key: str, scene: Scene) -> Step:
    if key in scene.off:
        return Step(state, (Say(f"{key} is off: {scene.off[key]}"),))
    match scene.keys.get(key):
        case "back":
            return Step(state, (_back(scene),))
        case "quit":
            return _quit(state)
        case "filter":
            return Step(State(mode=Mode.FILTER, text=scene.filter, before=scene.filter))
        case "command":
            return Step(State(mode=Mode.COMMAND))
        case None:
            return Step(state, (Say(f"{key} does nothing here: ? shows the keys"),)) if len(key) == 1 else Step(state)
        case id:
            return Step(state, (Act(id),))


def _back(scene: Scene) -> Intent:
    if scene.zoomed:
        return Do.UNZOOM
    if scene.filter != scene.home:
        return Narrow(scene.home)
    if scene.marked:
        return Do.UNMARK
    return Say(ROOT) if scene.root else Do.BACK


def _filter(state: State, key: str, scene: Scene) -> Step:
    if key == "enter":
        return Step(NORMAL)
    if key == "escape":
        return Step(NORMAL, (Narrow(state.before),))
    if key in ("up", "down", "pageup", "pagedown") and key in scene.keys:
        return Step(state, (Act(scene.keys[key]),))
    text = edit(state.text, key)
    return Step(state) if text == state.text else Step(_typing(state, text), (Narrow(text),))


def _command(state: State, key: str, scene: Scene) -> Step:
    if key == "escape" or (key == "backspace" and not state.text):
        return Step(NORMAL)
    if key == "enter":
        return Step(NORMAL, (Submit(state.text),)) if state.text.strip() else Step(NORMAL)
    if key in ("up", "down"):
        return Step(_recalled(state, 1 if key == "up" else -1, scene))
    if key in ("tab", "shift+tab"):
        return Step(_completed(state, 1 if key == "tab" else -1, scene))
    if key in ("right", "ctrl+e", "end"):
        return Step(_typing(state, state.text + ghost(state, scene)))
    return Step(_typing(state, edit(state.text, key)))


def _recalled(state: State, by: int, scene: Scene) -> State:
    """The next older or newer command that begins as what was typed."""
    begun = state.before if state.recall else state.text
    found = [line for line in scene.history if line.startswith(begun)]
    recall = max(0, min(len(found), state.recall + by))
    text = found[-recall] if recall else begun
    return msgspec.structs.replace(state, text=text, recall=recall, before=begun, stem=None)


def _completed(state: State, by: int, scene: Scene) -> State:
    """The next way to complete the line; each tab another, and behind the last what was typed."""
    stem = state.text if state.stem is None else state.stem
    found = scene.complete(stem)
    if not found:
        return state
    if len(found) == 1:
        return _typing(state, found[0])
    fresh = 0 if by > 0 else len(found) - 1
    turn = fresh if state.stem is None else (state.turn + by) % (len(found) + 1)
    text = found[turn] if turn < len(found) else stem
    return msgspec.structs.replace(state, text=text, stem=stem, turn=turn, recall=0)


def ghost(state: State, scene: Scene) -> str:
    """What stands dim behind a command: the rest of the last one that began so, or else of the likeliest."""
    if not state.text or state.stem is not None:
        return ""
    lines = (*reversed(scene.history), *scene.complete(state.text))
    return next((line[len(state.text) :] for line in lines if line.startswith(state.text) and line != state.text), "")


def _ask(state: State, key: str) -> Step:
    assert state.question is not None
    if key in dict(state.question.options):
        return Step(NORMAL, (Answer(key),))
    if key == "d" and state.question.dry:
        dry = msgspec.structs.replace(state.question, text=state.question.dry, dry="")
        return Step(msgspec.structs.replace(state, question=dry))
    if key in ("n", "q", "escape"):
        return Step(NORMAL, (Answer(""), Say(NOTHING_SENT)))
    return Step(state)


def _typed(state: State, key: str) -> Step:
    assert state.question is not None
    if key == "escape":
        return Step(NORMAL, (Answer(""), Say(NOTHING_SENT)))
    if key == "enter":
        return Step(NORMAL, (Answer("y"),)) if state.text == state.question.typed else Step(state)
    return Step(_typing(state, edit(state.text, key)))


def _blank(state: State, key: str) -> Step:
    assert state.blank is not None
    if key == "escape":
        return Step(NORMAL, (Answer(""), Say(state.blank.left)))
    if key == "enter":
        return Step(state, (Given(state.text),))
    return Step(_typing(state, edit(state.text, key)))


def _pick(state: State, key: str) -> Step:
    assert state.pick is not None
    choices = dict(state.pick.choices)
    if key in choices:
        return Step(NORMAL, (Picked(key),))
    if key in ("escape", "q"):
        return Step(NORMAL, (Picked(""),))
    return Step(msgspec.structs.replace(state, wrong=f"{key} is none of {' '.join(choices)}"))


def _sending(state: State, key: str, scene: Scene) -> Step:
    if key in ("escape", "q"):
        return Step(state, (Do.STOP,))
    action = scene.keys.get(key, "")
    return Step(state, (Act(action),)) if action in scene.moves else Step(state)


def edit(text: str, key: str) -> str:
    """A prompt's text after a key."""
    if key == "backspace":
        return text[:-1]
    if key == "ctrl+u":
        return ""
    if key == "ctrl+w":
        return text.rstrip().rpartition(" ")[0]
    if key == "space":
        return text + " "
    return text + key if len(key) == 1 and key.isprintable() else text


def _typing(state: State, text: str) -> State:
    return msgspec.structs.replace(state, text=text, recall=0, stem=None, wrong="")
