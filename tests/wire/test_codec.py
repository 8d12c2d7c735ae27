"""The journal's messages as bytes. What stands here in tables is stored for ever: a failing row is a broken journal."""

from __future__ import annotations

from typing import Any, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.entries import (
    ENTRIES,
    AttemptFailed,
    AttemptInterrupted,
    AttemptResumed,
    AttemptStarted,
    Batch,
    CancelRequested,
    ChildEnded,
    Entry,
    LetterDropped,
    Offered,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunDead,
    RunRetried,
)
from holdfast.core.lifecycle import Kind, Record
from holdfast.core.model import ErrorInfo, Hook, Key, KeyKind, Origin, Parent, Retry, Tick, Timeouts
from holdfast.wire.codec import decode_batch, decode_entry, encode, record
from holdfast.wire.subjects import Subjects

FOR_EVER = """
 1 RunCreated         run at task payload queue priority due retry parent source tags
 2 Offered            run first cause
 3 AttemptStarted     at attempt worker nonce item code max_interruptions
 4 AttemptResumed     at attempt worker nonce item code
 5 StepStarted        key at
 6 StepCompleted      key at took value
 7 StepFailed         key at took error
 8 StepRetried        key at took error number due
 9 StepVolatile       key at took reason
10 ChildTriggered     key at child task
11 Suspended          at waits
12 AttemptFailed      at error due spent fatal
13 AttemptInterrupted at reason polite
14 RunCompleted       at result
15 RunDead            at error reason fatal
16 RunCancelled       at reason created
17 RunRetried         at by from_start payload
18 LetterDropped      at by
19 CancelRequested    at by reason
20 ChildEnded         key at child state value error
21 WaitStarted        key at wait kind due subject match since
22 TokenCompleted     token at by value error
23 EventArrived       wait at event subject value
24 Signalled          id at name value by
25 Resolved           key at action by value
26 RunExpired         at reason created
27 RunTimedOut        at error reason fatal created
28 Compensated        at
29 Heartbeat          at details
30 Progressed         at done total text
31 MetadataChanged    at changes
32 Diverged           key at missing
33 Inherited          key at took value error edited
34 HookTriggered      on at run
35 SecretPinned       name version
36 Admitted           run first cause
37 Held               at why
38 Postponed          at due payload
39 Awaited            run at key
"""
"""Tag, entry, and its fields in the order in which they are stored. New fields may follow, these may not move."""

ROWS = [(int(tag), name, fields) for tag, name, *fields in (line.split() for line in FOR_EVER.strip().splitlines())]
BY_NAME = {entry.__name__: entry for entry in ENTRIES}


# --- stored for ever --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tag", "name", "fields"), ROWS, ids=[row[1] for row in ROWS])
def test_an_entry_keeps_its_tag_and_the_order_of_its_fields(tag: int, name: str, fields: list[str]) -> None:
    entry = BY_NAME[name]
    assert entry.__struct_config__.tag == tag
    assert list(entry.__struct_fields__[: len(fields)]) == fields


@pytest.mark.parametrize(("tag", "name", "fields"), ROWS, ids=[row[1] for row in ROWS])
def test_what_was_added_to_an_entry_later_has_defaults(tag: int, name: str, fields: list[str]) -> None:
    added = msgspec.structs.fields(BY_NAME[name])[len(fields) :]
    assert [field.name for field in added if field.required] == []


def test_every_entry_is_in_the_table_and_no_tag_is_given_twice() -> None:
    assert sorted(BY_NAME) == sorted(name for _, name, _ in ROWS)
    assert [tag for tag, _, _ in ROWS] == list(range(1, 40))
    assert len(ENTRIES) == 39


def test_a_batch_is_its_writer_and_arrays_that_begin_with_their_tags() -> None:
    """By hand: fixarray of 2, fixstr `n`, fixarray of 1, fixarray of 3: 14, float64 1.5, bin8 `ok`."""
    written = bytes.fromhex("92 a1 6e 91 93 0e cb 3ff8000000000000 c4 02 6f6b")
    batch = Batch(writer="n", entries=(RunCompleted(at=1.5, result=b"ok"),))
    assert encode(batch) == written
    assert decode_batch(written) == batch


POLICY = Retry(max_attempts=7, factor=1.5, min_timeout=0.5, max_timeout=30.0, jitter=False)
PARENT = Parent(run="P", key="/pay#1")
RETRY_STORED = {"max_attempts": 7, "factor": 1.5, "min_timeout": 0.5, "max_timeout": 30.0, "jitter": False}


