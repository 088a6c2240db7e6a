"""The commands of docs/tour.md run as they are written and print the replies of the page."""

import asyncio
import re
import sys
from pathlib import Path

from tests.system import System

TOUR = Path(__file__).parents[1] / "docs/tour.md"
BLOCK = re.compile(r"^```(sh)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
HOLD_SECONDS = 4
# The parts of a reply that the page's shortened form keeps; and a ticket's status by itself.
SHOWN = re.compile(r'"code":"\w+"|"status":(?:"\w+"|\d+)|^available$', re.MULTILINE)


async def test_each_command_of_the_tour_prints_the_reply_of_the_page(
    system: System, tmp_path: Path
) -> None:
    system.configure(HOLD_SECONDS=str(HOLD_SECONDS))
    await system.start("stripe", "push", "api", "worker", "relay")
    commands, shown = read(system)
    printed = await run(commands, tmp_path)
    assert [value for value in SHOWN.findall(printed) if value in shown] == shown
    for event in ("held", "extended", "reserved", "sold", "released"):
        assert f'{{"event":"ticket.{event}' in printed


def read(system: System) -> tuple[str, list[str]]:
    """The page's commands, for this system; and the values in the replies that it shows."""
    blocks = BLOCK.findall(TOUR.read_text())
    commands = "\n".join(text for kind, text in blocks if kind and "gittix check" not in text)
    shown = [value for kind, text in blocks if not kind for value in SHOWN.findall(text)]
    for found, replacement in {
        "http://localhost:8000": system.url,
        "ws://localhost:8001": f"ws://127.0.0.1:{system.ports['push']}",
        ".venv/bin/": f"{Path(sys.executable).parent}/",
        "sleep 61": f"sleep {HOLD_SECONDS + 1}",
        "sleep 120": f"sleep {HOLD_SECONDS + 6}",
    }.items():
        assert found in commands
        commands = commands.replace(found, replacement)
    return commands, shown


async def run(commands: str, folder: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        f"{commands}\nwait",
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    return printed.decode()
