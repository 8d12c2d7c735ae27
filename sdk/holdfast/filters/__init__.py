"""The filter that the desk and the command line share: `state:fail,dead queue:emails took:>2s error:"HTTP 410" -word`.

What stands next to each other must all be true; what stands behind one field, parted by commas, is one of these, and a
field that is given twice means either. `-` leaves out. What holds blanks, commas or colons is quoted.

`read` makes a `Filter` of a text and never fails: what it can't read does not filter, and is named with its place. A
filter decides about rows that are all there (`Filter.admits`), or becomes a question to the daemon (`runs_query`,
`letters_query`). Which fields there are is a `Grammar`: lists of their own declare their own.
"""

from __future__ import annotations

from holdfast.filters.filter import Bound, Filter, Term, starred
from holdfast.filters.grammar import LETTERS, RUNS, STATES, Field, Grammar, Kind
from holdfast.filters.questions import letters_query, runs_query
from holdfast.filters.reading import caret, quoted, read, without

__all__ = [
    "LETTERS",
    "RUNS",
    "STATES",
    "Bound",
    "Field",
    "Filter",
    "Grammar",
    "Kind",
    "Term",
    "caret",
    "letters_query",
    "quoted",
    "read",
    "runs_query",
    "starred",
    "without",
]
