"""The subjects of a project: what is made is read back, and what is another's is refused."""

from __future__ import annotations

import pytest

from holdfast.core.lifecycle import Kind
from holdfast.wire.subjects import TOKEN, Lane, Parsed, Stream, Subjects

SHOP = Subjects("shop")
RUN = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


def matches(pattern: str, subject: str) -> bool:
    """NATS's own rule: `*` is one token, `>` is one or more at the end."""
    wanted, tokens = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted, tokens = wanted[:-1], tokens[: len(wanted) - 1] if len(tokens) >= len(wanted) else []
    return len(wanted) == len(tokens) and all(w in ("*", t) for w, t in zip(wanted, tokens, strict=True))


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (SHOP.ready(RUN, "orders", 3), f"hf.shop.j.{RUN}.ready.orders.3"),
        (SHOP.log(RUN), f"hf.shop.j.{RUN}.log"),
        (SHOP.inbox(RUN), f"hf.shop.j.{RUN}.in"),
        (SHOP.timer(RUN, "due"), f"hf.shop.j.{RUN}.timer.due"),
        (SHOP.of_run(RUN), f"hf.shop.j.{RUN}.>"),
        (SHOP.again(RUN, "orders", 3), f"hf.shop.j.{RUN}.again.orders.3"),
        (SHOP.go(RUN, "orders"), f"hf.shop.j.{RUN}.go.orders"),
        (SHOP.items("orders", 3), "hf.shop.j.*.ready.orders.3"),
        (SHOP.items("orders", 3, Lane.AGAIN), "hf.shop.j.*.again.orders.3"),
        (SHOP.items("orders", 3, Lane.GO), "hf.shop.j.*.go.orders"),
        (SHOP.journal, "hf.shop.j.>"),
        (SHOP.letter("orders", RUN), f"hf.shop.dlq.orders.{RUN}"),
        (SHOP.letters, "hf.shop.dlq.>"),
        (SHOP.event("orders.created"), "hf.shop.evt.orders.created"),
        (SHOP.events, "hf.shop.evt.>"),
        (SHOP.output("pay", RUN), f"hf.shop.log.pay.{RUN}"),
        (SHOP.control("queue", "orders"), "hf.shop.ctl.queue.orders"),
        (SHOP.live(RUN, Kind.LOG), f"hf.shop.live.{RUN}.log"),
        (SHOP.live(RUN, Kind.IN), f"hf.shop.live.{RUN}.in"),
        (SHOP.api("runs"), "hf.shop.api.runs"),
        (SHOP.blob("00ff", 3), "hf.shop.blob.00ff.3"),
        (SHOP.pieces("00ff"), "hf.shop.blob.00ff.*"),
        (SHOP.secret("STRIPE_KEY"), "hf.shop.secret.STRIPE_KEY"),
    ],
)
def test_a_subject_is_what_the_design_says(made: str, expected: str) -> None:
    assert made == expected


@pytest.mark.parametrize(
    ("stream", "name"),
    [
        (Stream.JOURNAL, "HF_shop"),
        (Stream.EVENTS, "HF_shop_EVENTS"),
        (Stream.LOGS, "HF_shop_LOGS"),
        (Stream.CONTROL, "HF_shop_CONTROL"),
        (Stream.BLOBS, "HF_shop_BLOBS"),
        (Stream.SECRETS, "HF_shop_SECRETS"),
    ],
)
def test_a_stream_is_named_after_its_project(stream: Stream, name: str) -> None:
    assert stream.of("shop") == name


@pytest.mark.parametrize(
    ("subject", "parsed"),
    [
        (SHOP.log(RUN), Parsed(RUN, Kind.LOG)),
        (SHOP.inbox(RUN), Parsed(RUN, Kind.IN)),
        (SHOP.timer(RUN, "due"), Parsed(RUN, Kind.TIMER)),
        (SHOP.ready(RUN, "default", 0), Parsed(RUN, Kind.READY, "default", 0)),
        (SHOP.ready(RUN, "orders-eu_1", 9), Parsed(RUN, Kind.READY, "orders-eu_1", 9)),
        (SHOP.ready("log", "in", 5), Parsed("log", Kind.READY, "in", 5)),
        (SHOP.again(RUN, "orders", 9), Parsed(RUN, Kind.READY, "orders", 9)),
        (SHOP.go(RUN, "orders"), Parsed(RUN, Kind.GO, "orders")),
        (SHOP.log("ready"), Parsed("ready", Kind.LOG)),
    ],
)
def test_a_journal_subject_is_read_back_as_it_was_made(subject: str, parsed: Parsed) -> None:
    assert SHOP.parse(subject) == parsed


