"""The logs: following, freezing, looking back, looking for, with real keys over the fake world."""

from __future__ import annotations

from pathlib import Path

from holdfast.wire.api import LogLine, LogRow
from holdfast_tui import keys
from holdfast_tui.screens.logs import Logs
from holdfast_tui.widgets.lines import Lines
from tui.desks import Bench, bench, turns
from tui.test_flows import until
from tui.world import NOW, FakeClient, run_id


def row(seq: int, text: str = "", level: int = 20, run: int = 2800) -> LogRow:
    line = LogLine(NOW - 1000 + seq / 100, level, "stdout", text or f"line {seq}")
    return LogRow(seq, run_id(run), "send-email", 1, line, 0, "emails")


def world(*rows: LogRow) -> FakeClient:
    client = FakeClient()
    client.log_rows = list(rows)
    return client


def page(desk: Bench) -> Logs:
    assert isinstance(desk.page, Logs)
    return desk.page


def body(desk: Bench) -> list[str]:
    return [line.rstrip() for line in desk.text.splitlines()[3:-2]]


def seqs(desk: Bench) -> list[int]:
    ring = page(desk).ring
    return [ring[serial].seq for serial in range(ring.begin, ring.end)]


async def grown(desk: Bench, size: int) -> None:
    """Until so many lines are here and painted."""
    for _ in range(200):
        await turns()
        if page(desk).ring.total >= size:
            break
        await desk.pilot.pause(0.01)
    page(desk)._grow()
    await desk.settle()


async def test_five_thousand_lines_a_second_paint_only_what_is_in_view_a_few_times() -> None:
    client = world(row(1))
    async with bench(client) as desk:
        await desk.press("3", "/", *"level>=warn or", "enter")
        shown, painted = page(desk), []
        paint = shown.paint
        shown.paint = lambda: (painted.append(1), paint())  # type: ignore[assignment, func-returns-value, method-assign]
        coloured, work = shown.table.coloured, shown.ring.work
        client.stream.write(*(row(seq, "an error", 40 if seq % 2 else 20) for seq in range(2, 5002)))
        await grown(desk, 5001)
        assert len(shown.window) == 2500
        assert shown.ring.work - work == 5000
        assert len(painted) <= 5
        assert shown.table.coloured - coloured <= shown.window.height * len(painted)


async def test_frozen_stands_still_over_more_lines_than_the_ring_holds_and_comes_back_to_the_newest() -> None:
    client = world(*(row(seq) for seq in range(1, 31)))
    async with bench(client) as desk:
        desk.app.push_screen(Logs(size=100))
        await desk.settle()
        await desk.press("k", "k")
        before = body(desk)
        client.stream.write(*(row(seq) for seq in range(31, 531)))
        client.log_rows += [row(seq) for seq in range(31, 531)]
        await grown(desk, 530)
        assert body(desk) == before
        assert "500 lines below (f)" in desk.text
        assert page(desk).ring.cut
        await desk.press("f")
        await until(desk, "line 530")
        assert "FOLLOW" in desk.text
        client.stream.write(row(531))
        await grown(desk, 531)
        assert "line 531" in desk.text
        assert seqs(desk) == list(range(532 - len(page(desk).ring), 532))


async def test_down_from_the_end_of_a_frozen_view_takes_in_what_has_come() -> None:
    client = world(*(row(seq) for seq in range(1, 6)))
    async with bench(client) as desk:
        await desk.press("3", "f")
        client.stream.write(row(6), row(7))
        await grown(desk, 7)
        assert "line 6" not in desk.text
        await desk.press("j")
        assert "line 7" in desk.text
        assert "0 lines below" in desk.text


async def test_scrolling_up_past_the_ring_reads_older_lines_and_keeps_the_place() -> None:
    client = world(*(row(seq) for seq in range(1, 2501)))
    async with bench(client) as desk:
        await desk.press("3", "g")
        await until(desk, "2,000 lines")
        assert "line 1501" in desk.text
        assert page(desk).ring[page(desk).window.cursor].seq == 1501  # type: ignore[index]
        await desk.press("g")
        await until(desk, "2,500 lines")
        await desk.press("g")
        assert "line 1\n" in desk.text
        asked = len(client.asked)
        await desk.press("g", "k")
        assert len([query for query in client.asked[asked:] if getattr(query, "before", None)]) == 0


async def test_a_filter_finds_in_the_history_what_the_ring_does_not_have() -> None:
    client = world(row(1, "needle here", 40), *(row(seq) for seq in range(2, 1500)))
    async with bench(client) as desk:
        await desk.press("3", "/", *"needle", "enter")
        await until(desk, "needle here")
        assert "1 of 1,001 lines" in desk.text
        await desk.press("/", "backspace", "x")
        await until(desk, "nor is there an older one in the history")


async def test_what_cannot_be_read_of_a_filter_is_said_under_it() -> None:
    async with bench() as desk:
        await desk.press("3", "/", *"slow level>=loud")
        said = desk.text.splitlines()
        assert said[22].index("level") == said[23].index("^")
        assert "expected debug info warn error" in said[23]
        assert "smtp slow" in desk.text


