"""The durable engine as a person meets it: command line and HTTP against a real `holdfast up`, and SIGKILLs."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployment import HOLDFAST, Deployment, alive, until

TASKS = """
import asyncio, logging, os
from holdfast import Abort, Done, NotDone, Retry, Timeouts, run, secrets, step, task, wait

def effect(*words):
    file = os.open(os.environ["EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, (" ".join(map(str, words)) + "\\n").encode())
    os.close(file)

async def gate(name):
    effect("at", name, os.getpid())
    while not os.path.exists(f"open-{name}"):
        await asyncio.sleep(0.02)

async def does(*words):
    effect(*words)
    return words[-1]

own, alone = logging.getLogger("own"), logging.getLogger("alone")
own.addHandler(logging.StreamHandler())
alone.addHandler(logging.StreamHandler())
alone.propagate = False

# --- waits

@task
async def approval(order: str) -> dict:
    token = wait.token(timeout=600)
    effect("url", order, token.url)
    decision = await token
    return {"order": order, "decision": decision}

@task
async def basket(name: str) -> list:
    items = []
    run.expose("items", lambda: items)
    run.expose("has", lambda item: item in items)
    async for item in run.signals("add"):
        if item is None:
            return items
        items.append(await does(name, "takes", item))
        if item == "wait":
            await gate(name)

@task
async def shipment(order: str) -> dict:
    await gate(order)
    return await wait.event("payments.settled", match={"order.id": order}, timeout=600)

@task
async def leaf(name: str, n: int) -> int:
    await gate(name)
    return await does(name, "leaf", n)

@task
async def family(name: str) -> list:
    first = await leaf.trigger_and_wait(name=name, n=0)
    await does(name, "first", first)
    return await leaf.batch_trigger_and_wait([{"name": f"{name}-rest", "n": n} for n in (3, 1, 2)])

@task
async def waits_for_child(name: str) -> dict:
    return await approval.trigger_and_wait(order=name)

# --- undos and steps that must not be repeated

async def give_back(name, what):
    if what == "hotel":
        await gate(f"{name}-undo")
    effect(name, "gives back", what)

@step(undo=give_back)
async def book(name: str, what: str) -> str:
    effect(name, "books", what)
    return what

@task
async def trip(name: str) -> None:
    for what in ("flight", "hotel", "car"):
        await book(name, what)
    raise Abort("no seat left")

async def was_paid(name):
    with open(os.environ["EFFECTS"]) as file:
        return Done("found paid") if f"{name} pays\\n" in file.read() else NotDone()

@step(at_most_once=True, verify=was_paid)
async def pay_known(name: str) -> str:
    effect(name, "pays")
    await gate(name)
    return "paid"

@step(at_most_once=True)
async def pay_blind(name: str) -> str:
    effect(name, "pays")
    await gate(name)
    return "paid"

@task
async def checkout(name: str, known: bool) -> str:
    said = await (pay_known(name) if known else pay_blind(name))
    return await does(name, "said", said)

# --- ends

@task
async def loiters(name: str) -> None:
    try:
        await book(name, "room")
        await gate(name)
        await does(name, "comes out")
    finally:
        effect(name, "cleans up")

@task(queue="slow")
async def late(name: str) -> None:
    effect(name, "ran")

@task(retry=Retry(max_attempts=5, min_timeout=60, max_timeout=60, jitter=False))
async def backs_off(name: str) -> None:
    effect(name, "tries")
    raise ConnectionError("not now")

@task
async def sleeps(name: str) -> None:
    await wait.for_(hours=6)

def on_failure(ended):
    effect("hook failure", ended.run, ended.payload["n"])

def on_cancel(ended):
    effect("hook cancel", ended.run, ended.payload["n"])

@task(retry=Retry(max_attempts=1), on_failure=on_failure, on_cancel=on_cancel)
async def watched(name: str, n: int) -> None:
    await gate(name)
    raise ValueError(f"number {n}")

# --- made again

@task
async def order(name: str) -> dict:
    cart = await fill(name)
    paid = await does(name, "charges", cart["total"])
    return {"paid": paid, "to": cart["address"]["city"]}

async def fill(name):
    effect(name, "fills")
    return {"total": 30, "address": {"city": "Lyon", "zip": "69001"}}

@task
async def leaks(how: str) -> object:
    key = secrets["API_KEY"]
    print("the key is", key)
    run.log.warning("logged %s", key)
    own.warning("own handler %s", key)
    alone.warning("own logger %s", key)
    kept = await does_with(key)
    if how == "raise":
        raise Abort(f"refused with {kept}")
    return {"key": kept, "header": f"Bearer {kept}"} if how == "return" else None

async def does_with(key):
    print("in a step:", key)
    return key
"""

PLIANT = """
import asyncio, os
from holdfast import task
from tasks import does, effect, gate

@task(id="NAME", on_divergence="pause")
async def pliant(name: str) -> str:
    await old_way(name)
    await gate(name)
    return await does(name, "end")

async def old_way(name):
    effect(name, "old way")
"""

CHANGED = PLIANT.replace("old_way(name)", "new_way(name)").replace("old way", "new way")


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """One deployment with two workers, and a second project that serves nothing."""
    deployment = Deployment(tmp_path_factory.mktemp("engine") / "home", TASKS, workers=2)
    for module in ("accepted", "restored"):
        write(deployment, module, PLIANT)
    settings = deployment.home / "holdfast.toml"
    settings.write_text(
        settings.read_text().replace('["tasks"]', '["tasks", "accepted", "restored"]') + "[projects.archive]\n"
    )
    with deployment:
        yield deployment


# --- what the tests do


def triggered(there: Deployment, task: str, payload: dict[str, Any]) -> str:
    """A run that was started over HTTP; its id."""
    status, answer = post(f"{there.http}/v1/tasks/{task}/trigger", payload)
    assert status == 202, answer
    return str(answer["run"])


def state(there: Deployment, run: str) -> dict[str, Any]:
    """A run, by HTTP."""
    with urllib.request.urlopen(f"{there.http}/v1/runs/{run}", timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def reaches(there: Deployment, run: str, *states: str, within: float = 15) -> dict[str, Any]:
    """The run once it is in one of the states."""

    def told() -> str:
        return f"{there.run('runs', 'tree', run, check=False).stdout}\n{there.log()}"

    until(lambda: state(there, run)["state"] in states, told, within=within)
    return state(there, run)


def asks(there: Deployment, run: str) -> dict[str, Any]:
    """The run once it waits for an operator."""
    until(lambda: state(there, run)["paused"], lambda: f"{state(there, run)}\n{there.log()}", within=15)
    return state(there, run)


def waits_for(there: Deployment, run: str) -> Any:
    """What the run waits for: the first of it."""
    reaches(there, run, "waiting")
    (view,) = there.json("runs", "show", run)
    return view["waits"][0]


def at_gate(there: Deployment, name: str, *, times: int = 1) -> list[int]:
    """The processes that wait at a gate, in the order in which they came; returns once there are so many."""

    def came() -> list[int]:
        return [int(line.rsplit(" ", 1)[1]) for line in there.lines() if line.startswith(f"at {name} ")]

    until(lambda: len(came()) >= times, lambda: f"{there.lines()}\n{there.log()}", within=15)
    return came()


def open_gate(there: Deployment, name: str) -> None:
    (there.home / f"open-{name}").touch()


def kill_worker(there: Deployment, pid: int) -> None:
    """SIGKILL one of the deployment's own workers."""
    assert pid in there.children()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid), within=5)


