"""Turns the awaits of one function into calls of a seam, in place, from its source; pure.

    await charge(order, key=k)   ->   await <seam.call>(site, charge, order, key=k)
    await pending                ->   await <seam.value>(site, pending)
    tg.create_task(ship(order))  ->   <seam.spawn>(site, tg.create_task, ship(order))

The seam and the sites are constants of the new code: no name of the user's is taken or shadowed. Lines, columns,
closures, defaults, globals and the function object itself stay what they were.
"""

from holdfast.rewrite.awaits import SPAWNERS, Site
from holdfast.rewrite.transform import Rewritten, Seam, rewrite

__all__ = ["SPAWNERS", "Rewritten", "Seam", "Site", "rewrite"]
