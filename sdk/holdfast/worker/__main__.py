"""`python -m holdfast.worker MODULE...`: a worker process as the daemon starts it, without the weight of the CLI."""

from __future__ import annotations

import logging
import os
import sys

from holdfast.config import load
from holdfast.errors import HoldfastError
from holdfast.worker.process import serve


def main() -> int:
    """Serve; 1 and one line to stderr where that can't begin."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    try:
        serve(load(env=os.environ), sys.argv[1:], name=os.environ.get("HOLDFAST_WORKER_ID"), ready=_say_ready)
    except HoldfastError as error:
        print(f"holdfast worker: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _say_ready(name: str) -> None:
    """Tell the pool that started us."""
    told = os.environ.get("HOLDFAST_READY_FD")
    if told is not None:
        os.write(int(told), b"1")
        os.close(int(told))


sys.exit(main())