def replace_workers(there: Deployment) -> None:
    """SIGKILL all workers; returns when another one serves."""
    old = set(there.workers().values())
    for pid in old:
        kill_worker(there, pid)
    until(lambda: set(there.workers().values()) - old, there.log, within=20)


def effects(there: Deployment, name: str) -> list[str]:
    """What a run did, in order."""
    return [line.removeprefix(f"{name} ") for line in there.lines() if line.startswith(f"{name} ")]


def post(url: str, value: object) -> tuple[int, Any]:
    """POST JSON; the status and what was answered."""
    request = urllib.request.Request(url, json.dumps(value).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def typed(there: Deployment, command: str) -> subprocess.CompletedProcess[str]:
    """A command line as a person types it into a shell."""
    path = there.home / "bin"
    path.mkdir(exist_ok=True)
    program = path / "holdfast"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(HOLDFAST)} "$@"\n')
    program.chmod(0o755)
    env = {**there.env, "PATH": f"{path}:{os.environ['PATH']}"}
    return subprocess.run(
        command, shell=True, cwd=there.home, env=env, capture_output=True, text=True, timeout=30, check=False
    )


def printed(text: str) -> list[str]:
    """The command lines that a text prints."""
    return [line.strip() for line in text.splitlines() if line.strip().startswith("holdfast ")]


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a command fails with."""
    assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


# --- waits


def test_a_token_completed_on_the_command_line_lets_its_run_go_on_and_a_second_time_says_who_was_first(
    there: Deployment,
) -> None:
    run = there.trigger("approval", {"order": "A1"})
    wait = waits_for(there, run)
    assert wait["kind"] == "token"
    there.run("runs", "complete", wait["id"], '{"by": "ann"}')
    assert reaches(there, run, "completed")["result"] == {"order": "A1", "decision": {"by": "ann"}}

    said = refusal(there.run("runs", "complete", wait["id"], '{"by": "bob"}', check=False))
    assert "was completed by cli at 20" in said
    assert state(there, run)["result"] == {"order": "A1", "decision": {"by": "ann"}}


def test_a_token_completed_over_http_lets_its_run_go_on_and_a_second_time_says_who_was_first(
    there: Deployment,
) -> None:
    run = triggered(there, "approval", {"order": "A2"})
    wait = waits_for(there, run)
    (url,) = {line.split()[2] for line in there.lines() if line.startswith("url A2 ")}
    assert post(url, {"by": "ann"}) == (200, {"run": run})
    assert reaches(there, run, "completed")["result"] == {"order": "A2", "decision": {"by": "ann"}}

    status, problem = post(url, {"by": "bob"})
    assert status == 409
    assert "was completed by http at 20" in problem["detail"]
    assert "was completed by http at 20" in refusal(there.run("runs", "complete", wait["id"], check=False))


def test_signals_drive_a_run_in_order_and_queries_see_where_it_stands(there: Deployment) -> None:
    run = triggered(there, "basket", {"name": "basket"})
    for item in ('"apple"', '"pear"', '"wait"'):
        there.run("runs", "signal", run, "add", item)
    at_gate(there, "basket")
    assert json.loads(there.run("runs", "query", run, "items").stdout) == ["apple", "pear", "wait"]
    assert there.json("runs", "query", run, "has", '"pear"')[0]["answer"] is True
    unknown = refusal(there.run("runs", "query", run, "price", check=False))
    assert "exposes no 'price'; it exposes: has, items" in unknown
    there.run("runs", "signal", run, "add", '"fig"')
    there.run("runs", "signal", run, "add")
    open_gate(there, "basket")
    assert reaches(there, run, "completed")["result"] == ["apple", "pear", "wait", "fig"]
    assert effects(there, "basket") == [f"takes {item}" for item in ("apple", "pear", "wait", "fig")]
    said = refusal(there.run("runs", "signal", run, "add", '"late"', check=False))
    assert f"run {run} has ended completed" in said
    assert "no worker has it in memory" in refusal(there.run("runs", "query", run, "items", check=False))


def test_an_event_emitted_just_before_the_wait_began_satisfies_it(there: Deployment) -> None:
    run = triggered(there, "shipment", {"order": "E1"})
    at_gate(there, "E1")
    there.run("emit", "payments.settled", '{"order": {"id": "other"}, "sum": 1}')
    there.run("emit", "payments.settled", '{"order": {"id": "E1"}, "sum": 2}')
    open_gate(there, "E1")
    assert reaches(there, run, "completed")["result"] == {"order": {"id": "E1"}, "sum": 2}


def test_a_parent_and_its_children_go_on_when_their_workers_are_killed(there: Deployment) -> None:
    run = triggered(there, "family", {"name": "family"})
    kill_worker(there, at_gate(there, "family")[0])
    at_gate(there, "family", times=2)
    open_gate(there, "family")
    for pid in set(at_gate(there, "family-rest", times=3)):
        kill_worker(there, pid)
    at_gate(there, "family-rest", times=6)
    open_gate(there, "family-rest")
    assert reaches(there, run, "completed")["result"] == [3, 1, 2]
    assert effects(there, "family") == ["leaf 0", "first 0"]
    assert Counter(effects(there, "family-rest")) == {"leaf 1": 1, "leaf 2": 1, "leaf 3": 1}
    (view,) = there.json("runs", "show", run)
    assert Counter(child["state"] for child in view["children"]) == {"completed": 4}


# --- undos and steps that must not be repeated


def test_a_failed_saga_undoes_last_first_also_when_its_worker_is_killed_between_two_undos(there: Deployment) -> None:
    run = triggered(there, "trip", {"name": "trip"})
    kill_worker(there, at_gate(there, "trip-undo")[0])
    at_gate(there, "trip-undo", times=2)
    assert state(there, run)["state"] == "compensating"
    open_gate(there, "trip-undo")
    shown = reaches(there, run, "dead")
    assert shown["error"]["message"] == "no seat left"
    back = [f"gives back {what}" for what in ("car", "hotel", "flight")]
    assert effects(there, "trip") == [*(f"books {what}" for what in ("flight", "hotel", "car")), *back]
    tree = there.run("runs", "tree", run).stdout
    assert tree.count("undone") == 3, tree
    assert tree.count("undo  ") == 3, tree


def test_a_step_killed_between_its_start_and_its_record_is_settled_by_its_verify(there: Deployment) -> None:
    run = triggered(there, "checkout", {"name": "known", "known": True})
    kill_worker(there, at_gate(there, "known")[0])
    assert reaches(there, run, "completed")["result"] == "found paid"
    assert effects(there, "known") == ["pays", "said found paid"]


@pytest.mark.parametrize(
    ("option", "value", "result", "did"),
    [
        ("--done JSON", "'\"by hand\"'", "by hand", ["pays", "said by hand"]),
        ("--not-done", "", "paid", ["pays", "pays", "said paid"]),
    ],
)
def test_without_verify_it_pauses_and_goes_on_by_the_command_that_is_printed(
    there: Deployment, option: str, value: str, result: str, did: list[str]
) -> None:
    name = f"blind{option.split()[0]}"
    run = triggered(there, "checkout", {"name": name, "known": False})
    kill_worker(there, at_gate(there, name)[0])
    question = asks(there, run)["paused"]
    assert question == "step pay_blind began and its outcome is not known"
    listed = [row["id"] for row in there.json("runs", "list", "--paused")]
    assert listed == [run]
    assert question in there.run("runs", "list", "--paused").stdout
    shown, tree = there.run("runs", "show", run).stdout, there.run("runs", "tree", run).stdout
    assert question in shown
    assert (
        printed(shown)
        == printed(tree)
        == [
            f"holdfast runs resolve {run} '/pay_blind#1' --done JSON",
            f"holdfast runs resolve {run} '/pay_blind#1' --not-done",
        ]
    )
    wrong = refusal(there.run("runs", "resolve", run, "/pay_blind#1", "--skip", check=False))
    assert "--not-done" in wrong
    assert state(there, run)["paused"] == question

    open_gate(there, name)
    (command,) = [line for line in printed(shown) if line.endswith(option)]
    done = typed(there, command.replace("JSON", value))
    assert done.returncode == 0, done.stderr
    assert reaches(there, run, "completed")["result"] == result
    assert effects(there, name) == did


# --- changed code


def write(there: Deployment, module: str, source: str) -> None:
    """Write a module whose task has the module's name."""
    (there.home / f"{module}.py").write_text(source.replace("NAME", module))


