"""Every journal entry as a line."""

from __future__ import annotations

import pytest

from holdfast.cli.entries import said
from holdfast.core.entries import (
    ENTRIES,
    AttemptStarted,
    CancelRequested,
    ChildTriggered,
    Compensated,
    Diverged,
    Entry,
    EventArrived,
    Heartbeat,
    HookTriggered,
    Inherited,
    MetadataChanged,
    Progressed,
    Resolved,
    RunCancelled,
    RunCreated,
    RunExpired,
    RunTimedOut,
    Signalled,
    StepCompleted,
    StepStarted,
    Suspended,
    TokenCompleted,
    WaitStarted,
)
from holdfast.core.model import ErrorInfo, Origin
from holdfast.wire.values import encode_value

T = 1_767_355_418.12
ERROR = ErrorInfo("payments.CardDeclined", "no\nreally")
YES = encode_value({"ok": True})


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        (
            RunCreated(
                "R", T, "t", YES, expires=T + 1, deadline=T + 2, metadata={"a": YES}, origin=Origin("O", "fork", "/c#1")
            ),
            "t on default  priority 5  from sdk  fork of O before /c#1  expires 2026-01-02 12:03:39Z"
            '  deadline 2026-01-02 12:03:40Z  a={"ok":true}  {"ok":true}',
        ),
        (AttemptStarted(T, 1, "w", "n", code="c1"), "attempt 1 by w  code c1"),
        (StepStarted("/a#1", T, once=True), "/a#1  at most once"),
        (StepCompleted("/a#1", T, 0.25, YES, b"u"), '/a#1  250ms  {"ok":true}  can be undone'),
        (ChildTriggered("/c#1", T, "C", "pack", detached=True), "/c#1  pack C  detached"),
        (Suspended(T, (), T + 1), "until 2026-01-02 12:03:39Z"),
        (Suspended(T, ("pause:/a#1",), None, "why"), "paused: why  waits for pause:/a#1"),
        (RunCancelled(T, "enough", killed=True), "killed  enough"),
        (CancelRequested(T, "ann", "enough", kill=True), "kill  by ann  enough"),
        (RunExpired(T, "too late"), "too late"),
        (RunTimedOut(T, ERROR, "schedule_to_close"), "schedule_to_close  payments.CardDeclined: no"),
        (WaitStarted("/for_#1", T, "", "sleep", T + 1), "/for_#1  sleep  until 2026-01-02 12:03:39Z"),
        (WaitStarted("/await#1", T, "T1", "token"), "/await#1  token  T1"),
        (WaitStarted("/e#1", T, "E1", "event", None, "a.*", YES), '/e#1  event a.*  E1  {"ok":true}'),
        (TokenCompleted("T1", T, "ann", YES), 'T1  by ann  {"ok":true}'),
        (TokenCompleted("T1", T, error=ERROR), "T1  payments.CardDeclined: no"),
        (EventArrived("E1", T, 77, "a.b", YES), 'a.b  for E1  event 77  {"ok":true}'),
        (Signalled("s", T, "approve", YES, "ann"), 'approve  by ann  {"ok":true}'),
        (Resolved("/a#1", T, "done", "ann", YES), '/a#1  done  by ann  {"ok":true}'),
        (Compensated(T), "every undo has run"),
        (Heartbeat(T, YES), '{"ok":true}'),
        (Progressed(T, 3, 10, "resizing"), "3/10 resizing"),
        (Progressed(T, 2.5), "2.5"),
        (MetadataChanged(T, {"a": YES, "b": None}), 'a={"ok":true} -b'),
        (Diverged("/x#1", T, ("/a#1", "/b#1")), "/x#1 is new  not come to: /a#1, /b#1"),
        (Inherited("/a#1", T, 0.25, YES, edited=True), '/a#1  250ms  {"ok":true}  edited'),
        (Inherited("/a#1", T, 0.25, None, ERROR), "/a#1  250ms  payments.CardDeclined: no"),
        (HookTriggered("failure", T, "H"), "on failure  H"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, ENTRIES) else "",
)
def test_an_entry_says_what_it_holds(entry: Entry, line: str) -> None:
    assert said(entry) == line