def test_the_structs_inside_entries_keep_their_form_too() -> None:
    stored = [1, "R", 1.0, "pay", b"p", "orders", 3, 9.0, RETRY_STORED, ["P", "/pay#1"], "cli", ["eu"]]
    assert decode_entry(packed(stored)) == RunCreated(
        run="R",
        at=1.0,
        task="pay",
        payload=b"p",
        queue="orders",
        priority=3,
        due=9.0,
        retry=POLICY,
        parent=PARENT,
        source="cli",
        tags=("eu",),
    )
    failed = [12, 4.0, ["payments.CardDeclined", "no", "Traceback ...", b"v"], 60.0, False]
    assert decode_entry(packed(failed)) == AttemptFailed(
        at=4.0,
        error=ErrorInfo(type="payments.CardDeclined", message="no", traceback="Traceback ...", value=b"v"),
        due=60.0,
        spent=False,
    )


def packed(value: object) -> bytes:
    """Plain arrays and maps as msgpack, with none of holdfast's types in between."""
    return msgspec.msgpack.encode(value)


# --- round trips ------------------------------------------------------------------------------------------------------


TEXT = st.text(max_size=12)
TIME = st.floats(allow_nan=False, width=64)
ERRORS = st.builds(ErrorInfo, TEXT, TEXT, TEXT, st.none() | st.binary(max_size=8))
POLICIES = st.builds(
    Retry,
    max_attempts=st.integers(1, 250),
    factor=st.floats(0.001, 1e6),
    min_timeout=st.floats(0, 60),
    max_timeout=st.floats(60, 1e6),
    jitter=st.booleans(),
)
TIMEOUTS = st.builds(Timeouts, start_to_close=st.none() | st.floats(0.001, 1e6), heartbeat=st.none() | st.just(5.0))
HOOKS = st.lists(st.builds(Hook, TEXT, TEXT, TEXT), max_size=2).map(tuple)
CREATIONS = st.builds(
    RunCreated,
    run=TEXT,
    at=TIME,
    task=TEXT,
    payload=st.binary(max_size=20),
    queue=TEXT,
    priority=st.integers(0, 9),
    due=st.none() | TIME,
    retry=st.none() | POLICIES,
    parent=st.none() | st.builds(Parent, TEXT, TEXT),
    source=TEXT,
    tags=st.lists(TEXT, max_size=3).map(tuple),
    expires=st.none() | TIME,
    timeouts=st.none() | TIMEOUTS,
    deadline=st.none() | TIME,
    metadata=st.dictionaries(TEXT, st.binary(max_size=8), max_size=2),
    hooks=HOOKS,
    origin=st.none() | st.builds(Origin, TEXT, TEXT, TEXT),
    key=st.none() | st.builds(Key, st.sampled_from(KeyKind), TEXT, st.integers(0, 9), st.none() | TIME),
    tick=st.none() | st.builds(Tick, TEXT, TIME, TEXT, st.integers(1, 2**60), st.none() | TIME),
    concurrency_key=TEXT,
    rate_key=TEXT,
    trace=TEXT,
)
BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    float: TIME,
    int: st.integers(-(2**63), 2**64 - 1),
    bool: st.booleans(),
    bytes: st.binary(max_size=20),
    bytes | None: st.none() | st.binary(max_size=20),
    ErrorInfo: ERRORS,
    ErrorInfo | None: st.none() | ERRORS,
    RunCreated | None: st.none() | CREATIONS,
    tuple[str, ...]: st.lists(TEXT, max_size=4).map(tuple),
    float | None: st.none() | TIME,
    Timeouts | None: st.none() | TIMEOUTS,
    tuple[Hook, ...]: HOOKS,
    dict[str, bytes | None]: st.dictionaries(TEXT, st.none() | st.binary(max_size=8), max_size=3),
}


def entries_of(kind: type[Entry]) -> st.SearchStrategy[Any]:
    if kind is RunCreated:
        return CREATIONS
    hints = get_type_hints(kind)
    return st.builds(kind, **{field: BY_TYPE[hints[field]] for field in kind.__struct_fields__})


bounded = settings(max_examples=50, derandomize=True, database=None, deadline=None)


@pytest.mark.parametrize("kind", ENTRIES, ids=lambda kind: kind.__name__)
def test_an_entry_comes_back_as_it_was(kind: type[Entry]) -> None:
    @bounded
    @given(entries_of(kind))
    def comes_back(entry: Entry) -> None:
        again = decode_entry(encode(entry))
        assert type(again) is kind
        assert again == entry

    comes_back()


@bounded
@given(TEXT, st.lists(st.one_of([entries_of(kind) for kind in ENTRIES]), max_size=6))
def test_a_batch_comes_back_with_its_entries_in_order(writer: str, entries: list[Entry]) -> None:
    batch = Batch(writer=writer, entries=tuple(entries))
    assert decode_batch(encode(batch)) == batch


def test_an_empty_payload_and_none_are_told_apart() -> None:
    for payload in (None, b""):
        entry = RunRetried(at=1.0, payload=payload)
        assert decode_entry(encode(entry)) == entry


