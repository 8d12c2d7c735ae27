"""The part of the fake world that is no run and no queue: schedules, workers, figures, the audit, events."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from holdfast.core.model import State
from holdfast.core.routing import matches
from holdfast.errors import Refused
from holdfast.ticks import Cron, Every
from holdfast.wire import api
from holdfast.wire.events import EventRow, EventsPage, EventsQuery
from holdfast.wire.schedules import Day, Past, ScheduleRow

NOW = 1_700_000_624.0
"""2023-11-14 22:23:44 UTC: every test's present."""

HOUR, DAY = 3600.0, 86_400.0

EVIL = "evil\x1b[2J\x1b]0;owned\x07\u202egnp"


def run_id(number: int) -> str:
    return f"01HF8Q{number:020d}"


class Places:
    """What a client answers about them; each answer is an attribute."""

    def __init__(self, *, full: bool) -> None:
        self.schedule_rows = schedules() if full else []
        self.past_rows = pasts() if full else []
        self.presences = presences() if full else []
        self.fault_rows: list[api.Fault] = []
        self.audit_entries = audit() if full else []
        self.event_rows = events() if full else []
        self.became = becoming() if full else {}
        self.figures_asked: list[api.MetricsQuery] = []
        self.replays: list[api.EventsReplay] = []
        self.noted: list[api.AuditEntry] = []
        """What the desk left in the audit by itself."""
        self.refuse_dry = ""
        """Why nothing can be routed again."""
        self.busy = full
        """Whether anything happened that charts could show."""

    def up(self) -> None:
        raise NotImplementedError

    def change(self, verb: str, target: str, *more: Any) -> None:
        raise NotImplementedError

    async def schedules(self) -> list[ScheduleRow]:
        self.up()
        return self.schedule_rows

    async def schedule_pasts(self, days: int = 30) -> tuple[Past, ...]:
        self.up()
        return tuple(self.past_rows)

    async def pause_schedule(self, name: str) -> None:
        self.change("schedule-pause", name)
        self._put(name, state="paused", by="tui", paused_at=NOW)

    async def resume_schedule(self, name: str) -> None:
        self.change("schedule-resume", name)
        self._put(name, state="active", paused_at=None)

    async def run_schedule(self, name: str) -> Any:
        self.change("schedule-run", name)
        return Made(run_id(9998))

    async def reschedule(self, name: str, when: Cron | Every) -> None:
        self.change("schedule-change", name, when)

    def _put(self, name: str, **fields: Any) -> None:
        self.schedule_rows = [
            msgspec.structs.replace(row, **fields) if row.name == name else row for row in self.schedule_rows
        ]

    async def workers(self) -> list[api.Presence]:
        self.up()
        return self.presences

    async def faults(self) -> list[api.Fault]:
        self.up()
        return self.fault_rows

    async def drain_worker(self, name: str) -> None:
        self.change("worker-drain", name)

    async def resume_worker(self, name: str) -> None:
        self.change("worker-resume", name)

    async def stop_worker(self, name: str) -> None:
        self.change("worker-stop", name)

    async def metrics(self, query: api.MetricsQuery) -> api.Metrics:
        self.up()
        self.figures_asked.append(query)
        return figures(query, busy=self.busy)

    async def audit(self, query: api.AuditQuery | None = None) -> api.AuditPage:
        self.up()
        query = query or api.AuditQuery()
        found = [
            entry
            for entry in self.audit_entries
            if (query.since is None or entry.at >= query.since)
            and query.who in ("", entry.who)
            and query.action in ("", entry.action)
            and query.via in ("", entry.via)
            and (not query.target or query.target in entry.targets)
        ]
        found.sort(key=lambda entry: -entry.seq)
        behind = [entry for entry in found if query.before is None or entry.seq < query.before]
        return api.AuditPage(tuple(behind[: query.limit]), len(found), len(behind) > query.limit)

    async def audited(self, entry: api.AuditEntry) -> None:
        self.noted.append(entry)

    async def events(self, query: EventsQuery | None = None) -> EventsPage:
        self.up()
        query = query or EventsQuery()
        found = [
            event
            for event in sorted(self.event_rows, key=lambda event: -event.seq)
            if (not query.subject or matches(query.subject, event.name))
            and (query.since is None or event.at >= query.since)
            and (query.before is None or event.seq < query.before)
        ]
        page = [msgspec.structs.replace(event, data=event.data[: query.most]) for event in found[: query.limit]]
        return EventsPage(
            events=tuple(page), more=len(found) > query.limit, before=page[-1].seq if page else query.before or 0
        )

    async def event(self, seq: int) -> EventRow | None:
        self.up()
        return next((event for event in self.event_rows if event.seq == seq), None)

    async def event_runs(self, seq: int) -> tuple[api.EventRun, ...]:
        self.up()
        return self.became.get(seq, ())

    async def replay_events(self, asked: api.EventsReplay) -> api.EventsReplayed:
        self.up()
        if self.refuse_dry:
            raise Refused(self.refuse_dry, code="unavailable")
        if asked.dry_run:
            runs = self.became.get(asked.first, ())
            count = len(runs)
            return api.EventsReplayed(
                next=asked.last + 1, done=True, events=1, existed=count, unwanted=int(not count and asked.first % 2),
                created=int(not count and not asked.first % 2),
            )  # fmt: skip
        self.change("reroute", str(asked.first), bool(asked.again))
        self.replays.append(asked)
        return api.EventsReplayed(next=asked.last + 1, done=True, events=1, created=1)


