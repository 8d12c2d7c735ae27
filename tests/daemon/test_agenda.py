"""The agenda: for each run the next look, in order."""

from __future__ import annotations

import math
import random

from holdfast_daemon.agenda import Agenda


def test_looks_are_taken_when_they_are_due_those_that_are_due_longest_first() -> None:
    agenda = Agenda()
    agenda.set("b", 20, 2)
    agenda.set("a", 10, 1)
    agenda.set("c", 30, 3)
    assert agenda.next == 10
    assert agenda.due(9) == []
    assert agenda.due(20) == [("a", 1), ("b", 2)]
    assert agenda.due(20) == []
    assert (agenda.next, len(agenda)) == (30, 1)


def test_the_last_word_counts_sooner_or_later() -> None:
    agenda = Agenda()
    agenda.set("a", 10, 1)
    agenda.set("a", 30, 1)
    assert agenda.due(20) == []
    agenda.set("a", 25, 1)
    assert agenda.due(25) == [("a", 1)]
    agenda.set("a", 5, 1)
    agenda.set("a", math.inf, 1)
    assert agenda.due(1000) == []
    assert agenda.next == math.inf


def test_hastening_makes_it_sooner_never_later() -> None:
    agenda = Agenda()
    agenda.hasten("a", 20, 1)
    agenda.hasten("a", 30, 1)
    assert agenda.next == 20
    agenda.hasten("a", 10, 1)
    assert agenda.due(10) == [("a", 1)]
    assert agenda.due(30) == []


def test_a_look_that_was_dropped_and_set_again_is_taken_once() -> None:
    agenda = Agenda()
    agenda.set("a", 10, 1)
    agenda.drop("a")
    agenda.set("a", 10, 1)
    assert agenda.due(10) == [("a", 1)]
    assert agenda.due(10) == []


def test_no_more_are_taken_than_asked_for() -> None:
    agenda = Agenda()
    for number in range(5):
        agenda.set(f"r{number}", number, 1)
    assert [run for run, _ in agenda.due(10, 3)] == ["r0", "r1", "r2"]
    assert [run for run, _ in agenda.due(10, 3)] == ["r3", "r4"]


def test_whatever_is_noted_it_agrees_with_a_plain_table() -> None:
    chance, agenda, table = random.Random(1), Agenda(), dict[str, float]()
    for now in range(3000):
        run, at = f"r{chance.randrange(50)}", now + chance.choice([1, 5, 50, 500, math.inf])
        match chance.randrange(3):
            case 0:
                agenda.set(run, at, 7)
                table[run] = at
            case 1:
                agenda.hasten(run, at, 7)
                table[run] = min(at, table.get(run, math.inf))
            case _:
                agenda.drop(run)
                table.pop(run, None)
        due = sorted(run for run, at in table.items() if at <= now)
        assert sorted(run for run, _ in agenda.due(now)) == due
        table = {run: at for run, at in table.items() if now < at < math.inf}
        assert len(agenda) == len(table)
        assert agenda.next == min(table.values(), default=math.inf)


def test_looks_that_are_put_off_again_and_again_do_not_pile_up() -> None:
    agenda = Agenda()
    for number in range(100_000):
        agenda.set("a", number, 1)
    assert len(agenda._order) < 2000
    assert agenda.due(99_999) == [("a", 1)]
