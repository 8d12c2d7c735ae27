"""Which subjects a pattern takes in. NATS wildcards: `*` is one token, a last `>` one or more."""

from __future__ import annotations


def matches(pattern: str, subject: str) -> bool:
    """Whether the subject is one of the pattern's."""
    wanted, tokens = pattern.split("."), subject.split(".")
    for place, want in enumerate(wanted):
        if want == ">" and place == len(wanted) - 1:
            return len(tokens) > place
        if place >= len(tokens) or want not in ("*", tokens[place]):
            return False
    return len(tokens) == len(wanted)