class Made:
    """A handle of a run that was started."""

    def __init__(self, id: str) -> None:
        self.id = id


def schedule(name: str, when: str, next_in: float | None, **fields: Any) -> ScheduleRow:
    given: dict[str, Any] = {
        "task": name, "tz": "UTC", "overlap": "skip", "catch_up": 3600.0, "jitter": 0.0, "declared": True,
        "state": "active", "next_at": None if next_in is None else NOW + next_in,
    }  # fmt: skip
    return ScheduleRow(name=name, when=when, **{**given, **fields})


def schedules() -> list[ScheduleRow]:
    return [
        schedule("cleanup", "*/15 * * * *", None, state="paused", by="ana", paused_at=NOW - 5 * HOUR, missed=96,
                 last_at=NOW - 5 * HOUR, last_run=run_id(3001), last_state=State.COMPLETED),
        schedule("digest", "0 8 * * mon", 2.4 * DAY, last_at=NOW - 4.6 * DAY, last_run=run_id(3002),
                 last_state=State.COMPLETED, tz="Europe/Paris"),
        schedule("fraud-retrain", "every 6h", -840.0, every=6 * HOUR, state="behind", declared=False, by="bo",
                 task="retrain", created_at=NOW - 40 * DAY, jitter=30.0, missed=1, skipped=2,
                 last_at=NOW - 6 * HOUR, last_run=run_id(3003), last_state=State.DEAD),
        schedule("invoice-run", "0 6 1 * *", 16.3 * DAY, last_at=NOW - 13.7 * DAY, last_run=run_id(3004),
                 last_state=State.COMPLETED),
        schedule("nightly-etl", "0 2 * * *", 3.6 * HOUR, last_at=NOW - 20.4 * HOUR, last_run=run_id(3005),
                 last_state=State.RUNNING),
        schedule("once-only", "0 0 1 1 *", None, state="over", declared=False, by="bo", created_at=NOW - 90 * DAY),
    ]  # fmt: skip


def past_run(number: int, name: str, ago: float, took: float | None, state: State, **fields: Any) -> api.RunRow:
    at = NOW - ago
    given: dict[str, Any] = {"source": f"schedule {name}", **fields}
    return api.RunRow(
        id=run_id(number), task=name, queue="default", priority=5, state=state, created_at=at, started_at=at,
        finished_at=None if took is None else at + took, **given,
    )  # fmt: skip


