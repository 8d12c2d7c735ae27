"""Tasks in tests: a week of waits in milliseconds, crashes at every boundary, recorded histories against today's code.

    from holdfast.testing import harness, replay

    async def test_an_unpaid_order_is_cancelled_after_a_week() -> None:
        async with harness(fulfil) as h:                      # in this process: no server, no daemon
            order = await h.trigger(fulfil, order_id="A1")
            await h.advance(days=7)
            assert (await h.look(order)).result == "cancelled"

    async def test_no_crash_changes_what_comes_of_an_order() -> None:
        async with harness(fulfil) as h:
            report = await h.crash_at_every_boundary(fulfil, {"order_id": "A1"}, effects=bank.seen, reset=bank.clear)
            assert not report.differences, report

    async def test_the_runs_of_last_year_still_fit() -> None:
        assert not (await replay("histories/01K3.jsonl")).diverges     # written by `holdfast runs export`

Works in any asyncio loop: pytest-asyncio, anyio's plugin, `asyncio.run`, uvloop.
"""

from holdfast.testing.harness import Harness, RunResult, harness
from holdfast.testing.rehearsal import Replay, Verdict, replay
from holdfast.testing.report import Boundary, CrashReport, Difference, Note, What

__all__ = [
    "Boundary",
    "CrashReport",
    "Difference",
    "Harness",
    "Note",
    "Replay",
    "RunResult",
    "Verdict",
    "What",
    "harness",
    "replay",
]
