"""The contract of the frames: whatever happens, paced frames and changed cells leave the terminal as stock ones.

It holds for the version of Textual that is pinned; a new one must pass it.
"""

from __future__ import annotations

from contextlib import ExitStack
from random import Random
from typing import NamedTuple

import pytest

from tui.terminals import Stand, stand

KEYS = (
    *"jjjkkGgnN{}", "\x04", "\x15", "\x06", "\x02", " ", "v", "1", "2", "3", "4", "\r", "\x1b", "q", "q", "?", "/", "e",
    ":", "s", "f", "o", "t", "u", "z", "-", "0", "\t", "h", "l", "(", ")", "P", "n", "y", "R", "\x0c", "\x12",
)  # fmt: skip
SIZES = ((80, 24), (120, 36), (61, 11), (20, 5), (80, 25))


class Walked(NamedTuple):
    """One step of a walk: a key, a step of the desk's, or a new size of its terminal."""

    key: str = ""
    step: tuple[object, ...] = ()
    size: tuple[int, int] = (0, 0)

    def take(self, desk: Stand) -> None:
        if self.key:
            desk.press(self.key)
        elif self.step:
            desk.do(*self.step)
        else:
            desk.terminal.resize(*self.size)
            desk.do("size", *self.size)


def walk(random: Random, length: int) -> list[Walked]:
    steps: list[Walked] = []
    size = SIZES[0]
    for _ in range(length):
        if random.random() < 0.7:
            steps.append(Walked(key=random.choice(KEYS)))
        elif random.random() < 0.8:
            number = random.choice((2895, 2797, 2798))
            steps.append(
                Walked(step=random.choice((("change", random.choice((1, 5, 200))), ("open", number), ("odd",))))
            )
        elif (new := random.choice(SIZES)) != size:
            size = new
            steps.append(Walked(size=size))
    return steps


@pytest.mark.parametrize(("seed", "env"), [(0, {}), (1, {"COLORTERM": "truecolor"})], ids=["ansi", "truecolor"])
def test_a_random_walk_leaves_the_same_cells(seed: int, env: dict[str, str]) -> None:
    with ExitStack() as stack:
        stock, *ours = (
            stack.enter_context(stand(link=link, env=env, patient=True)) for link in ("stock", "paced", "diff")
        )
        for number, step in enumerate(walk(Random(seed), 45)):
            for desk in (stock, *ours):
                step.take(desk)
            expected = stock.terminal.screen.cells()
            for desk in ours:
                found = desk.terminal.screen.cells()
                assert found == expected, (number, step, stock.terminal.text, desk.terminal.text)