def pasts() -> list[Past]:
    def days(took: float, runs: int, fails: int = 0) -> tuple[Day, ...]:
        return tuple(Day(runs, fails if at % 9 == 4 else 0, took * (1 + at // 4 % 5)) for at in range(30))

    oom = {"error_type": "builtins.MemoryError", "error": f"on w-11 {EVIL}"}
    return [
        Past(name="cleanup", days=days(3, 96), last=(past_run(3001, "cleanup", 5 * HOUR, 3, State.COMPLETED),)),
        Past(name="fraud-retrain", days=days(7000, 4, 1), last=(
            past_run(3003, "fraud-retrain", 6 * HOUR, 7200, State.DEAD, **oom),
            past_run(3010, "fraud-retrain", 8 * HOUR, 7100, State.COMPLETED,
                     source="schedule fraud-retrain by hand"),
            past_run(3011, "fraud-retrain", 12 * HOUR, None, State.CANCELLED, reason="the one before runs still"),
        )),
        Past(name="nightly-etl", days=days(2500, 1), last=(
            past_run(3005, "nightly-etl", 20.4 * HOUR, None, State.RUNNING),
            past_run(3006, "nightly-etl", 44.4 * HOUR, 2460, State.COMPLETED),
        )),
    ]  # fmt: skip


def presence(number: int, *queues: str, **fields: Any) -> api.Presence:
    given: dict[str, Any] = {
        "worker": f"w-{number:02d}", "host": f"ip-10-{number}", "pid": 800 + number, "started_at": NOW - 7200,
        "at": NOW - 0.4, "tasks": ("send-welcome", "charge-card"), "queues": queues, "concurrency": 8, "running": 3,
        "runs": tuple(run_id(2900 - at) for at in range(3)), "version": "2.4.1", "cpu": 0.17 * number,
        "rss": (200 + 7 * number) << 20, "done_rate": 13.0 * number,
    }  # fmt: skip
    return api.Presence(**{**given, **fields})


def presences() -> list[api.Presence]:
    return [
        presence(0, "emails", "push", running=8, cpu=0.0),
        presence(1, "images"),
        presence(2, "etl", draining=True, running=1, runs=(run_id(2898),)),
        presence(3, "billing", "search", running=0, runs=(), version="2.4.0"),
        presence(4, "webhooks"),
        presence(5, "emails", "push", host=f"ip {EVIL}", rss=0),
    ]


def figures(query: api.MetricsQuery, *, busy: bool = True) -> api.Metrics:
    """Waves; nothing ended in some buckets, so that there is no p95 of them."""
    count = round((query.until - query.since) / query.step)
    numbers = range(count if busy else 0)
    idle = [12 < at % 30 < 16 for at in numbers]
    wave = [0 if idle[at] else round(query.step * (40 + 30 * math.sin(at / 4))) for at in numbers]
    return api.Metrics(
        at=tuple(query.since + at * query.step for at in numbers),
        step=query.step,
        created=tuple(number + 1 for number in wave),
        started=tuple(wave),
        ended=tuple(wave),
        failed=tuple(number // 40 for number in wave),
        waiting=tuple(200 + 20 * (at % 7) for at in numbers),
        running=tuple(at % 9 for at in numbers),
        p50=tuple(None if idle[at] else 0.05 for at in numbers),
        p95=tuple(None if idle[at] else 0.12 + 0.01 * (at % 11) for at in numbers),
        worst=(("images", 2.8), ("etl", 1.2)) if busy else (),
    )


def audit() -> list[api.AuditEntry]:
    def entry(seq: int, ago: float, who: str, action: str, kind: str, *targets: str, **fields: Any) -> api.AuditEntry:
        given: dict[str, Any] = {"via": "tui", "host": "desk-1", "count": len(targets) or 1, "accepted": 1}
        return api.AuditEntry(
            seq=seq, at=NOW - ago, who=who, action=action, kind=kind, targets=targets, **{**given, **fields}
        )

    webhooks = tuple(run_id(2895 - 3 * at) for at in range(5))
    return [
        entry(1, 9 * DAY, "ana", "purge", "queue", "sms-old", count=1100, accepted=1100),
        entry(2, 2 * DAY, "deploy", "worker-drain", "worker", "w-02", via="cli"),
        entry(3, 4 * HOUR, "bo", "edit", "run", run_id(2881), address="10.0.0.7"),
        entry(4, 2 * HOUR, "bo", "retry", "letter", *webhooks, count=812, accepted=811, refused=1,
              why="already retried by ana 11:39", filter="queue:webhooks error:'HTTP 410'",
              reason=f"hook fixed, ticket 4411 {EVIL}", address="10.0.0.7",
              command="holdfast dlq retry --queue webhooks --error 'HTTP 410'"),
        entry(5, HOUR, "cron", "schedule-run", "schedule", "nightly-etl", via="http"),
        entry(6, 900, "cron", "retry", "run", run_id(2895), via="http", accepted=0, refused=1, why="it is running"),
        entry(7, 800, "ana", "secret-set", "secret", "STRIPE_KEY", via="cli"),
        entry(8, 120, "ana", "pause", "queue", "emails", address="10.0.0.7",
              command="holdfast queues pause emails"),
    ]  # fmt: skip


def event(seq: int, ago: float, name: str, data: bytes, **fields: Any) -> EventRow:
    given: dict[str, Any] = {"subject": f"hf.demo.evt.{name}", "size": len(data), **fields}
    return EventRow(seq=seq, at=NOW - ago, name=name, data=data, **given)


def events() -> list[EventRow]:
    order = b'{"id": 7, "lines": [{"sku": "a-1", "count": 2}], "note": "' + b"x" * 40 + b'"}'
    return [
        event(1, 2 * DAY, "orders.created", b"{}"),
        event(2, 5 * HOUR, "users.new", b'{"user": 8812}', headers={"Hf-Id": "user-8812", "X-From": EVIL}),
        event(3, 4 * HOUR, "orders.paid", b"\xff\x00 raw"),
        event(4, 3 * HOUR, "orders.created", EVIL.encode()),
        event(5, 600, "shop.legacy", b"plain text", subject="shop.legacy"),
        event(6, 300, "orders.created", order, headers={"Hf-Id": "order-7"}),
        event(7, 60, "orders.paid", b"[" + b"1, " * 3000 + b"1]"),
        event(8, 2, "orders.created", b""),
    ]


def becoming() -> dict[int, tuple[api.EventRun, ...]]:
    return {
        2: (api.EventRun(run_id(2900), "send-welcome", "", State.RUNNING),),
        4: (api.EventRun(run_id(2895), "charge-card", "orders", State.DEAD, True),),
        6: (
            api.EventRun(run_id(2897), "charge-card", "orders", State.COMPLETED),
            api.EventRun(run_id(2895), "index-doc", "", State.DEAD),
        ),
        7: (api.EventRun(run_id(2896), "resize-image", "paid", State.COMPLETED),),
    }
