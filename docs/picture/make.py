"""Makes the pictures of docs/ from the real program: `uv run python docs/picture/make.py`.

A daemon, a worker and real runs; the desk is opened without a terminal, driven by keys, and prints its own screen.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import anyio

from holdfast.client import Client
from holdfast.config import load
from holdfast.connecting import connect
from holdfast_daemon.app import daemon
from holdfast_tui.app import Desk
from holdfast_tui.gateway import Gateway

HERE = Path(__file__).parent
PICTURES = HERE.parent
SIZE = (112, 30)
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
        await traffic(client)
        run = await client.trigger("process-order", ORDER)
        await run.result(timeout=20)
        await client.pause("images")
        for number in range(37):
            await client.trigger("resize", {"image": f"{number}.png"})
        await draw(run.id)


async def traffic(client: Client) -> None:
    """What goes on in a shop for some seconds."""
    for number in range(240):
        await client.trigger("resize", {"image": "x" * (number % 11)})
        await client.trigger("send-mail", {"to": f"u{number}@shop.example", "template": "welcome"})
        if number % 6 == 0:
            await client.trigger("send-mail", {"to": f"u{number}@shop.example", "template": "promo"})
        if number % 20 == 0:
            await client.trigger("send-mail", {"to": f"user {number}", "template": "welcome"})
        await anyio.sleep(0.05)


async def draw(run: str) -> None:
    async def another() -> Client:
        return await connect(name="tui").open()

    gateway = Gateway(another, project="shop")
    desk = Desk(gateway)
    async with anyio.create_task_group() as tasks:
        await tasks.start(gateway.run)
        async with desk.run_test(size=SIZE) as pilot:
            await anyio.sleep(1.5)
            await pilot.press("j")
            await take(desk, "queues")
            await pilot.press("4")
            await anyio.sleep(1.5)
            await pilot.press("j", "j", "j")
            await take(desk, "dead")
            desk.open_run(run)
            await anyio.sleep(1.5)
            await pilot.press(*"jjjjj")
            await take(desk, "desk")
            await pilot.press("t")
            await take(desk, "timeline")
        tasks.cancel_scope.cancel()


async def take(desk: Desk, name: str) -> None:
    """Take a picture once what is shown has arrived."""
    await anyio.sleep(1.5)
    (PICTURES / f"{name}.svg").write_text(without_fonts(desk.export_screenshot(title="holdfast tui")))


def without_fonts(svg: str) -> str:
    """The picture with the reader's own monospaced font: it fetches nothing."""
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    return svg.replace("Fira Code", "monospace")


if __name__ == "__main__":
    anyio.run(main)