def diverged(there: Deployment, name: str) -> str:
    """A run that pauses, because the code was changed under it."""
    run = triggered(there, name, {"name": name})
    at_gate(there, name)
    write(there, name, CHANGED)
    checked = there.run("runs", "check", check=False)
    assert checked.returncode == 1, checked.stdout + checked.stderr
    assert run in checked.stdout
    assert "diverges" in checked.stdout
    replace_workers(there)
    asks(there, run)
    (accept, retry) = printed(there.run("runs", "show", run).stdout)
    assert accept.endswith(" --accept")
    assert retry.endswith(" --retry")
    assert effects(there, name) == ["old way"]
    return run


def test_changed_code_is_checked_before_pauses_and_goes_on_the_new_way_where_that_is_accepted(
    there: Deployment,
) -> None:
    run = diverged(there, "accepted")
    open_gate(there, "accepted")
    (accept, _) = printed(there.run("runs", "tree", run).stdout)
    assert typed(there, accept).returncode == 0
    assert reaches(there, run, "completed")["result"] == "end"
    assert effects(there, "accepted") == ["old way", "new way", "end"]
    assert "another way" in there.run("runs", "tree", run).stdout


def test_restored_code_goes_on_the_recorded_way_when_it_is_told_to_look_again(there: Deployment) -> None:
    run = diverged(there, "restored")
    write(there, "restored", PLIANT)
    assert there.run("runs", "check").returncode == 0
    replace_workers(there)
    assert state(there, run)["paused"]
    open_gate(there, "restored")
    (_, retry) = printed(there.run("runs", "tree", run).stdout)
    assert typed(there, retry).returncode == 0
    assert reaches(there, run, "completed")["result"] == "end"
    assert effects(there, "restored") == ["old way", "end"]


