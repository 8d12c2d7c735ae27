"""Makes docs/desk.svg from the real program: `uv run python docs/picture/make.py`.

A daemon, a worker and real runs; the desk is opened without a terminal, driven by keys, and prints its own screen.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import anyio

from holdfast.client import Client, connect
from holdfast.config import load
from holdfast_daemon.app import daemon
from holdfast_tui.app import Desk
from holdfast_tui.gateway import Gateway

HERE = Path(__file__).parent
PICTURE = HERE.parent / "desk.svg"
ORDER = {"order_id": "A-1001", "items": ["keyboard", "mouse", "cable"]}


async def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        file = Path(home) / "holdfast.toml"
        file.write_text('[nats]\nport = 0\n[daemon]\nhttp = "127.0.0.1:0"\n')
        os.environ["HOLDFAST_CONFIG"] = str(file)
        os.environ["PYTHONPATH"] = str(HERE)
        async with daemon(load(env=os.environ), modules=["shop"], workers=1):
            await pictured()


async def pictured() -> None:
    async with connect() as client:
        run = await client.trigger("process-order", ORDER)
        await run.result(timeout=20)
        await draw(run.id)


async def draw(run: str) -> None:
    async def another() -> Client:
        return await connect(name="tui").open()

    gateway = Gateway(another, project="default")
    desk = Desk(gateway)
    async with anyio.create_task_group() as tasks:
        await tasks.start(gateway.run)
        async with desk.run_test(size=(104, 27)) as pilot:
            await anyio.sleep(1.0)
            desk.open_run(run)
            await anyio.sleep(1.5)
            await pilot.press(*"jjjjj")
            await anyio.sleep(0.5)
            PICTURE.write_text(without_fonts(desk.export_screenshot(title="holdfast tui")))
        tasks.cancel_scope.cancel()


def without_fonts(svg: str) -> str:
    """The picture with the reader's own monospaced font: it fetches nothing."""
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    return svg.replace("Fira Code", "monospace")


if __name__ == "__main__":
    anyio.run(main)
