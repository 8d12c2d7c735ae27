"""A schedule in words: how it stands and why, its rules, its last runs and its next ticks, and how its days went."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.core.model import FINAL, Instant, State
from holdfast.core.schedule import CATCH_UP
from holdfast.errors import DefinitionError
from holdfast.quantities import duration
from holdfast.ticks import Cron, Every
from holdfast.wire.api import RunRow
from holdfast.wire.schedules import Day, ScheduleRow
from holdfast_tui.format import STATES, Cell, age, clean, date, error_name, minute, plural, spark, took
from holdfast_tui.model import lanes

STANDINGS: dict[str, Cell] = {
    "active": ("ok", ""),
    "paused": ("PAUSED", "dim"),
    "new": ("new", "dim"),
    "behind": ("LATE", "warn"),
    "over": ("over", "dim"),
}
"""The word and the role of each state of a schedule."""


def times_of(text: str, row: ScheduleRow) -> Cron | Every:
    """What was typed as times; the other rules stay as the schedule has them. Raises: ValueError: that can't be."""
    word, _, rest = text.strip().partition(" ")
    try:
        if word == "every":
            return Every(
                duration(rest.strip()), tz=row.tz, overlap=row.overlap, catch_up=row.catch_up, jitter=row.jitter
            )
        return Cron(text.strip(), tz=row.tz, overlap=row.overlap, catch_up=row.catch_up, jitter=row.jitter)
    except DefinitionError as error:
        raise ValueError(str(error)) from None
    except ValueError as error:
        raise ValueError(f"expected {error}, found {rest.strip() or 'nothing'}") from None


def due(row: ScheduleRow, now: Instant) -> str:
    """When the next tick is: `in 14h`, or how long ago it should have been."""
    if row.next_at is None:
        return "-"
    return f"in {age(row.next_at - now)}" if row.next_at >= now else f"{age(now - row.next_at)} ago"


def strip(days: Sequence[Day], blocks: int) -> str:
    """How long the runs took, each block the mean of some days; a day without any is nothing."""
    if not days:
        return " " * blocks
    size = max(1, len(days) // blocks)
    parts = [days[at : at + size] for at in range(len(days) % size, len(days), size)]
    return spark([_mean([day.took for day in part if day.took is not None]) for part in parts])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def reasons(row: ScheduleRow, now: Instant) -> list[str]:
    """Why it stands so, and what can be done."""
    found = []
    match row.state:
        case "paused":
            since = "" if row.paused_at is None else f" since {date(row.paused_at)}"
            found.append(f"Paused by {clean(row.by) or 'somebody'}{since}: nothing counts as missed; P resumes it.")
        case "behind":
            late = age(now - row.next_at) if row.next_at is not None else "a while"
            found.append(
                f"Its tick was due {late} ago and nobody set the next one: is the daemon running (holdfast up)?"
            )
        case "new":
            found.append("Nobody has attended to it yet: the daemon does, within moments (holdfast up).")
        case "over":
            found.append("It has no tick any more: its times are over.")
        case _:
            found.append(f"It ticks as it should, next {date(row.next_at)}.")
    if row.missed:
        found.append(f"{plural(row.missed, 'tick')} came more than {took(row.catch_up)} late and did not run.")
    if row.skipped:
        found.append(
            f"{plural(row.skipped, 'tick')} did not run: the run before had not ended (overlap: {row.overlap})."
        )
    return found


def rules(row: ScheduleRow) -> list[Cell]:
    word, role = STANDINGS.get(row.state, (row.state, "warn"))
    made = "declared by its task" if row.declared else f"created {date(row.created_at)[:10]}; E edits it"
    late = "runs anyway" if row.catch_up >= 10 * 365 * 86_400 else f"runs up to {took(row.catch_up)} late"
    if row.catch_up == CATCH_UP:
        late += ", as by default"
    return [
        (word, role or "title"),
        (f"{row.when}   zone {row.tz}", ""),
        (f"task {row.task}", ""),
        (f"overlap {row.overlap}   jitter {took(row.jitter) if row.jitter else 'none'}", ""),
        (f"a missed tick {late}", ""),
        (made, ""),
        (f"missed {row.missed:,}   skipped {row.skipped:,}", "warn" if row.missed else ""),
    ]


def run_told(run: RunRow) -> Cell:
    word, role = STATES[run.state]
    lasted = took(run.took) if run.state in FINAL else ".."
    why = error_name(run.error_type) if run.error_type else run.reason if run.state is State.CANCELLED else ""
    hand = " by hand" if run.source.endswith(" by hand") else ""
    return f"{minute(run.created_at)} {word:<6} {lasted:>6} {why}{hand}".rstrip(), role


def ahead(row: ScheduleRow, now: Instant) -> list[Cell]:
    found = lanes.ahead(row, now, 3)
    if row.state == "paused":
        return [(f"{date(at)}   not while paused", "dim") for at in found]
    if row.state == "behind" and row.next_at is not None:
        return [
            (f"{date(row.next_at)}   late by {age(now - row.next_at)}", "warn"),
            *[(date(at), "") for at in found[:2]],
        ]
    return [(f"{date(at)}   in {age(at - now)}", "") for at in found] or [("none", "dim")]


def days_told(days: Sequence[Day]) -> list[Cell]:
    if not days:
        return [("30 days: no run", "title")]
    runs, failed = sum(day.runs for day in days), sum(day.failed for day in days)
    return [
        (f"30 days: {plural(runs, 'run')}, {failed:,} failed", "title"),
        (f"took {strip(days, len(days))}", ""),
        (f"runs {spark([day.runs for day in days])}", ""),
        (f"fail {spark([day.failed for day in days])}", "fail" if failed else ""),
    ]