# --- ends


def test_children_follow_a_waiting_parent_that_is_cancelled(there: Deployment) -> None:
    run = triggered(there, "waits-for-child", {"name": "C1"})
    child = waits_for(there, run)["id"]
    reaches(there, child, "waiting")
    there.run("runs", "cancel", run, "--reason", "not wanted")
    assert reaches(there, run, "cancelled")["reason"] == "not wanted"
    assert run in reaches(there, child, "cancelled")["reason"]


def test_a_cancelled_run_cleans_up_and_is_undone_and_a_killed_one_is_not_undone(there: Deployment) -> None:
    for name, options in (("told", ()), ("killed", ("--kill",))):
        run = triggered(there, "loiters", {"name": name})
        at_gate(there, name)
        there.run("runs", "cancel", run, *options)
        reaches(there, run, "cancelled")
        open_gate(there, name)
    assert effects(there, "told") == ["books room", "cleans up", "gives back room"]
    assert "gives back room" not in effects(there, "killed")
    assert "comes out" not in effects(there, "killed")
    assert there.json("runs", "list", "--task", "loiters", "--state", "compensating") == []


def test_a_run_that_nobody_takes_within_its_time_to_live_expires(there: Deployment) -> None:
    there.run("queues", "pause", "slow")
    expires = there.json("trigger", "late", '{"name": "late"}', "--ttl", "1s")[0]["run"]
    keeps = triggered(there, "late", {"name": "kept"})
    assert reaches(there, expires, "expired")["reason"].startswith("it had to start by 20")
    there.run("queues", "resume", "slow")
    reaches(there, keeps, "completed")
    assert (effects(there, "late"), effects(there, "kept")) == ([], ["ran"])
    assert state(there, expires)["state"] == "expired"