async def test_errors_and_matches_are_jumped_to_and_the_lines_around_can_be_seen() -> None:
    client = world(*(row(seq, "boom" if seq == 20 else "", 40 if seq in (20, 30) else 20) for seq in range(1, 41)))
    async with bench(client) as desk:
        await desk.press("3", "{")
        assert ">" in next(line for line in body(desk) if "line 30" in line)[:1]
        await desk.press("{")
        assert next(line for line in body(desk) if "boom" in line).startswith(">")
        await desk.press("/", *"/bo+m/", "enter")
        assert [line for line in body(desk) if line] == [line for line in body(desk) if "boom" in line]
        await desk.press("m")
        assert "in context" in desk.text
        assert next(line for line in body(desk) if "boom" in line).startswith(">")
        assert any("line 19" in line for line in body(desk))
        await desk.press("G", "N")
        assert next(line for line in body(desk) if "boom" in line).startswith(">")
        await desk.press("n")
        assert "no line that matches below" in desk.text


async def test_long_lines_are_panned_by_half_a_screen_and_wrapped_and_keep_the_place() -> None:
    text = "".join(f"<{number:03}>" for number in range(60))
    client = world(*(row(seq, text) for seq in range(1, 4)), row(4, f"a\n{text}\nb"))
    async with bench(client) as desk:
        await desk.press("3", "k")
        table = page(desk).table
        assert isinstance(table, Lines)
        half = table.room // 2
        await desk.press("l")
        assert body(desk)[0].endswith(text[half : half + table.room])
        await desk.press("l")
        client.stream.write(row(5, text))
        await grown(desk, 5)
        assert body(desk)[0].endswith(text[2 * half : 2 * half + table.room])
        await desk.press("h", "h")
        assert text[: table.room] in body(desk)[0]
        cursor = page(desk).window.cursor
        await desk.press("r")
        assert page(desk).window.cursor == cursor
        whole = "".join(line[-table.room :].strip() for line in body(desk)[:9])
        assert text in whole
        await desk.press("G")
        assert body(desk)[-1].endswith("059>"), desk.text
        await desk.press("k")
        assert any(line.strip() == "b" for line in body(desk))
        await desk.press("l")
        assert "lines are wrapped" in desk.text


async def test_wrapped_lines_that_fill_the_screen_show_the_newest_at_its_foot() -> None:
    client = world(*(row(seq, f"{seq} " + "x" * 200) for seq in range(1, 30)))
    async with bench(client) as desk:
        await desk.press("3", "r")
        assert any("29 xxx" in line and line.startswith(">") for line in body(desk))
        await desk.press("g")
        assert body(desk)[0].startswith(">")
        assert "1 xxx" in body(desk)[0]


async def test_a_line_opens_whole_and_from_there_its_run() -> None:
    client = world(row(1, "first\nsecond \x1b[2J\nthird", 40, run=2895))
    async with bench(client) as desk:
        await desk.press("3")
        assert "(+2 lines, enter)" in desk.text
        await desk.press("enter")
        await until(desk, "second ␛[2J")
        assert run_id(2895) in desk.text
        await desk.press("enter")
        assert desk.kind == keys.RUN
        await desk.press("q")
        assert desk.kind == keys.LOGS


async def test_coming_back_to_the_logs_reads_on_where_they_were_left() -> None:
    client = world(*(row(seq) for seq in range(1, 6)))
    async with bench(client) as desk:
        await desk.press("3", "1")
        new = [row(seq) for seq in range(6, 9)]
        client.stream.write(*new)
        client.log_rows += new
        await desk.press("3")
        await grown(desk, 8)
        assert seqs(desk) == list(range(1, 9))
        await desk.press("1")
        many = [row(seq) for seq in range(9, 3000)]
        client.stream.write(*many)
        client.log_rows += many
        await desk.press("3")
        await until(desk, "line 2999")
        assert seqs(desk) == list(range(2000, 3000))


async def test_a_line_is_copied_and_what_is_shown_is_written_to_a_file(tmp_path: Path) -> None:
    client = world(*(row(seq, level=40 if seq == 3 else 20) for seq in range(1, 6)))
    async with bench(client) as desk:
        copied: list[str] = []
        desk.app.copy = lambda text: copied.append(text) or "copied"  # type: ignore[method-assign, func-returns-value]
        await desk.press("3", "k", *"yryi")
        await desk.press("y", "c", "y", "j")
        assert copied[:3] == ["line 4", run_id(2800), f"holdfast logs --run {run_id(2800)}"]
        assert '"text":"line 4"' in copied[3]
        await desk.press("/", *"level>=error", "enter", "w")
        await desk.press("ctrl+u", *str(tmp_path / "out.csv"), "enter")
        await until(desk, "1 line written to")
        head, *lines = (tmp_path / "out.csv").read_text().splitlines()
        assert head.startswith("at,level,queue,task,run")
        assert len(lines) == 1
        assert "line 3" in lines[0]