# --- other versions' journals -----------------------------------------------------------------------------------------


ERROR = ErrorInfo(type="X", message="no")

OLD: list[tuple[list[object], Entry]] = [
    ([1, "R", 1.0, "pay", b"p"], RunCreated(run="R", at=1.0, task="pay", payload=b"p", queue="default", priority=5)),
    (
        [1, "R", 1.0, "pay", b"p", "orders", 3, None],
        RunCreated(run="R", at=1.0, task="pay", payload=b"p", queue="orders", priority=3, source="sdk", tags=()),
    ),
    ([2, "R", 7], Offered(run="R", first=7, cause=0)),
    (
        [3, 2.0, 1, "w", "n"],
        AttemptStarted(at=2.0, attempt=1, worker="w", nonce="n", item="", code="", max_interruptions=5),
    ),
    ([4, 2.0, 1, "w", "n"], AttemptResumed(at=2.0, attempt=1, worker="w", nonce="n", item="", code="")),
    ([12, 4.0, ["X", "no"], 60.0], AttemptFailed(at=4.0, error=ERROR, due=60.0, spent=True, fatal=())),
    ([13, 5.0, "died"], AttemptInterrupted(at=5.0, reason="died", polite=False)),
    ([15, 6.0, ["X", "no"], "aborted"], RunDead(at=6.0, error=ERROR, reason="aborted", fatal=())),
    ([16, 6.0], RunCancelled(at=6.0, reason="", created=None)),
    ([17, 9.0], RunRetried(at=9.0, by="", from_start=False, payload=None)),
    ([18, 9.0], LetterDropped(at=9.0, by="")),
    ([19, 5.0], CancelRequested(at=5.0, by="", reason="")),
    ([20, "/a#1", 5.0, "C", "completed"], ChildEnded(key="/a#1", at=5.0, child="C", state="completed")),
]


@pytest.mark.parametrize(("stored", "expected"), OLD, ids=[type(entry).__name__ for _, entry in OLD])
def test_an_entry_that_was_stored_before_its_last_fields_existed_gets_their_defaults(
    stored: list[object], expected: Entry
) -> None:
    assert decode_entry(packed(stored)) == expected
    assert decode_batch(packed(["n", [stored]])) == Batch(writer="n", entries=(expected,))


@pytest.mark.parametrize("kind", ENTRIES, ids=lambda kind: kind.__name__)
def test_fields_that_a_later_version_appended_are_ignored(kind: type[Entry]) -> None:
    @bounded
    @given(entries_of(kind))
    def ignored(entry: Entry) -> None:
        stored = [*msgspec.msgpack.decode(encode(entry)), "later", {"a": [1, 2.0]}]
        assert decode_entry(packed(stored)) == entry
        assert decode_batch(packed(["n", [stored], "later"])) == Batch(writer="n", entries=(entry,))

    ignored()


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ([15, 6.0, ["X", "no", "", None, "later"], "aborted"], RunDead(at=6.0, error=ERROR, reason="aborted")),
        (
            [1, "R", 1.0, "pay", b"p", "orders", 3, None, {**RETRY_STORED, "later": 1}, ["P", "/pay#1", "later"]],
            RunCreated(
                run="R", at=1.0, task="pay", payload=b"p", queue="orders", priority=3, retry=POLICY, parent=PARENT
            ),
        ),
    ],
)
def test_fields_that_a_later_version_appended_inside_an_entry_are_ignored(
    stored: list[object], expected: Entry
) -> None:
    assert decode_entry(packed(stored)) == expected


# --- garbage ----------------------------------------------------------------------------------------------------------