@pytest.mark.parametrize("project", ["a", "default", "shop-2", "j", "hf"])
def test_each_project_reads_its_own_journal(project: str) -> None:
    subjects = Subjects(project)
    assert subjects.parse(subjects.ready(RUN, "orders", 3)) == Parsed(RUN, Kind.READY, "orders", 3)


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "hf",
        "hf.shop.j",
        "hf.shop.j.",
        f"hf.other.j.{RUN}.log",
        f"hf.shop2.j.{RUN}.log",
        f"hf.sho.j.{RUN}.log",
        f"HF.shop.j.{RUN}.log",
        f"xhf.shop.j.{RUN}.log",
        f"hf.shop.j.{RUN}",
        f"hf.shop.j.{RUN}.",
        f"hf.shop.j.{RUN}.log.more",
        f"hf.shop.j.{RUN}.in.more",
        f"hf.shop.j.{RUN}.Log",
        f"hf.shop.j.{RUN}.ready",
        f"hf.shop.j.{RUN}.ready.orders",
        f"hf.shop.j.{RUN}.ready.orders.high",
        f"hf.shop.j.{RUN}.ready.orders.",
        f"hf.shop.j.{RUN}.ready.orders.3.more",
        f"hf.shop.j.{RUN}.ready.orders.-1",
        f"hf.shop.j.{RUN}.ready.orders.10",
        f"hf.shop.j.{RUN}.ready.orders.12",
        f"hf.shop.j.{RUN}.ready.orders.+5",
        f"hf.shop.j.{RUN}.ready.orders.05",
        f"hf.shop.j.{RUN}.ready.orders.0_5",
        f"hf.shop.j.{RUN}.ready.orders.5 ",
        f"hf.shop.j.{RUN}.ready.orders.٣",
        f"hf.shop.j.{RUN}.ready..5",
        f"hf.shop.j.{RUN}.ready.*.5",
        f"hf.shop.j.{RUN}.ready.or ders.5",
        "hf.shop.j..log",
        "hf.shop.j..ready.orders.3",
        "hf.shop.j.*.log",
        "hf.shop.j.R S.in",
        "hf.shop.j.R\n.in",
        f"hf.shop.j.{RUN}.held.orders.3",
        f"hf.shop.j.{RUN}.timer",
        f"hf.shop.j.{RUN}.timer.",
        f"hf.shop.j.{RUN}.timer.*",
        f"hf.shop.dlq.orders.{RUN}",
        "hf.shop.evt.orders.created",
        f"hf.shop.log.pay.{RUN}",
        "hf.shop.ctl.queue.orders",
        f"hf.shop.live.{RUN}.log",
        "hf.shop.api.runs",
        "$JS.API.INFO",
    ],
)
def test_what_is_no_subject_of_the_projects_journal_is_refused(subject: str) -> None:
    with pytest.raises(ValueError):
        SHOP.parse(subject)


def test_the_refusal_names_the_subject_and_what_was_expected() -> None:
    with pytest.raises(ValueError, match=r"under hf\.shop\.j, found hf\.other\.j\.R\.log"):
        SHOP.parse("hf.other.j.R.log")


EVERY_JOURNAL_SUBJECT = [
    SHOP.ready(RUN, "orders", 3),
    SHOP.again(RUN, "orders", 3),
    SHOP.go(RUN, "orders"),
    SHOP.log(RUN),
    SHOP.inbox(RUN),
    SHOP.timer(RUN, "due"),
]


@pytest.mark.parametrize("subject", EVERY_JOURNAL_SUBJECT)
def test_the_journal_and_the_runs_own_filter_hold_everything_of_a_run(subject: str) -> None:
    assert matches(SHOP.journal, subject)
    assert matches(SHOP.of_run(RUN), subject)
    assert not matches(SHOP.of_run("another"), subject)
    assert not matches(Subjects("other").journal, subject)


def test_a_consumer_sees_the_work_of_its_queue_and_priority_only() -> None:
    pattern = SHOP.items("orders", 3)
    assert matches(pattern, SHOP.ready(RUN, "orders", 3))
    assert not matches(pattern, SHOP.ready(RUN, "orders", 4))
    assert not matches(pattern, SHOP.ready(RUN, "bulk", 3))
    assert [subject for subject in EVERY_JOURNAL_SUBJECT if matches(pattern, subject)] == EVERY_JOURNAL_SUBJECT[:1]


def test_what_is_not_the_journal_is_in_no_journal_filter() -> None:
    others = [
        SHOP.letter("orders", RUN),
        SHOP.event("orders.created"),
        SHOP.output("pay", RUN),
        SHOP.control("queue", "orders"),
        SHOP.live(RUN, Kind.LOG),
        SHOP.api("runs"),
    ]
    assert [subject for subject in others if matches(SHOP.journal, subject)] == []


@pytest.mark.parametrize("text", ["default", "process-order", "a", "A1_b-2", RUN, "9lives"])
def test_a_name_of_letters_digits_dashes_and_underscores_may_be_a_token(text: str) -> None:
    assert TOKEN.match(text)


@pytest.mark.parametrize(
    "text", ["", "a.b", "*", ">", "a*", "a b", "-a", "_a", "ü", "a\n", "a/b", "$JS", "a\tb", "a\x00"]
)
def test_what_would_change_a_subjects_meaning_may_not(text: str) -> None:
    assert not TOKEN.match(text)
