"""The rules of a run, pure: what an entry does to it, and what must follow.

No I/O, no clock, no randomness. Worker, daemon, projector and tests fold the same entries with these functions.
Read in this order: `model` (what a run is), `entries` (what can happen to it), `lifecycle` (what each entry does),
`effects` (what must follow), `recall` (what a resumed attempt already knows).
"""
