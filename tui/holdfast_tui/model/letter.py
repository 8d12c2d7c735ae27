"""A dead letter for reading: on one line, and everything for triage in one place."""

from __future__ import annotations

import re
from collections.abc import Sequence

from holdfast.core.model import ErrorInfo, Instant
from holdfast.wire.api import Letter, LetterGroup
from holdfast_tui.format import Cell, age, clean, date, error_name, lines, plural, short, took, value
from holdfast_tui.model.autopsy import Autopsy, told_retry, told_tries

PAGES = ("letter", "error", "payload", "history", "ids")
"""What the pane shows of a letter, one after the other."""

MOST = 12
"""Lines of a payload beside the rest; its own page has all of it."""

_PLACE = re.compile(r'File "([^"]+)", line (\d+), in (.+)')


def said(letter: Letter) -> str:
    """Its error on one line."""
    error = letter.error
    return f"{error_name(error.type)}: {lines(error.message)[0]}" if error.type else lines(letter.reason)[0]


def place(error: ErrorInfo) -> str:
    """Where an error was raised: `hooks.py:77 in post`; empty where it does not say."""
    found = _PLACE.findall(error.traceback or "")
    if not found:
        return ""
    file, line, name = found[-1]
    return clean(f"{file.rpartition('/')[2]}:{line} in {name}")


def told(letter: Letter, found: Autopsy | str | None, page: str, now: Instant) -> list[Cell]:
    """A page of the pane.

    Args:
        found: what its history says; None: it is not read yet, a text: why it could not be.
    """
    match page:
        case "error":
            return _error(letter)
        case "payload":
            return [(line, "") for line in lines(value(letter.payload))]
        case "history":
            return _read(found, told_tries)
        case "ids":
            return _ids(letter)
    return _whole(letter, found, now)


def _whole(letter: Letter, found: Autopsy | str | None, now: Instant) -> list[Cell]:
    payload = lines(value(letter.payload))
    over = len(payload) - MOST
    lasted = took(letter.last_at - letter.first_at)
    cells: list[Cell] = [
        (
            f"dead {age(now - letter.last_at)} ago  {plural(letter.attempts, 'try')} over {lasted}".replace(
                "trys", "tries"
            ),
            "",
        ),
        (clean(f"{error_name(letter.error.type)}: {lines(letter.error.message)[0]}".removeprefix(": ")), "fail"),
    ]
    if where := place(letter.error):
        cells.append((where, ""))
    if letter.reason and letter.reason != letter.error.message:
        cells.append((clean(letter.reason), "dim"))
    cells += [("", ""), ("─ payload (edit: E)", "title"), *((line, "") for line in payload[:MOST])]
    if over > 0:
        cells.append((f"... {plural(over, 'line')} more: tab", "dim"))
    cells += [("", ""), ("─ what a retry does", "title"), *_read(found, told_retry)]
    if isinstance(found, Autopsy) and found.failed:
        cells.append((f"failed at {clean(found.failed)}", ""))
    cells += [("", ""), ("─ history", "title"), *_read(found, told_tries)]
    return [*cells, ("", ""), (clean(letter.run), "dim")]


def _read(found: Autopsy | str | None, tell: object) -> list[Cell]:
    if found is None:
        return [("reading its history ...", "dim")]
    if isinstance(found, str):
        return [(clean(found), "fail")]
    assert callable(tell)
    return list(tell(found))


def _error(letter: Letter) -> list[Cell]:
    error = letter.error
    head: list[Cell] = [(line, "fail") for line in lines(f"{error.type}: {error.message}".removesuffix(": "))]
    return head + [(line, "") for line in lines((error.traceback or "").rstrip()) if error.traceback]


def _ids(letter: Letter) -> list[Cell]:
    facts = (
        ("run", letter.run),
        ("task", letter.task),
        ("queue", letter.queue),
        ("attempts", str(letter.attempts)),
        ("reason", letter.reason),
        ("checkpoint", letter.last_key or "none"),
        ("created", date(letter.first_at)),
        ("died", date(letter.last_at)),
        ("error", letter.error.type),
    )
    return [(f"{name:<10} {clean(text)}", "") for name, text in facts]


def title(letter: Letter, page: str) -> str:
    """The pane's title: which page, of whom."""
    if page == PAGES[0]:
        return f"{short(letter.run)}  {clean(letter.task)}  {clean(letter.queue)}"
    return " ".join(f"[{name}]" if name == page else name for name in PAGES) + f" ─ {short(letter.run)}"


# --- kinds of errors ------------------------------------------------------------------------------------------------


def name_of(group: LetterGroup) -> str:
    """A kind of error on one line."""
    return clean(f"{error_name(group.error_type)}: {group.pattern}".removeprefix(": ").removesuffix(": "))


def told_groups(groups: Sequence[LetterGroup], total: int, most: int) -> list[Cell]:
    """The largest kinds of errors, and how many letters are of others."""
    shown = groups if len(groups) <= most else groups[: most - 1]
    cells: list[Cell] = [(f"{group.count:>5,}  {name_of(group)}", "") for group in shown]
    others = total - sum(group.count for group in shown)
    return [*cells, (f"{others:>5,}  others", "dim")] if others > 0 else cells


def told_group(group: LetterGroup, now: Instant) -> list[Cell]:
    """Everything of a kind of error."""
    return [
        (clean(group.error_type), ""),
        *((line, "fail") for line in lines(group.pattern)),
        ("", ""),
        (plural(group.count, "dead letter"), ""),
        (f"first {date(group.first_at)}  {age(now - group.first_at)} ago", ""),
        (f"last  {date(group.last_at)}  {age(now - group.last_at)} ago", ""),
        ("", ""),
        (f"tasks  {', '.join(map(clean, group.tasks))}", ""),
        (f"queues {', '.join(map(clean, group.queues))}", ""),
        ("", ""),
        ("* stands for what differs: numbers, ids, quoted texts", "dim"),
        (f"the last one: {clean(group.example)}", "dim"),
    ]
