"""What errors have in common: their message's pattern and the place where they were raised. Pure.

Two errors of one cause differ in numbers, ids and quoted texts; with `*` for those their messages are the same text, so
that letters can be counted by it. It is made once, when a run's row is written: a question only compares.
"""

from __future__ import annotations

import re
from functools import lru_cache

READ_MOST, PATTERN_MOST, PLACE_MOST = 500, 200, 120
"""Characters of a message that are looked at, of a pattern, and of a place."""

_QUOTED = re.compile(r"""'(?<!\w')[^']*'(?!\w)|"(?<!\w")[^"]*"(?!\w)|`(?<!\w`)[^`]*`(?!\w)""")
"""Not the apostrophe in can't."""

_UUID = re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b")
_WORD = re.compile(r"[^\W_]+")
_DIGITS = re.compile(r"\d+")
_SIGNED = re.compile(r"(?<![\w*])[-+]\*")
_SEVERAL = re.compile(r"\*(?:(?:[.:/-]|, ?| )\*)+")
_FRAME = re.compile(r'File "([^"\n]+)", line (\d+)')

NO_MESSAGE = "(no message)"
"""The pattern of a message without a word."""

_ID_LEAST = 6
"""Letters of a word that is an id where two or more of them are digits."""


@lru_cache(1024)
def pattern(message: str) -> str:
    """An error message's first line, at most 200 characters, with `*` for what varies from one error to the next."""
    line = " ".join(message[:READ_MOST].lstrip().partition("\n")[0].split())
    text = _QUOTED.sub("*", line)
    if text.count("-") >= 4:
        text = _UUID.sub("*", text)
    text = _SIGNED.sub("*", _WORD.sub(_word, text))
    return _SEVERAL.sub("*", text)[:PATTERN_MOST] or NO_MESSAGE


def _word(found: re.Match[str]) -> str:
    word = found[0]
    if word.isalpha():
        return word
    if word[:2] in ("0x", "0X"):
        return "*"
    digits = sum(letter.isdigit() for letter in word)
    return "*" if len(word) >= _ID_LEAST and digits > 1 else _DIGITS.sub("*", word)


def place(traceback: str) -> str:
    """Where an error was raised, as `file.py:88`: the last frame of its traceback; empty where there is none."""
    begin = traceback.rfind('File "')
    frame = _FRAME.match(traceback, begin) if begin >= 0 else None
    if frame is None:
        return ""
    name = re.split(r"[/\\]", frame[1])[-1]
    return f"{name[-PLACE_MOST:]}:{frame[2]}"
