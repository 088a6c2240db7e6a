"""The settings of pytest: a connection that a test leaves open does not stop the run."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEST = """
import asyncio
import socket

import uvloop


def test_a_transport_is_left_open():
    loop = uvloop.new_event_loop()
    ours, theirs = socket.socketpair()
    with theirs:
        loop.run_until_complete(loop.create_connection(asyncio.Protocol, sock=ours))
        loop.close()
"""


def test_an_event_loop_with_an_open_transport_is_closed_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "test_left_open.py").write_text(TEST)
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml")]
    done = subprocess.run(
        [*command, "--rootdir", str(tmp_path), "test_left_open.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "ResourceWarning: unclosed resource <" in done.stdout
