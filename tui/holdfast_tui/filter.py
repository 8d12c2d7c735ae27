"""The filter line of the desk; its grammar is `holdfast.filters`, which the command line shares."""

from __future__ import annotations

from holdfast.filters import LETTERS, RUNS, Field, Filter, Grammar, Kind, letters_query, quoted, read, runs_query

__all__ = ["LETTERS", "RUNS", "Field", "Filter", "Grammar", "Kind", "letters_query", "quoted", "read", "runs_query"]