GARBAGE = {
    "nothing": b"",
    "a byte that msgpack never uses": b"\xc1",
    "text": b"hello, world",
    "json": b'{"run": "R"}',
    "a number": packed(7),
    "null": packed(None),
    "a map": packed({"run": "R"}),
    "an empty array": packed([]),
    "an array cut short": packed([14, 6.0, b"result"])[:-2],
    "a tag of nobody": packed([99, 1.0]),
    "tag zero": packed([0, 1.0]),
    "a tag as text": packed(["RunCompleted", 1.0, b"r"]),
    "a required field missing": packed([14, 6.0]),
    "a field of another type": packed([14, "now", b"r"]),
    "text that is not utf-8": b"\x93\x02\xa1\xff\x01",
    "two messages in one": packed([2, "R", 7]) + packed([2, "R", 7]),
    "arrays in arrays without end": b"\x91" * 100_000 + b"\xc0",
    "an array that claims four thousand million elements": b"\xdd\xff\xff\xff\xff",
    "endless arrays in an entry's place": b"\x92\xa1n\x91" + b"\x91" * 100_000,
    "endless arrays behind an entry's last field": b"\x95\x02\xa1R\x07\x00" + b"\x91" * 100_000,
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_bytes_that_hold_no_entry_are_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode_entry(data)
    with pytest.raises(ValueError):
        decode_batch(data)


@pytest.mark.parametrize(
    "batch",
    [
        ["n"],
        ["n", [2, "R", 7]],
        [None, [[2, "R", 7]]],
        ["n", [[2, "R", 7], [99, 1.0]]],
        ["n", [[1, "R", 1.0, "t", b"", "q", 5, None, {"max_attempts": 0}]]],
    ],
    ids=["no entries", "an entry in their place", "no writer", "one of them unknown", "a policy that cannot be"],
)
def test_a_batch_with_anything_wrong_in_it_is_a_value_error(batch: list[object]) -> None:
    with pytest.raises(ValueError):
        decode_batch(packed(batch))


@bounded
@given(st.binary(max_size=40))
def test_random_bytes_are_an_entry_or_a_value_error_and_nothing_else(data: bytes) -> None:
    for decode in (decode_entry, decode_batch):
        try:
            decode(data)
        except ValueError:
            continue


# --- stored messages --------------------------------------------------------------------------------------------------


SUBJECTS = Subjects("shop")
DONE = RunCompleted(at=6.0, result=b"r")
CREATED = RunCreated(run="R", at=1.0, task="pay", payload=b"p")


def test_a_message_on_the_log_is_a_batch_with_its_writer() -> None:
    data = encode(Batch(writer="n1", entries=(DONE,)))
    assert record(SUBJECTS, "hf.shop.j.R.log", 7, data) == ("R", Record(7, Kind.LOG, "n1", (DONE,)))


@pytest.mark.parametrize(
    ("subject", "kind"),
    [
        ("hf.shop.j.R.ready.orders.3", Kind.READY),
        ("hf.shop.j.R.in", Kind.IN),
        ("hf.shop.j.R.timer.due", Kind.TIMER),
    ],
)
def test_a_message_anywhere_else_is_one_entry_and_nobodys(subject: str, kind: Kind) -> None:
    assert record(SUBJECTS, subject, 7, encode(DONE)) == ("R", Record(7, kind, "", (DONE,)))


def test_a_batch_off_the_log_and_an_entry_on_it_are_value_errors() -> None:
    with pytest.raises(ValueError):
        record(SUBJECTS, "hf.shop.j.R.in", 7, encode(Batch(writer="n", entries=(DONE,))))
    with pytest.raises(ValueError):
        record(SUBJECTS, "hf.shop.j.R.log", 7, encode(DONE))


def test_a_message_of_another_project_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"hf\.other\.j\.R\.log"):
        record(SUBJECTS, "hf.other.j.R.log", 7, encode(Batch(writer="n", entries=(DONE,))))


@pytest.mark.parametrize("entry", [CREATED, Offered(run="R", first=7)], ids=["RunCreated", "Offered"])
@pytest.mark.parametrize("kind", ["ready.orders.3", "timer.due", "in", "log"])
def test_a_message_that_names_another_run_than_its_subject_is_a_value_error(kind: str, entry: Entry) -> None:
    data = encode(Batch(writer="", entries=(DONE, entry)) if kind == "log" else entry)
    assert record(SUBJECTS, f"hf.shop.j.R.{kind}", 7, data)[0] == "R"
    with pytest.raises(ValueError, match=r"hf\.shop\.j\.A\..* holds an entry of another run, 'R'"):
        record(SUBJECTS, f"hf.shop.j.A.{kind}", 7, data)


def test_a_cancellation_with_a_copy_of_another_runs_creation_is_a_value_error() -> None:
    gone = RunCancelled(at=2.0, created=CREATED)
    data = encode(Batch(writer="", entries=(gone,)))
    assert record(SUBJECTS, "hf.shop.j.R.log", 7, data) == ("R", Record(7, Kind.LOG, "", (gone,)))
    with pytest.raises(ValueError, match=r"hf\.shop\.j\.A\.log holds an entry of another run, 'R'"):
        record(SUBJECTS, "hf.shop.j.A.log", 7, data)


def test_an_entry_of_another_run_is_named_shortly_however_long_its_name_is() -> None:
    data = encode(Offered(run="B" * 10_000, first=7))
    with pytest.raises(ValueError) as refused:
        record(SUBJECTS, "hf.shop.j.A.ready.orders.3", 7, data)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("subject", ["hf.shop.j.R.in", "hf.shop.j.R.log", "hf.shop.j.R.ready.orders.3"])
@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_a_stored_message_of_bytes_that_hold_no_entry_is_a_value_error(subject: str, data: bytes) -> None:
    with pytest.raises(ValueError):
        record(SUBJECTS, subject, 7, data)
