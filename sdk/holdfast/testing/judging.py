"""Compares what came of crashes with the undisturbed run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from holdfast.core.diff import END, PAYLOAD, Came, Pair, Side, diff
from holdfast.core.lifecycle import PAUSE
from holdfast.core.model import Run
from holdfast.testing.playing import Played, equal
from holdfast.testing.report import CAPTURE, IDEMPOTENT, RAN, Boundary, Difference, Note, What
from holdfast.wire.values import decode_value
from holdfast.worker.checkpoints import CUT


class Judge:
    """Compares worlds with the undisturbed one."""

    def __init__(self, model: Played, other: Played) -> None:
        self._model = model
        self._differences: dict[tuple[str, ...], Difference] = {}
        self._notes: dict[tuple[str, str], Note] = {}
        pairs = [pair for pair in _compared(model, other) if not pair.same]
        self._varying = {pair.key for pair in pairs if pair.left.came is pair.right.came}
        """What differs between undisturbed runs; its value is not compared."""
        self._arguments: dict[str, tuple[str, str]] = {}
        """By key: the first that differed."""
        self._compares_effects = model.effects == other.effects
        ways = [pair for pair in pairs if pair.key not in self._varying]
        for pair in ways:
            self._differ(What.VARIES, pair.key, _side(pair.left), _side(pair.right), CAPTURE)
        if self._varying == {END} and not ways and model.run.state is other.run.state:
            pair = next(pair for pair in pairs if pair.key == END)
            self._differ(What.VARIES, "", _side(pair.left), _side(pair.right), CAPTURE)
        self._strays = {entry.key for entry in model.diverged}
        """Where the code leaves recorded outcomes behind without any crash."""
        for key in sorted(self._strays):
            self._note(key, "is another way than an earlier attempt took, also undisturbed")
        if not self._compares_effects:
            self._note("effects", "differ between undisturbed runs, so they were not compared")

    @property
    def differences(self) -> Iterator[Difference]:
        return iter(self._differences.values())

    @property
    def notes(self) -> Iterator[Note]:
        return iter(self._notes.values())

    def hear(self, at: Boundary, played: Played, *, crashed: bool) -> None:
        """Take in what came of a crash, or of a run that did not come so far."""
        if not crashed:
            self._note("writes", "are fewer in some runs, so not every crash came about", at)
        for _, key in sorted(played.watch.repeated):
            self._differ(What.REPEATED, key, "its recorded outcome", "that it ran again", "", at)
        for (_, key), (before, after) in sorted(played.watch.changed.items()):
            first = self._arguments.setdefault(key, (_short(before), _short(after)))
            self._differ(What.ARGUMENTS, key, *first, CAPTURE, at)
        for entry in (one for one in played.diverged if one.key not in self._strays):
            missing = ", ".join(entry.missing[:3])
            self._differ(What.DIVERGED, entry.key, f"to come to {missing}", "another await", CAPTURE, at)
        self._count(at, played)
        if played.run.paused:
            self._note(_asked(played.run), f"the run pauses for an operator here: {played.run.paused}", at)
        elif played.stuck:
            self._differ(What.STUCK, "", "the run's end", played.stuck, "", at)
        else:
            self._compare(at, played)

    def _compare(self, at: Boundary, played: Played) -> None:
        model = self._model
        for pair in _compared(model, played):
            if pair.same or _was_cut(pair) or (pair.key in self._varying and pair.left.came is pair.right.came):
                continue
            what = What.END if pair.key == END else What.OUTCOME
            key = "" if pair.key == END else pair.key
            self._differ(what, key, _side(pair.left), _side(pair.right), "", at)
        if model.run.state is not played.run.state:
            self._differ(What.END, "", model.run.state, played.run.state, "", at)
        if model.others != played.others:
            self._differ(What.RUNS, "", _runs(model.others), _runs(played.others), "", at)
        if self._compares_effects and model.effects != played.effects:
            self._differ(What.EFFECTS, "", f"{model.effects!r:.200}", f"{played.effects!r:.200}", IDEMPOTENT, at)

    def _count(self, at: Boundary, played: Played) -> None:
        """Note the steps that ran more often than undisturbed."""
        for (run, key), times in sorted(played.watch.ran.items()):
            usual = self._model.watch.ran[run, key]
            if times > usual and not key.rpartition("/")[2].startswith("sleep#"):
                often = "twice" if times == 2 else f"{times} times, not {usual},"
                text = f"{RAN}{often} when killed between its effect and its record"
                self._note(self._named(run, key), text, at)

    def _named(self, run: str, key: str) -> str:
        """A checkpoint; of another run with its task."""
        return key if run == self._model.run.id else f"{key} of {self._model.tasks.get(run, run)}"

    def _differ(self, what: What, key: str, expected: str, found: str, advice: str, at: Boundary | None = None) -> None:
        known = self._differences.get((what, key, expected, found))
        places = (*(known.boundaries if known else ()), *((at,) if at else ()))
        self._differences[what, key, expected, found] = Difference(what, key, expected, found, advice, places)

    def _note(self, key: str, text: str, at: Boundary | None = None) -> None:
        known = self._notes.get((key, text))
        self._notes[key, text] = Note(key, text, (*(known.boundaries if known else ()), *((at,) if at else ())))


def _compared(left: Played, right: Played) -> list[Pair]:
    pairs = diff(left.records, right.records, same=equal).pairs
    return [pair for pair in pairs if pair.key != PAYLOAD]


def _was_cut(pair: Pair) -> bool:
    """Whether it is about an await that the code itself cancelled, which may show or not."""
    cut = [side for side in (pair.left, pair.right) if side.error is not None and side.error.type == CUT]
    return bool(cut) and all(side in cut or side.came in (Came.ABSENT, Came.OPEN) for side in (pair.left, pair.right))


def _side(side: Side) -> str:
    if side.error is not None:
        return f"{side.error.type}: {side.error.message:.100}" if side.error.type else side.error.message
    if side.came is Came.RETURNED:
        return _short(side.value or b"\xc0")
    return {Came.ABSENT: "nothing", Came.OPEN: "no outcome"}.get(side.came, side.came)


def _short(data: bytes) -> str:
    try:
        return f"{decode_value(data)!r:.120}"
    except Exception:
        return f"{data!r:.60}"


def _runs(others: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(others.items())) or "no other run"


def _asked(run: Run) -> str:
    return ", ".join(sorted(wait.removeprefix(PAUSE) for wait in run.waits if wait.startswith(PAUSE)))