def test_a_deadline_ends_a_run_in_its_sleep_and_before_a_backoff_that_would_pass_it(there: Deployment) -> None:
    options = ("--timeout-schedule-to-close", "2s")
    sleeper = there.json("trigger", "sleeps", '{"name": "s"}', *options)[0]["run"]
    tries = there.json("trigger", "backs-off", '{"name": "backs"}', *options)[0]["run"]
    begun = time.monotonic()
    shown = reaches(there, tries, "timed_out")
    assert time.monotonic() - begun < 2
    assert shown["reason"] == "schedule_to_close: the next retry would come after it"
    assert "not now" in shown["error"]["message"] + shown["error"]["traceback"]
    assert effects(there, "backs") == ["tries"]
    assert reaches(there, sleeper, "timed_out")["reason"] == "schedule_to_close"


def test_each_hook_runs_once_for_its_run_also_when_the_daemon_is_killed_in_between(there: Deployment) -> None:
    failing = [triggered(there, "watched", {"name": "fails", "n": n}) for n in range(4)]
    cancelled = [triggered(there, "watched", {"name": "stays", "n": n}) for n in range(2)]
    at_gate(there, "fails", times=4)
    at_gate(there, "stays", times=2)
    there.run("runs", "cancel", *cancelled)
    open_gate(there, "fails")
    there.kill()
    there.start()
    for run in failing:
        reaches(there, run, "dead")
    for run in cancelled:
        reaches(there, run, "cancelled")
    until(lambda: hooks(there) >= {*failing, *cancelled}, lambda: f"{there.lines()}\n{there.log()}", within=15)
    for on, ended in (("failure", failing), ("cancel", cancelled)):
        made = there.json("runs", "list", "--task", f"watched--on-{on}")
        assert Counter(row["source"] for row in made) == {f"hook {on} of {run}": 1 for run in ended}
        for row in made:
            reaches(there, row["id"], "completed")


