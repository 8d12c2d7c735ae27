"""holdfast as a user runs it: `holdfast up` in a directory of its own, to be killed in parts and started again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import forked
from servers import free_port

HOLDFAST = [sys.executable, "-c", "from holdfast.cli import main; main()"]


class Deployment:
    """A data directory, a tasks module, and the daemon that serves them."""

    def __init__(
        self,
        home: Path,
        tasks: str,
        *,
        workers: int = 1,
        durability: str = "interval",
        auth: str = "off",
        options: tuple[str, ...] = (),
        url: str = "",
        more: str = "",
    ) -> None:
        """
        Args:
            options: of `holdfast up`, besides.
            url: of a server that is not the daemon's own.
            more: further lines of its configuration.
        """
        self.home = home
        self.effects = home / "effects.txt"
        self._workers = workers
        self._options = options
        self._daemon: subprocess.Popen[bytes] | None = None
        home.mkdir(parents=True, exist_ok=True)
        (home / "tasks.py").write_text(tasks)
        self.http = f"http://127.0.0.1:{free_port()}"
        (home / "holdfast.toml").write_text(
            (f'[nats]\nurl = "{url}"\n' if url else f'[nats]\nport = {free_port()}\ndurability = "{durability}"\n')
            + f'[daemon]\nhttp = "{self.http.removeprefix("http://")}"\n[http]\nauth = "{auth}"\n'
            f'[projects.default]\nmodules = ["tasks"]\ndrain = 2\n{more}'
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def env(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
        return {**kept, "HOLDFAST_CONFIG": str(self.home / "holdfast.toml"), "EFFECTS": str(self.effects)}

    @property
    def pid(self) -> int:
        """Of the daemon."""
        assert self._daemon is not None
        return self._daemon.pid

    def start(self) -> None:
        """Start the daemon; returns when its workers serve."""
        with (self.home / "up.log").open("ab") as log:
            before = log.tell()
            daemon = self._daemon = subprocess.Popen(
                [*HOLDFAST, "up", "--workers", str(self._workers), *self._options],
                cwd=self.home,
                env=self.env,
                stdout=log,
                stderr=log,
            )
        until(lambda: daemon.poll() is not None or b"Ctrl-C stops" in self._said(before), self.log)
        assert daemon.poll() is None, self.log()
        until(lambda: len(self.workers()) >= self._workers, self.log)

    def _said(self, since: int) -> bytes:
        """What the daemon has printed."""
        return (self.home / "up.log").read_bytes()[since:]

    def said(self, text: str) -> bool:
        """Whether the daemon has printed this."""
        return text.encode() in self._said(0)

    def stop(self) -> None:
        """Stop it politely."""
        if self._daemon is not None and self._daemon.poll() is None:
            self._daemon.send_signal(signal.SIGTERM)
            self._daemon.wait(timeout=30)

    def signal(self, *signals: signal.Signals) -> None:
        """Send the daemon these signals, one after the other."""
        assert self._daemon is not None
        for number in signals:
            self._daemon.send_signal(number)
            time.sleep(0.05)  # two of a kind at once are one

    def poll(self) -> int | None:
        """The daemon's exit code; None while it runs."""
        assert self._daemon is not None
        return self._daemon.poll()

    def kill(self) -> None:
        """Kill the daemon."""
        assert self._daemon is not None
        self._daemon.kill()
        self._daemon.wait()

    def log(self) -> str:
        """What went wrong, for a failing test to show."""
        texts = [self.home / "up.log", self.home / ".holdfast" / "workers.log"]
        return "\n".join(f"{path.name}: {path.read_text()[-2000:]}" for path in texts if path.exists())

    def run(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command line."""
        done = forked.run(args, cwd=self.home, env=self.env)
        assert not check or done.returncode == 0, f"{args}: {done.stdout}{done.stderr}\n{self.log()}"
        return done

    def json(self, *args: str) -> list[Any]:
        """What a command prints with --json."""
        return [json.loads(line) for line in self.run(*args, "--json").stdout.splitlines()]

    def trigger(self, task: str, payload: dict[str, Any] | None = None) -> str:
        """Start a run; its id."""
        return str(self.json("trigger", task, json.dumps(payload or {}))[0]["run"])

    def workers(self) -> dict[str, int]:
        """Pids of the workers that have said they live, by name."""
        done = self.run("workers", "list", "--json", check=False)
        rows = [json.loads(line) for line in done.stdout.splitlines()] if done.returncode == 0 else []
        return {row["worker"]: row["pid"] for row in rows if alive(row["pid"])}

    def lines(self) -> list[str]:
        """The side effects so far, in order."""
        return self.effects.read_text().splitlines() if self.effects.exists() else []

    def children(self) -> set[int]:
        """Processes of this deployment, the daemon's own included, found by their environment and files."""
        return {pid for pid in processes() if str(self.home) in environment(pid)}


def processes() -> Iterator[int]:
    yield from (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def environment(pid: int) -> str:
    """Command line and environment of a process; empty where it is gone."""
    with suppress(OSError):
        base = Path(f"/proc/{pid}")
        return (base / "cmdline").read_text(errors="replace") + (base / "environ").read_text(errors="replace")
    return ""


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(true: Callable[[], Any], why: Callable[[], str] = lambda: "", *, within: float = 30.0) -> None:
    """Poll until something holds; what does not come in time is a failure, not a slow pass."""
    end = time.monotonic() + within
    while not true():
        assert time.monotonic() < end, f"not within {within:g} s\n{why()}"
        time.sleep(0.02)


@contextmanager
def taken(port: int) -> Iterator[None]:
    """A port that somebody else listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        yield
