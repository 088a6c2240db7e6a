"""The processes of an instance, with their CPU and memory, from /proc."""

import os
from collections.abc import Iterator
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def programs() -> dict[str, int]:
    """The processes of the instance, a child of this one, by name."""
    parents = {pid: parent for pid, parent, _ in _processes()}
    (up,) = [
        pid for pid, parent in parents.items() if parent == os.getpid() and "up" in _command(pid)
    ]
    return {_name(_command(pid)): pid for pid, parent in parents.items() if parent == up}


def _name(command: list[str]) -> str:
    if "backend.cli" not in command:
        # Redis rewrites its own command line: its path, then its address.
        return Path(command[0].split()[0]).name.partition("-")[0]
    words = command[command.index("backend.cli") + 1 :]
    return words[1] if words[0] in {"serve", "worker"} and len(words) > 1 else words[0]


def cpu_of(root: int) -> float:
    """CPU seconds of a process and its descendants, including ended ones."""
    found = list(_processes())
    family, grown = {root}, 0
    while len(family) > grown:
        grown = len(family)
        family |= {pid for pid, parent, _ in found if parent in family}
    return sum(ticks for pid, _, ticks in found if pid in family) / TICK


def memory_of(pid: int) -> int:
    """The resident memory of a process, in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def _processes() -> Iterator[tuple[int, int, int]]:
    """Each process's id, parent, and CPU ticks including those of its reaped children."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            yield int(entry.name), int(fields[1]), sum(map(int, fields[11:15]))


def _command(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
