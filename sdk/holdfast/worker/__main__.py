"""`python -m holdfast.worker [--tolerant] MODULE...`: a worker as the daemon starts it, without the weight of the CLI.

It tells the pool that started it, over a pipe, when it serves: `SERVES`, behind a line for each module that is wrong
and was left out. That is tolerated where others run already; else it is an error.
"""

from __future__ import annotations

import logging
import os
import sys

from holdfast.config import load
from holdfast.errors import ConnectError, HoldfastError
from holdfast.worker.process import serve

SERVES = b"serves\n"

WRONG, NO_CONNECTION = 1, 3
"""Exit codes, as those of the CLI."""

log = logging.getLogger("holdfast.worker")


def main() -> int:
    """Serve; an exit code and one line to stderr where that can't begin."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    tolerant, modules = sys.argv[1:2] == ["--tolerant"], [word for word in sys.argv[1:] if word != "--tolerant"]
    wrong: list[str] = []
    try:
        serve(
            load(env=os.environ),
            modules,
            name=os.environ.get("HOLDFAST_WORKER_ID"),
            tolerate=wrong.append if tolerant else None,
            ready=lambda name: _say_ready(wrong),
        )
    except HoldfastError as error:
        print(f"holdfast worker: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
        return NO_CONNECTION if isinstance(error, ConnectError) else WRONG
    return 0


def _say_ready(wrong: list[str]) -> None:
    """Tell the pool that started us."""
    for text in wrong:
        log.error("left out, the other modules are served: %s", text)
    told = os.environ.get("HOLDFAST_READY_FD")
    if told is not None:
        os.write(int(told), "".join(f"{text}\n" for text in wrong).encode("utf-8", "replace") + SERVES)
        os.close(int(told))


sys.exit(main())
