"""What the demo prints: the story while it happens, then trees, side effects, the recovery, and the claims."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from holdfast.cli import text
from holdfast.cli.output import Cell, Column, Output, Style, plain
from holdfast.cli.tree import draw
from holdfast.core.entries import StepFailed, StepRetried
from holdfast.core.model import Seconds
from holdfast.core.tree import Tree
from holdfast.demo.claims import Act, Claim, Evidence, Witness
from holdfast.demo.story import short

WIDTH = 80

DRAWN = {
    Act.ORDER: "an order: steps side by side, a flaky step, a loop, a child run",
    Act.KILL: "a killed worker: another one went on behind the last checkpoint",
    Act.LETTER: "a dead letter: retried, it went on where it had stopped",
}
"""The runs whose trees are shown; the event's looks like the first."""

COLUMNS = (
    Column("RUN"),
    Column("TASK"),
    Column("STEPS", right=True),
    Column("CALLS", right=True),
    Column("FAILED", right=True),
    Column("REPEATED", right=True),
)


class Performance(NamedTuple):
    """What came of the demo."""

    evidence: Evidence
    claims: list[Claim]
    started: Seconds
    """From an empty directory to workers that serve."""
    took: Seconds
    """From an empty directory to the claims."""

    @property
    def holds(self) -> bool:
        return all(claim.holds for claim in self.claims)


class Screen:
    """Tells the story on a terminal, or line by line into a file. A `story.Audience`."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._begun = time.monotonic()

    def act(self, title: str) -> None:
        self._out.line()
        self._line(title, Style.BOLD)

    def note(self, text: str) -> None:
        self._line(f"  {text}", None)

    def show(self, code: str) -> None:
        self._out.line()
        self._out.lines(self._out.paint(f"           {line}".rstrip(), Style.BUSY) for line in code.splitlines())
        self._out.line()

    def _line(self, said: str, style: Style | None) -> None:
        clock = f"{time.monotonic() - self._begun:5.2f}s"
        said = text.clip(text.visible(said), width(self._out) - 8)
        self._out.line(f"{self._out.paint(clock, Style.DIM)}  {self._out.paint(said, style)}")


class Nobody:
    """Hears the story where only its end is wanted. A `story.Audience`."""

    def act(self, title: str) -> None: ...

    def note(self, text: str) -> None: ...

    def show(self, code: str) -> None: ...


def width(out: Output) -> int:
    """Cells in a line: 80, or fewer on a narrow terminal."""
    return min(out.width or WIDTH, WIDTH)


def show(done: Performance, out: Output) -> None:
    """Print what is there at the end."""
    _trees(done.evidence, out)
    _effects(done.evidence, out)
    _recovery(done.evidence, out)
    _claims(done, out)


def _trees(seen: Evidence, out: Output) -> None:
    for act, title in DRAWN.items():
        it = seen.runs.get(act)
        if it is not None and it.row is not None:
            _title(title, out)
            out.lines(draw(_shortened(it.tree), it.row, width=width(out), ascii=out.ascii, paint=out.paint))


def _shortened(tree: Tree) -> Tree:
    """The tree with the workers by number: their whole names differ at the end only."""
    for span in tree.attempts:
        span.reason = span.reason.partition(": ")[2] or span.reason  # it begins with the worker
        span.worker = short(span.worker)
    return tree


def _effects(seen: Evidence, out: Output) -> None:
    _title("side effects: each call to the outside has left a line in a file", out)
    out.table(COLUMNS, [_effect_row(act, it) for act, it in _everyone(seen)])


def _effect_row(what: str, it: Witness) -> list[Cell | str]:
    again = repeated(it)
    return [
        what,
        it.run.task,
        str(len(it.outcomes)),
        str(it.calls.total()),
        str(_failed(it) or "-"),
        Cell(str(again or "-"), Style.WARN if again else None),
    ]


def _failed(it: Witness) -> int:
    return sum(isinstance(entry, StepRetried | StepFailed) for entry in it.entries)


def repeated(it: Witness) -> int:
    """Calls that the journal does not know of: made again though they had been made."""
    return (it.calls - it.outcomes).total()


def _everyone(seen: Evidence) -> Iterator[tuple[str, Witness]]:
    """Each run with what it is, a child behind its parent."""
    for act, it in seen.runs.items():
        yield act.value, it
        yield from (("  its child", child) for child in seen.children.values() if child.run.parent.run == it.run.id)  # type: ignore[union-attr]


def _recovery(seen: Evidence, out: Output) -> None:
    found = seen.recovery
    if found is None or seen.kill is None:
        return
    _title(f"kill -9 of {short(seen.kill.worker)}, by the journal", out)
    out.fields(
        (
            (f"+{text.took(found.noticed)}".rjust(7), "the daemon took the run from it"),
            (f"+{text.took(found.resumed)}".rjust(7), "another worker held it, with every outcome recalled"),
            (f"+{text.took(found.next_step)}".rjust(7), Cell("its next step began", Style.BOLD)),
        )
    )


def _claims(done: Performance, out: Output) -> None:
    _title("claims", out)
    for claim in done.claims:
        word = out.paint("ok    ", Style.GOOD) if claim.holds else out.paint("FAILED", Style.BAD)
        out.line(f"{word}  {claim.says}")
        for against in claim.against:
            out.lines(f"        {line}" for line in textwrap.wrap(text.visible(against), width(out) - 8))
    failed = sum(not claim.holds for claim in done.claims)
    verdict = f"{failed} of {len(done.claims)} claims FAILED" if failed else f"all {len(done.claims)} claims hold"
    out.line()
    times = f"in {done.took:.1f} s, {done.started:.1f} of them to start"
    out.line(f"{out.paint(verdict, Style.BAD if failed else Style.GOOD)}  {out.paint(times, Style.DIM)}")


def _title(title: str, out: Output) -> None:
    rule = "-" if out.ascii else "─"
    out.line()
    out.line(f"{out.paint(title, Style.BOLD)} {out.paint(rule * (width(out) - len(title) - 1), Style.DIM)}")


def as_json(done: Performance) -> dict[str, Any]:
    """All of it as one JSON object."""
    seen = done.evidence
    return {
        "ok": done.holds,
        "claims": [{"claim": claim.says, "ok": claim.holds, "against": list(claim.against)} for claim in done.claims],
        "started": round(done.started, 3),
        "took": round(done.took, 3),
        "kill": _kill_json(seen),
        "letter": plain(seen.letter),
        "runs": [{"what": what.strip(), **_run_json(it)} for what, it in _everyone(seen)],
    }


def _kill_json(seen: Evidence) -> dict[str, Any] | None:
    if seen.kill is None:
        return None
    times = seen.recovery._asdict() if seen.recovery is not None else {}
    return {**plain(seen.kill._asdict()), **{f"{name}_after": round(value, 4) for name, value in times.items()}}


def _run_json(it: Witness) -> dict[str, Any]:
    return {
        "run": it.run.id,
        "task": it.run.task,
        "state": it.run.state.value,
        "attempts": it.run.attempt,
        "steps": len(it.outcomes),
        "calls": it.calls.total(),
        "failed": _failed(it),
        "repeated": repeated(it),
        "tree": [
            {"depth": depth, **{name: value for name, value in plain(node).items() if name != "children"}}
            for depth, node in it.tree.walk()
        ],
    }
