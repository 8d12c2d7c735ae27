"""The random journals that views are tested with: they tell of everything that can happen to a run."""

from __future__ import annotations

from collections import Counter

from histories import Teller, random_history, records
from holdfast.core.entries import ENTRIES
from holdfast.core.lifecycle import Record, apply, taken
from holdfast.core.model import Run, State


def test_random_histories_hold_every_entry_and_lead_to_every_state_and_some_of_it_does_not_count() -> None:
    tell = Teller()
    runs: dict[str, Run | None] = {}
    counted: Counter[str] = Counter()
    skipped = 0
    states: set[State] = set()
    for seed in range(8):
        runs.clear()
        for run_id, record in records(list(random_history(seed, 20, tell)), tell.subjects):
            before = runs.get(run_id)
            entries = [type(entry).__name__ for entry, _ in taken(before, record)]
            counted.update(entries)
            skipped += len(entries) < len(record.entries)
            after = runs[run_id] = apply(before, record)
            assert after is not None
            states.add(after.state)
    assert {entry.__name__ for entry in ENTRIES} - counted.keys() == set()
    assert set(State) - states == set()
    assert skipped > 50


def test_a_seed_tells_the_same_story_again() -> None:
    tell = Teller()
    first: list[tuple[str, Record]] = records(list(random_history(3, 5, tell)), tell.subjects)
    assert records(list(random_history(3, 5, tell)), tell.subjects) == first
    assert records(list(random_history(4, 5, tell)), tell.subjects) != first
