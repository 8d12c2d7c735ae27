"""What a person gets wrong with the durable engine, and what is too much for it: one line, nothing half-made."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import forked
from deployment import Deployment, until

TASKS = """
import asyncio, os
from holdfast import run, step, task, wait

def effect(*words):
    file = os.open(os.environ["EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, (" ".join(map(str, words)) + "\\n").encode())
    os.close(file)

async def number(n):
    return n

# --- values

def unstorable(kind):
    if kind == "a function":
        return lambda: None
    if kind == "itself":
        found = [1]
        found.append({"again": found})
        return found
    if kind == "a file":
        return open(os.devnull)
    if kind == "deep":
        found = []
        for _ in range(100_000):
            found = [found]
        return found

async def makes(kind):
    effect("made", kind)
    return unstorable(kind)

@task
async def returns(kind: str) -> object:
    return unstorable(kind)

@task
async def steps(kind: str) -> str:
    found = await makes(kind)
    await number(1)
    return type(found).__name__

@task
async def large(mb: int) -> bytes:
    return os.urandom(1_000_000) * mb

@task
async def large_step(mb: int) -> int:
    return len(await made_large(mb))

async def made_large(mb):
    return os.urandom(1_000_000) * mb

@task
async def counted(data: str) -> int:
    return len(data)

# --- keys and much

@step(key="same")
async def keyed(n: int) -> int:
    effect("keyed", n)
    return n

@task
async def twice() -> int:
    return await keyed(1) + await keyed(2)

@task
async def thousand() -> int:
    return sum(await asyncio.gather(*[number(n) for n in range(1_000)]))

async def counts(n):
    if n % 1_000 == 0:
        effect("counts", n, os.getpid())
    return n

@task
async def ten_thousand() -> int:
    total = 0
    for n in range(10_000):
        total += await counts(n)
    return total

# --- told

@task
async def asks(name: str) -> object:
    return await wait.token(timeout=600)

@step(at_most_once=True)
async def pays() -> str:
    raise ConnectionError("no answer")

@task
async def paid() -> str:
    return await pays()

@task
async def stubborn() -> None:
    while True:
        try:
            effect("stubborn stays", os.getpid())
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass

@task
async def fine(n: int) -> int:
    return await number(n)
"""

FAILED, USAGE = 1, 2


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """One deployment with one worker: whoever takes it down is seen."""
    with Deployment(tmp_path_factory.mktemp("bad") / "home", TASKS) as deployment:
        yield deployment


class Refusing(NamedTuple):
    """A run that was told to end, and when."""

    run: str
    worker: int
    since: float


@pytest.fixture(scope="module", autouse=True)
def refusing(there: Deployment) -> Refusing:
    """A task that is told to end while the other tests run, and does not."""
    run = triggered(there, "stubborn", {})
    until(lambda: there.lines(), there.log)
    there.run("runs", "cancel", run)
    return Refusing(run, int(there.lines()[0].split()[2]), time.monotonic())


# --- what the tests do


def triggered(there: Deployment, task: str, payload: dict[str, Any]) -> str:
    """A run that was started over HTTP; its id."""
    status, answer = asked(f"{there.http}/v1/tasks/{task}/trigger", payload)
    assert status == 202, answer
    return str(answer["run"])


def asked(url: str, body: object = None) -> tuple[int, Any]:
    """The status and what was answered to a POST, or to a GET where there is no body."""
    data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def ended(there: Deployment, run: str, *, within: float = 30) -> dict[str, Any]:
    """The run once it has ended."""

    def view() -> dict[str, Any]:
        status, found = asked(f"{there.http}/v1/runs/{run}")
        return found if status == 200 else {"state": "not there yet"}

    over = ("completed", "dead", "cancelled", "expired", "timed_out")
    until(lambda: view()["state"] in over, lambda: f"{view()}\n{there.log()}", within=within)
    return view()


def dead(there: Deployment, task: str, payload: dict[str, Any], *says: str, reason: str) -> dict[str, Any]:
    """A run that ends dead at its first attempt, with an error that says this, without frames of ours."""
    run = triggered(there, task, payload)
    found = ended(there, run)
    assert (found["state"], found["reason"], found["attempt"]) == ("dead", reason, 1), found
    for part in says:
        assert part in found["error"]["message"], found["error"]
    assert "holdfast/worker" not in found["error"]["traceback"]
    return found


def refused(there: Deployment, *args: str, code: int, says: tuple[str, ...], stdin: bytes | None = None) -> None:
    """Carry out what must fail within ten seconds: one line on stderr that says why, and nothing else."""
    done = forked.run(args, cwd=there.home, env=there.env, stdin=stdin or b"", timeout=20)
    assert (done.returncode, done.stdout) == (code, ""), (args, done)
    (line,) = done.stderr.splitlines()
    assert line.startswith("holdfast: ")
    assert "Traceback" not in line
    for part in says:
        assert part in line, line


def written(there: Deployment) -> int:
    """The last sequence of the journal: whatever is written counts it up."""
    run = triggered(there, "fine", {"n": 1})
    ended(there, run)
    return max(int(row["seq"]) for row in there.json("runs", "history", run))


# --- values


@pytest.mark.parametrize("kind", ["a function", "itself", "a file", "deep"])
def test_a_result_that_can_not_be_stored_ends_its_run_dead_at_once_and_says_why(there: Deployment, kind: str) -> None:
    dead(there, "returns", {"kind": kind}, "the result can't be stored", reason="result")


@pytest.mark.parametrize(("kind", "type"), [("a function", "function"), ("itself", "list"), ("deep", "list")])
def test_a_step_whose_value_can_not_be_stored_passes_it_on_and_is_shown_as_volatile(
    there: Deployment, kind: str, type: str
) -> None:
    run = triggered(there, "steps", {"kind": kind})
    assert ended(there, run)["result"] == type
    assert "volatile" in there.run("runs", "tree", run).stdout


def test_fifty_megabytes_are_kept_apart_and_come_back_and_seventy_are_refused(there: Deployment) -> None:
    run = triggered(there, "large", {"mb": 50})
    assert ended(there, run)["state"] == "completed"
    begun = time.monotonic()
    assert len(there.run("runs", "history", run).stdout) < 100_000
    shown = there.run("runs", "show", run).stdout
    assert len(shown) < 100_000
    assert time.monotonic() - begun < 10
    there.run("runs", "export", run, "-o", "large.jsonl")
    assert (there.home / "large.jsonl").stat().st_size > 50_000_000
    assert ended(there, triggered(there, "large-step", {"mb": 50}))["result"] == 50_000_000
    dead(there, "large", {"mb": 70}, "the result can't be stored", "64", reason="result")
    fine(there)


def test_a_payload_that_is_too_much_starts_nothing(there: Deployment) -> None:
    before = written(there)
    (there.home / "large.json").write_text(json.dumps({"data": "x" * 70_000_000}))
    (there.home / "deep.json").write_text('{"data": ' + "[" * 100_000 + "]" * 100_000 + "}")
    refused(there, "trigger", "counted", "@large.json", code=FAILED, says=("64",))
    refused(there, "trigger", "counted", "@deep.json", code=USAGE, says=("payload",))
    refused(there, "trigger", "counted", '{"data": NaN}', code=USAGE, says=("NaN is not JSON",))
    refused(there, "trigger", "counted", "-", code=USAGE, says=("JSON",), stdin=b"\xff\xfe{}")
    refused(there, "runs", "signal", "01M83ZHG2WVTG30T280HA094KP", "go", "@deep.json", code=USAGE, says=("value",))
    for body in (b"[" * 100_000, b'{"data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"):
        status, problem = asked(f"{there.http}/v1/tasks/counted/trigger", body)
        assert (status, "JSON" in problem["detail"]) == (400, True), problem
    status, problem = asked(f"{there.http}/v1/tasks/counted/trigger", b'{"data": ' + b"[" * 400 + b"]" * 400 + b"}")
    assert (status, "nested deeper than 200 levels" in problem["detail"]) == (422, True), problem
    assert asked(f"{there.http}/v1/tasks/counted/trigger", b'{"data": "' + b"x" * 2_000_000 + b'"}')[0] == 413
    (there.home / "large.json").unlink()
    assert len(there.json("runs", "list", "--task", "counted")) == 0
    assert written(there) < before + 30


def fine(there: Deployment) -> None:
    """The one worker serves."""
    assert ended(there, triggered(there, "fine", {"n": 7}))["result"] == 7


# --- keys and much


def test_a_key_that_is_used_twice_is_an_error_that_names_it(there: Deployment) -> None:
    run = triggered(there, "twice", {})
    until(lambda: "KeyTaken" in there.run("runs", "show", run).stdout, there.log)
    shown = there.run("runs", "show", run).stdout
    assert "step keyed: key 'same' is used a second time within the task's body" in shown
    assert there.lines().count("keyed 1") == 1
    assert "keyed 2" not in there.lines()
    there.run("runs", "cancel", run, check=False)  # unless its attempts are used up by now


def test_a_thousand_awaits_at_once_are_a_thousand_checkpoints(there: Deployment) -> None:
    run = triggered(there, "thousand", {})
    found = ended(there, run)
    assert (found["result"], found["steps"]) == (499_500, 1_000)
    assert len(there.json("runs", "tree", run)) >= 1_000


def test_ten_thousand_awaits_go_on_where_their_worker_was_killed(there: Deployment) -> None:
    def counted() -> list[list[str]]:
        return [line.split() for line in there.lines() if line.startswith("counts ")]

    before = len(counted())
    begun = time.monotonic()
    whole = triggered(there, "ten-thousand", {})
    assert ended(there, whole, within=60)["result"] == 49_995_000
    print(f"10,000 awaits: {time.monotonic() - begun:.1f} s")
    begun = time.monotonic()
    run = triggered(there, "ten-thousand", {})
    until(lambda: len(counted()) >= before + 15, there.log, within=60)
    os.kill(int(counted()[-1][2]), signal.SIGKILL)
    found = ended(there, run, within=60)
    assert (found["result"], found["steps"]) == (49_995_000, 10_000)
    print(f"10,000 awaits, killed in the middle: {time.monotonic() - begun:.1f} s")
    made = Counter(int(words[1]) for words in counted()[before + 10 :])
    assert set(made) == {n * 1_000 for n in range(10)}
    assert sum(made.values()) <= 11  # at most the one under way at the kill again


# --- told


def test_what_can_not_be_forked_or_edited_makes_no_run(there: Deployment) -> None:
    run = triggered(there, "fine", {"n": 3})
    ended(there, run)
    before = {row["id"] for row in there.json("runs", "list")}
    for args, code, says in (
        (("--from", "/nowhere#1"), FAILED, ("/nowhere#1", "/number#1")),
        (("--from", "number"), FAILED, ("number", "/number#1")),
        (("--from", "/number#1", "--set", "/number#2=1"), FAILED, ("/number#2",)),
        (("--from", "/number#1", "--set", "/number#1.a.b=1"), FAILED, ("/number#1",)),
        (("--from", "/number#1", "--set", "/number#1"), USAGE, ("KEY=JSON",)),
        (("--from", "/number#1", "--set", "/number#1=@nowhere.json"), USAGE, ("nowhere.json",)),
        ((), USAGE, ("--from",)),
    ):
        refused(there, "runs", "fork", run, *args, code=code, says=says)
    unknown = "01M83ZHG2WVTG30T280HA094KP"
    refused(there, "runs", "fork", unknown, "--from", "/number#1", code=FAILED, says=(unknown, "runs list"))
    refused(there, "runs", "diff", run, unknown, code=FAILED, says=(unknown,))
    refused(there, "runs", "replay", unknown, code=FAILED, says=(unknown,))
    assert {row["id"] for row in there.json("runs", "list")} == before


def test_a_token_that_is_none_or_was_completed_changes_nothing(there: Deployment) -> None:
    run = triggered(there, "asks", {"name": "a"})
    until(lambda: asked(f"{there.http}/v1/runs/{run}")[1]["state"] == "waiting", there.log)
    (view,) = there.json("runs", "show", run)
    token = view["waits"][0]["id"]
    for name, says in (
        ("nonsense", "'nonsense'"),
        (f"{run}-0000000000", "has not asked for it"),
        (run, "expected the id of a token"),
        ("*.>", "'*.>'"),
        ("01M83ZHG2WVTG30T280HA094KP-271fa78f5d", "no run 01M83ZHG2WVTG30T280HA094KP"),
    ):
        refused(there, "runs", "complete", name, "1", code=FAILED, says=(says,))
    refused(there, "runs", "complete", token, "{x}", code=USAGE, says=("value: expected JSON",))
    refused(there, "runs", "complete", token, "1", "--error", "no", code=USAGE, says=("--error",))
    status, problem = asked(f"{there.http}/v1/tokens/{token}/complete", b"{x}")
    assert (status, "no JSON" in problem["detail"]) == (400, True)
    assert asked(f"{there.http}/v1/tokens/nonsense/complete", 1)[0] == 404
    assert there.json("runs", "show", run)[0]["row"]["state"] == "waiting"
    assert asked(f"{there.http}/v1/tokens/{token}/complete", {"first": True})[0] == 200
    assert ended(there, run)["result"] == {"first": True}
    refused(there, "runs", "complete", token, "2", code=FAILED, says=("was completed by http at 20", "only once"))
    assert ended(there, run)["result"] == {"first": True}


def test_a_run_that_has_ended_takes_no_signal_no_answer_and_no_cancel(there: Deployment) -> None:
    run = triggered(there, "fine", {"n": 3})
    ended(there, run)
    over = ("has ended completed", run)
    refused(there, "runs", "signal", run, "go", code=FAILED, says=over)
    refused(there, "runs", "cancel", run, code=FAILED, says=over)
    refused(there, "runs", "cancel", "--kill", run, code=FAILED, says=over)
    refused(there, "runs", "resolve", run, "--accept", code=FAILED, says=(run, "completed", "asks nothing"))
    refused(there, "runs", "signal", run, "a/b", code=USAGE, says=("'a/b'",))
    refused(there, "runs", "signal", "01M83ZHG2WVTG30T280HA094KP", "go", code=FAILED, says=("no run",))


def test_a_question_takes_only_its_own_answers(there: Deployment) -> None:
    run = triggered(there, "paid", {})
    until(lambda: asked(f"{there.http}/v1/runs/{run}")[1]["paused"], there.log)
    history = there.run("runs", "history", run).stdout
    for args, code, says in (
        (("--accept",), FAILED, ("--done JSON", "--not-done")),
        (("--skip",), FAILED, ("--done JSON", "--not-done")),
        (("/other#1", "--not-done"), FAILED, ("/other#1", "/pays#1")),
        ((), USAGE, ("--done JSON", "found none")),
        (("--not-done", "--skip"), USAGE, ("--not-done and --skip",)),
        (("--done", "{x}"), USAGE, ("--done: expected JSON",)),
        (("--run-again",), FAILED, ("--done JSON", "--not-done")),
        (("--retry",), FAILED, ("--done JSON", "--not-done")),
    ):
        refused(there, "runs", "resolve", run, *args, code=code, says=says)
    assert there.run("runs", "history", run).stdout == history
    there.run("runs", "resolve", run, "--done", '"by hand"')
    assert ended(there, run)["result"] == "by hand"


def test_a_broken_file_is_not_imported(there: Deployment) -> None:
    run = triggered(there, "fine", {"n": 3})
    ended(there, run)
    lines = there.run("runs", "export", run).stdout.splitlines(keepends=True)
    for name, text, says in (
        ("empty", "", "found an empty file"),
        ("other", "hello\n", "line 1: expected the header"),
        ("headless", "".join(lines[1:]), "line 1: expected the header"),
        ("cut", "".join(lines)[:-100], f"line {len(lines)}: expected a message as JSON"),
        ("hollow", lines[0], "found none that creates it"),
        ("swapped", "".join([lines[0], *reversed(lines[1:])]), "sequence above"),
        ("base64", "".join(lines).replace('"data": "', '"data": "!!'), "line 2: expected base64"),
        ("future", lines[0].replace('"version": 1', '"version": 99'), "version 1, found 99"),
        ("bytes", "\udcff\udcfe\udc00", "line 1: expected the header"),
    ):
        file = there.home / f"{name}.jsonl"
        file.write_text(text, errors="surrogateescape") if name != "bytes" else file.write_bytes(b"\xff\xfe\x00")
        refused(there, "runs", "import", str(file), code=FAILED, says=(f"{name}.jsonl", says))
    refused(there, "runs", "import", "nowhere.jsonl", code=USAGE, says=("nowhere.jsonl",))
    there.run("runs", "export", run, "-o", "good.jsonl")
    refused(there, "runs", "import", "good.jsonl", code=FAILED, says=(run, "import into another one with --project"))


# --- last: the task that was told to end while the others ran


def test_code_that_refuses_to_end_is_left_behind_and_its_worker_serves_on(
    there: Deployment, refusing: Refusing
) -> None:
    found = ended(there, refusing.run, within=45)
    assert found["state"] == "cancelled"
    fine(there)


# --- declarations


UNDO = """
from holdfast import step, task

async def give_back(room): ...

@step(undo=give_back)
async def book(hotel: str) -> str: ...

@task
async def trip() -> None:
    await book("Ritz")
"""


def test_an_undo_that_asks_for_what_its_step_does_not_have_is_named_at_up(tmp_path: Path) -> None:
    fresh = Deployment(tmp_path / "home", TASKS)
    (fresh.home / "trips.py").write_text(UNDO)
    settings = fresh.home / "holdfast.toml"
    settings.write_text(settings.read_text().replace('["tasks"]', '["tasks", "trips"]'))
    refused(fresh, "up", code=FAILED, says=("@step book: undo give_back asks for 'room'", "hotel, result"))
    refused(fresh, "worker", "trips", code=FAILED, says=("@step book: undo give_back asks for 'room'",))
    until(lambda: not fresh.children(), lambda: f"left behind: {fresh.children()}", within=5)
