"""Rows 23 and 24 while something is asked: what each mode of the router shows there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from holdfast_tui.command import Offer
from holdfast_tui.format import Cell, clean
from holdfast_tui.router import Mode, State

CURSOR: Cell = ("▏", "")


class Bottom(NamedTuple):
    """Two rows, each with what stands at its right."""

    prompt: Sequence[Cell]
    hints: Sequence[Cell]
    hints_right: Sequence[Cell] = ()
    prompt_right: Sequence[Cell] = ()


def asked(
    state: State, width: int, *, filter_foot: str = "", ghost: str = "", offers: Sequence[Offer] = ()
) -> Bottom | None:
    """The rows; None where nothing is asked.

    Args:
        filter_foot: row 24 while the filter is typed.
        ghost: what the command would go on with.
        offers: every way to go on with it.
    """
    match state.mode:
        case Mode.FILTER:
            return Bottom([(" /", "title"), (clean(state.text), ""), CURSOR], [(filter_foot, "")])
        case Mode.COMMAND:
            row = [(" :", "title"), (clean(state.text), ""), CURSOR, (clean(ghost), "dim")]
            return Bottom(row, [(" ", ""), *_palette(state, offers, width - 2)])
        case Mode.ASK if state.question is not None:
            dry = (("d", "dry run"),) if state.question.dry else ()
            foot = " " + offered((*state.question.options, *dry, ("n/esc", "no")))
            return Bottom(
                [(" " + clean(state.question.text), "ask")],
                [(foot, "")],
                _where_room(foot, "nothing sent yet ", width),
            )
        case Mode.TYPED if state.question is not None:
            return Bottom(
                [(" " + clean(state.question.text), "ask")],
                [(f" type {state.question.typed}> {clean(state.text)}▏", "")],
                [("enter when it matches   esc cancels ", "")],
            )
        case Mode.BLANK if state.blank is not None:
            tail = "  enter goes on   esc cancels "
            room = width - len(tail) - len(state.blank.name) - 4
            return Bottom(
                [(" " + clean(state.wrong), "fail") if state.wrong else (" " + clean(state.blank.text), "ask")],
                [(f" {state.blank.name}> {_end(clean(state.text), room)}▏", "")],
                [(tail, "")],
            )
        case Mode.PICK if state.pick is not None:
            title: Cell = (" " + clean(state.wrong), "warn") if state.wrong else (" " + clean(state.pick.title), "ask")
            above, below = _over_two((*state.pick.choices, ("esc", "leave")), width - len(title[0]) - 2, width - 1)
            return Bottom([title, (f"  {above}" if above else "", "")], [(" " + below, "")])
    return None


def offered(options: Sequence[tuple[str, str]]) -> str:
    """Keys with their words."""
    return "  ".join(f"[{key}] {clean(word)}" for key, word in options)


def _over_two(options: Sequence[tuple[str, str]], above: int, below: int) -> tuple[str, str]:
    """Keys with their words in the lower row; those that find no room there begin behind the title."""
    at = 0
    while len(offered(options[at:])) > below and len(offered(options[: at + 1])) <= above:
        at += 1
    return offered(options[:at]), offered(options[at:])


def _palette(state: State, offers: Sequence[Offer], width: int) -> list[Cell]:
    """What the command may be and what it does, as many as fit; the one that tab has chosen first, and bold."""
    if not offers:
        return [("enter does it   esc closes", "")]
    turn = state.turn % len(offers) if state.stem is not None else 0
    turned = [*offers[turn:], *offers[:turn]]
    cells: list[Cell] = []
    for at, offer in enumerate(turned):
        text, left = clean(offer.does), len(turned) - at
        more = f"   +{left} (tab)"
        room = width - sum(len(told) for told, _ in cells) - (len(more) if left > 1 else 0)
        if cells and len(text) + 3 > room:
            cells.append((more, "dim"))
            break
        if cells:
            cells.append(("   ", ""))
        cells.append((text, "title" if at == 0 and state.stem is not None else ""))
    return cells


def _where_room(line: str, tail: str, width: int) -> list[Cell]:
    """What stands at the right, where the line leaves room for it."""
    return [(tail, "")] if len(line) + 2 + len(tail) <= width else []


def _end(text: str, room: int) -> str:
    """The end of what is typed, where it is too long to be shown."""
    return text if len(text) <= room else "…" + text[len(text) - room + 1 :]
