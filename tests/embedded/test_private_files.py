"""Only the owner of an instance reads its logs, its ledger and its other files."""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from backend.embedded import data_folder
from tests.embedded.running import running

pytestmark = pytest.mark.timeout(180)

OTHERS = stat.S_IRWXG | stat.S_IRWXO
# As root, Postgres's system user passes through the folder; nobody lists it.
PASSABLE = {"", "run"}


@pytest.fixture
def parent() -> Iterator[Path]:
    """A folder that all users may enter, as the folders above a clone."""
    folder = Path(tempfile.mkdtemp(prefix="gtprivate-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def open_to_others(folder: Path) -> dict[str, str]:
    """The files and folders in `folder` that others may read, write, list or enter."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        name = "" if path == folder else str(path.relative_to(folder))
        mode = stat.S_IMODE(path.lstat().st_mode)
        allowed = stat.S_IXOTH | stat.S_IXGRP if name in PASSABLE else 0
        # A socket's folder decides for Postgres's own socket.
        if not path.is_symlink() and mode & OTHERS & ~allowed and not path.is_socket():
            found[name] = oct(mode)
    return found


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def use(folder: Path, user: str | None) -> None:
    """Run an instance until it has a request in its logs and an intent in its ledger."""
    async with running(folder, "--no-demo", "--no-frontend", user=user) as up:
        await up.until_up()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{up.stripe_port}") as sandbox:
            await sandbox.get("/v1/payment_intents")
        assert {"logs", "stripe-sandbox.sqlite", "secrets.json", "redis", "run"} <= names(folder)
        assert len(names(folder / "logs")) >= 8
        assert open_to_others(folder) == {}


async def test_an_instance_of_root_or_of_this_user_is_closed_to_others(parent: Path) -> None:
    await use(parent / "data", None)


async def test_an_instance_of_an_ordinary_user_is_closed_to_others(parent: Path) -> None:
    user = "nobody" if os.geteuid() == 0 else None
    if user:
        shutil.chown(parent, user)
    await use(parent / "data", user)
    assert stat.S_IMODE((parent / "data").stat().st_mode) == data_folder.PRIVATE


def test_what_an_earlier_version_left_readable_is_closed(parent: Path) -> None:
    folder = parent / "data"
    logs = folder / "logs"
    logs.mkdir(parents=True)
    readable = [logs / "api.log", *(folder / f"stripe-sandbox.sqlite{end}" for end in ("", "-wal"))]
    for file in readable:
        file.touch()
        file.chmod(0o644)
    others = folder / "notes.txt"
    others.touch()
    others.chmod(0o644)
    folder.chmod(0o755)
    data_folder.prepare(folder)
    assert {stat.S_IMODE(file.stat().st_mode) for file in readable} == {0o600}
    assert stat.S_IMODE(logs.stat().st_mode) == data_folder.PRIVATE
    # The folder and what else is in it may be the user's own.
    assert stat.S_IMODE(others.stat().st_mode) == 0o644