def hooks(there: Deployment) -> set[str]:
    """The runs whose hooks have run."""
    return {line.split()[2] for line in there.lines() if line.startswith("hook ")}


# --- made again


def test_a_run_is_forked_edited_compared_replayed_exported_and_imported(there: Deployment, tmp_path: Path) -> None:
    origin = triggered(there, "order", {"name": "first"})
    assert reaches(there, origin, "completed")["result"] == {"paid": 30, "to": "Lyon"}

    fork = there.run("runs", "fork", origin, "--from", "/does#1", "--set", '/fill#1.address.city="Rome"').stdout.strip()
    assert reaches(there, fork, "completed")["result"] == {"paid": 30, "to": "Rome"}
    assert effects(there, "first") == ["fills", "charges 30", "charges 30"]
    parting = there.run("runs", "diff", origin, fork).stdout.splitlines()[0]
    assert parting == 'the runs part at /fill#1.address.city: "Lyon" | "Rome" (edited)'

    replay = there.run("runs", "replay", origin).stdout.strip()
    assert reaches(there, replay, "completed")["result"] == {"paid": 30, "to": "Lyon"}
    assert "the runs are the same" in there.run("runs", "diff", origin, replay).stdout
    assert effects(there, "first").count("fills") == 2
    made = there.run("runs", "show", origin).stdout
    assert fork in made
    assert replay in made

    file = tmp_path / "order.jsonl"
    there.run("runs", "export", fork, "-o", str(file))
    there.run("runs", "import", str(file), "--project", "archive")
    before = len(there.lines())
    (there_too,) = there.json("runs", "show", fork, "--project", "archive")
    assert there_too["row"]["state"] == "completed"
    assert there_too["result"] == {"paid": 30, "to": "Rome"}
    trees = [there.json("runs", "tree", fork, "--project", project) for project in ("default", "archive")]
    assert trees[0] == trees[1] != []
    assert len(there.lines()) == before


def test_a_task_is_verified_on_the_command_line(there: Deployment) -> None:
    payload = '{"name": "verified"}'
    done = there.run("verify", "tasks:order", "--payload", payload)
    assert "no difference" in done.stdout
    assert there.json("runs", "list", "--text", "verified") == []


# --- secrets

SECRET = "s3cr3t-" + "x9Q7" * 4
ENDS = {"return": "completed", "raise": "dead", "print": "completed"}


def test_a_secret_is_in_no_file_and_no_output_whatever_a_task_does_with_it(there: Deployment) -> None:
    told = subprocess.run(
        [*HOLDFAST, "secrets", "set", "API_KEY"],
        input=f"{SECRET}\n", cwd=there.home, env=there.env, capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    runs = {triggered(there, "leaks", {"how": how}): end for how, end in ENDS.items()}
    said = [told.stdout, told.stderr]
    for run, end in runs.items():
        assert SECRET not in str(reaches(there, run, end))
        said += [there.run("runs", command, run).stdout for command in ("show", "history", "export")]
    until(lambda: there.run("logs").stdout.count("in a step: [secret]") == 3, there.log, within=10)
    said += [there.run(*words.split()).stdout for words in ("logs", "secrets list", "dlq list --json")]
    for line in ("the key is", "logged", "own handler", "own logger"):
        assert said[-3].count(f"{line} [secret]") == 3, said[-3]
    assert sum("[secret]" in text for text in said) >= 4
    for text in said:
        assert SECRET not in text
    files = [path for path in there.home.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
