"""The filter line of the desk; its grammar is `holdfast.filters`, which the command line shares."""

from __future__ import annotations

from holdfast.filters import LETTERS, RUNS, Field, Filter, Grammar, Kind, letters_query, quoted, read, runs_query

FIELDS = tuple(RUNS)
"""The fields of runs, for completion."""
PAUSED = "paused"

__all__ = [
    "FIELDS",
    "LETTERS",
    "PAUSED",
    "RUNS",
    "Field",
    "Filter",
    "Grammar",
    "Kind",
    "letters_query",
    "quoted",
    "read",
    "runs_query",
]
