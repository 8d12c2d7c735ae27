"""`holdfast audit`, and the entries that commands leave."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from holdfast.auditing import Actor
from holdfast.bus.memory import MemoryBus
from holdfast.errors import BusError, ConnectError
from holdfast.wire import api, codec
from holdfast.wire.subjects import Stream

from .conftest import AT, Told, completed, started

if TYPE_CHECKING:
    from holdfast.client import Client

    from .conftest import World


def entries(shop: World) -> list[api.AuditEntry]:
    """What the audit holds, oldest first."""

    async def read(client: Client) -> list[api.AuditEntry]:
        found = await client.bus.read(Stream.AUDIT, client.bus.subjects.audit)
        return [api.decode(message.data, api.AuditEntry) for message in found]

    return shop.do(read)


def leave(shop: World, *left: api.AuditEntry) -> None:
    async def store(client: Client) -> None:
        for entry in left:
            await client.audited(entry)

    shop.do(store)


PAUSED = api.AuditEntry(
    at=AT, who="ana", via="tui", host="mill", address="10.0.0.9", action="pause", kind="queue", targets=("emails",),
    accepted=1, command="holdfast queues pause emails",
)  # fmt: skip
DRAINED = api.AuditEntry(
    at=AT + 60, who="bo", via="cli", host="mill", action="drain", kind="letter", targets=("R1",), count=812,
    accepted=800, refused=1, why="it has \x1b[31mended", filter="queue:webhooks", reason="hook fixed",
    command="holdfast dlq drain --queue webhooks",
)  # fmt: skip


def test_what_was_done_is_listed_newest_first(shop: World) -> None:
    leave(shop, PAUSED, DRAINED)
    head, drained, paused = shop("audit").out.splitlines()
    assert head.split() == ["TIME", "WHO", "FROM", "ACTION", "TARGET", "N", "RESULT", "REASON", "COMMAND"]
    assert drained.split("  ")[0] == "2026-01-02 12:04:38Z"
    assert "bo   cli mill      drain   letter queue:webhooks  812" in drained
    assert "800 ok, 1 refused: it has \\x1b[31mended, 11 not reached  hook fixed" in drained
    assert paused.split() == [
        *("2026-01-02", "12:03:38Z", "ana", "tui", "10.0.0.9", "pause", "queue", "emails", "1", "ok"),
        *("holdfast", "queues", "pause", "emails"),
    ]


def test_as_json_an_entry_has_all_fields(shop: World) -> None:
    leave(shop, DRAINED)
    found = json.loads(shop("audit", "--json").out)
    assert set(found) == set(api.AuditEntry.__struct_fields__)
    assert (found["seq"], found["at"], found["targets"]) == (1, "2026-01-02T12:04:38.120Z", ["R1"])


def test_pages_are_turned_up_to_the_limit(shop: World) -> None:
    leave(shop, *[PAUSED] * 7)
    assert len(shop("audit", "--json").out.splitlines()) == 7
    assert [query.before for query in shop.asked] == [None, 6, 4, 2]
    assert len(shop("audit", "-n", "3").out.splitlines()) == 4


def test_filters_are_asked_of_the_daemon(shop: World) -> None:
    done = shop(
        *("audit", "--since", "7d", "--until", "1h", "--who", "a*", "--via", "cli", "--action", "schedule-*"),
        *("--target", "nightly", "--grep", "ticket"),
    )
    assert (done.code, done.out, done.err) == (0, "", "nothing that was done matches\n")
    (query,) = shop.asked
    assert (query.who, query.via, query.action, query.target) == ("a*", "cli", "schedule-*", "nightly")
    assert query.text == "ticket"
    assert query.until - query.since == pytest.approx(7 * 86400 - 3600, abs=1)


def test_a_command_on_many_things_leaves_one_entry(shop: World) -> None:
    assert shop("queues", "pause", "a", "b", "c").code == 0
    (entry,) = entries(shop)
    me = Actor.here({})
    assert (entry.who, entry.via, entry.host) == (me.who, "cli", me.host)
    assert entry.at == pytest.approx(time.time(), abs=60)
    assert (entry.action, entry.targets, entry.accepted) == ("pause", ("a", "b", "c"), 3)
    assert entry.command == "holdfast queues pause a b c"


def test_a_command_that_fails_half_way_leaves_what_it_came_to(shop: World) -> None:
    alive, ended = shop.run(1), shop.run(2, started(), completed(1))
    assert shop("runs", "cancel", alive, ended, "--reason", "stale").code == 1
    (entry,) = entries(shop)
    assert (entry.count, entry.accepted, entry.refused, entry.reason) == (2, 1, 1, "stale")
    assert entry.command == f"holdfast runs cancel {alive} {ended} --reason stale"


def test_commands_that_only_look_leave_nothing(shop: World) -> None:
    run = shop.dead(1)
    for line in (
        ("queues", "list"), ("runs", "list"), ("runs", "show", run), ("dlq", "list"), ("dlq", "drain", "--dry-run"),
        ("workers", "list"), ("queues", "limit", "a"), ("audit",), ("schedules", "list"), ("tokens", "list"),
    ):  # fmt: skip
        assert shop(*line).code == 0
    assert entries(shop) == []


def test_a_change_to_many_letters_is_one_entry_with_how_they_were_chosen(shop: World) -> None:
    runs = [shop.dead(number) for number in range(5)]
    shop("runs", "retry", runs[0])
    args = ("dlq", "drain", "--task", "charge-card", "--error", "bad currency", "--rate", "600/s", "--from-start")
    assert shop(*args).code == 0
    _, entry = entries(shop)
    assert (entry.action, entry.kind, entry.filter) == ("drain", "letter", "task:charge-card error:'bad currency'")
    assert (entry.count, entry.accepted, entry.refused) == (5, 4, 1)
    assert "queued" in entry.why
    assert sorted(entry.targets) == runs
    assert entry.command == ("holdfast dlq drain --task charge-card --error 'bad currency' --from-start --rate 600/s")


def test_letters_that_are_named_are_in_the_command(shop: World) -> None:
    first, second = shop.dead(1), shop.dead(2)
    assert shop("dlq", "retry", first, "--payload", '{"order": 90210}').code == 0
    assert shop("dlq", "purge", second, "--yes").code == 0
    edited, purged = entries(shop)
    assert (edited.action, edited.filter) == ("edit", "")
    assert edited.command == f"holdfast dlq retry {first} --payload JSON"
    assert (purged.action, purged.accepted) == ("purge", 1)
    assert purged.command == f"holdfast dlq purge {second}"


def test_all_of_them_and_an_age_are_told_as_they_were_typed(shop: World) -> None:
    shop.dead(1)
    assert shop("dlq", "purge", "--since", "2h", "--yes").code == 0
    shop.dead(2)
    assert shop("dlq", "retry", "--all", "--yes").code == 0
    purged, retried = entries(shop)
    assert (purged.filter, purged.command) == ("since:7200s", "holdfast dlq purge --since 7200s")
    assert (retried.filter, retried.command) == ("all", "holdfast dlq retry --all")


def test_what_stops_a_change_to_many_letters_leaves_how_far_it_came(shop: World) -> None:
    class Cut(Told):
        async def drop_letter(self, run: str) -> object:  # type: ignore[override]
            if run.endswith("1"):
                raise ConnectError("the server is gone")
            return await super().drop_letter(run)

    for number in range(3):
        shop.dead(number)
    shop.client = Cut
    assert shop("dlq", "purge", "--all", "--yes").code == 3
    (entry,) = entries(shop)
    assert (entry.action, entry.count, entry.refused) == ("purge", 3, 0)
    assert entry.accepted < 3
    assert entry.why == "stopped before an answer came: it may have been done"


def test_the_value_of_a_secret_is_in_no_entry(shop: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOLDFAST_DATA_DIR", str(tmp_path))
    monkeypatch.setattr("sys.stdin", io.StringIO("sk_live_90210\n"))
    assert shop("secrets", "set", "STRIPE_KEY", "--latest-on-retry").code == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("sk_live_90211\n"))
    assert shop("secrets", "rotate", "STRIPE_KEY").code == 0
    told = [(entry.action, entry.kind, entry.targets, entry.command) for entry in entries(shop)]
    assert told == [
        ("secret-set", "secret", ("STRIPE_KEY",), "holdfast secrets set STRIPE_KEY --latest-on-retry"),
        ("secret-rotate", "secret", ("STRIPE_KEY",), "holdfast secrets rotate STRIPE_KEY"),
    ]


def test_what_is_triggered_by_hand_names_the_run_and_no_payload(shop: World) -> None:
    async def declare(client: Client) -> None:
        await client.bus.put("task", "ship", codec.encode(api.TaskCard(id="ship", queue="default")))

    shop.do(declare)
    run = shop("trigger", "ship", '{"card": 90210}').out.strip()
    assert shop("emit", "orders.created", '{"card": 90210}').code == 0
    told = [(entry.action, entry.kind, entry.targets, entry.command) for entry in entries(shop)]
    assert told == [
        ("trigger", "run", (run,), "holdfast trigger ship JSON"),
        ("emit", "event", ("orders.created",), "holdfast emit orders.created JSON"),
    ]


def test_an_entry_that_can_not_be_stored_is_said_and_the_command_did_what_it_did(
    shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = MemoryBus.publish

    async def refuse(self: MemoryBus, subject: str, data: bytes, **options: object) -> int:
        if subject == self.subjects.audit:
            raise BusError("no room")
        return await publish(self, subject, data, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(MemoryBus, "publish", refuse)
    done = shop("queues", "pause", "emails")
    assert (done.code, done.out) == (0, "emails  paused\n")
    assert done.err == (
        "holdfast: the audit has no entry of this pause of queue emails, it could not be stored: no room\n"
    )
