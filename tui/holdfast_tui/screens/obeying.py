"""Carries out what was typed behind `:`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, assert_never

from holdfast_tui import command, keys, vocabulary
from holdfast_tui.plan import Plan, Verb
from holdfast_tui.screens.dead import Dead
from holdfast_tui.screens.frame import Frame
from holdfast_tui.screens.page import Page
from holdfast_tui.screens.queues import Queues

if TYPE_CHECKING:
    from holdfast_tui.app import Desk

RUNS = frozenset({Verb.RETRY, Verb.CANCEL, Verb.KILL, Verb.REPLAY, Verb.DROP})
"""What can be done to a run that is named."""


def obey(desk: Desk, page: Page, text: str) -> None:
    """Do what a command says, on the screen that it was typed on; what it can't be is said there."""
    given = command.read(text)
    match given:
        case command.Go(screen, filter):
            desk.section(screen, filter or None)
        case command.OpenRun(run):
            desk.open_run(run)
        case command.Help():
            desk.help(page)
        case command.Quit():
            desk.exit()
        case command.Mode(read_only):
            _set_mode(desk, page, read_only)
        case command.Colours(name):
            _mended(page, lambda: page.command_theme(name))
        case command.Tour():
            desk.take_tour()
        case command.Wrong(why):
            page.say(why, "warn")
        case command.Hook(word, rest):
            _hook(desk, page, word, rest)
        case command.Perform(id, rest):
            _perform(desk, page, id, rest)
        case command.Hold(queue, paused):
            _hold(desk, page, queue, paused)
        case command.Drain(filter):
            _drain(desk, page, filter)
        case _:
            assert_never(given)


def hooks(page: Frame | type[Frame]) -> frozenset[str]:
    """The words that a screen carries out itself: it has a `command_<word>`."""
    return frozenset(word.word for word in command.WORDS if hasattr(page, f"command_{word.word}"))


def _hook(desk: Desk, page: Page, word: str, rest: str) -> None:
    changes = any(each.word == word and each.changes for each in command.WORDS)
    if word not in hooks(page):
        page.say(f":{word} is not for this screen", "warn")
    elif not (changes and _refused(desk, page)):
        _mended(page, lambda: getattr(page, f"command_{word}")(rest))


def _mended(page: Page, carry_out: Callable[[], object]) -> None:
    """What a command can't take is said in the prompt's place."""
    try:
        carry_out()
    except ValueError as error:
        page.say(str(error), "warn")


def _perform(desk: Desk, page: Page, id: str, rest: str) -> None:
    if _refused(desk, page):
        return
    if rest and id in {verb.value for verb in RUNS}:
        _mended(page, lambda: page.propose(_about_run(desk, Verb(id), rest)))
    elif rest:
        page.say(f":{id} takes no words: it is about what is under the cursor", "warn")
    elif page.kind not in (screens := keys.screens(id)):
        named = f"; or :{id} RUN" if id in {verb.value for verb in RUNS} else ""
        page.say(f":{id} is not for this screen: {', '.join(screens)}{named}", "warn")
    else:
        getattr(page, f"do_{id}")()


def _about_run(desk: Desk, verb: Verb, rest: str) -> Plan:
    known = desk.known().runs
    named = tuple(dict.fromkeys(vocabulary.run_named(word, known) for word in rest.split()))
    if verb is Verb.KILL and len(named) > 1:
        raise ValueError(f":kill takes one run, found {len(named)}")
    return Plan(verb=verb, targets=named)


def _refused(desk: Desk, page: Page) -> bool:
    why = desk.gateway.refusal()
    if why:
        page.say(why, "warn")
    return bool(why)


def _hold(desk: Desk, page: Page, queue: str, paused: bool) -> None:
    if _refused(desk, page):
        return
    if isinstance(page, Queues):
        page.hold([queue] if queue else page.window.chosen(), paused)
    elif queue:
        page.propose(Plan(verb=Verb.PAUSE if paused else Verb.RESUME, targets=(queue,), what="queue"))
    else:
        page.say(f":{'pause' if paused else 'resume'} QUEUE: which queue?", "warn")


def _drain(desk: Desk, page: Page, filter: str) -> None:
    if _refused(desk, page):
        return
    if isinstance(page, Dead) and not filter:
        page.do_drain()
    else:
        desk.section(keys.DEAD, filter)
        desk.say("Z drains what is shown here")


def _set_mode(desk: Desk, page: Page, read_only: bool) -> None:
    """Read-only at once; out of it by typing the project's name, if the session was not started so."""
    gateway = desk.gateway
    if read_only:
        gateway.read_only = True
        page.say("read-only: nothing can be changed now; :rw leaves it")
    elif gateway.locked:
        page.say("this session was started with --read-only and stays so: start the desk without it", "warn")
    elif not gateway.read_only:
        page.say("this session is not read-only")
    else:
        page.fill(f"Leave read-only: type the project's name, {gateway.project}", "project", "", _leaving(desk, page))


def _leaving(desk: Desk, page: Page) -> Callable[[str], None]:
    def leave(typed: str) -> None:
        if typed != desk.gateway.project:
            raise ValueError(f"expected {desk.gateway.project}, found {typed or 'nothing'}; esc stays read-only")
        desk.gateway.read_only = False
        page.say("read-only is off: capitals change things again")

    return leave
