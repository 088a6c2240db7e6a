"""Data folders that can't be used: each condition is refused with one sentence before any write.

As root, each condition is real: a small, full or read-only tmpfs, a file of another user. Without
the right to mount, the kernel's answer is replaced by the one that it gives in that condition.
"""

import errno
import os
from pathlib import Path

import pytest

from backend.embedded import data_folder
from backend.embedded.data_folder import DataFolderError
from backend.embedded.instance import InstanceError, open_instance
from backend.embedded.ports import Ports
from loadtests.ports import free_port
from tests.embedded.file_systems import tmpfs
from tests.embedded.running import gittix

AS_ROOT = os.geteuid() == 0
NOBODY = 65_534
PORTS = Ports(1, 2, 3)


def refusal(folder: Path) -> str:
    with pytest.raises(DataFolderError) as raised:
        data_folder.prepare(folder)
    return str(raised.value)


def report_statvfs(monkeypatch: pytest.MonkeyPatch, **changed: int) -> None:
    """Let os.statvfs report these values."""
    names = (
        *("f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail"),
        *("f_files", "f_ffree", "f_favail", "f_flag", "f_namemax"),
    )
    real = os.statvfs

    def statvfs(path: Path) -> os.statvfs_result:
        found = real(path)
        return os.statvfs_result([changed.get(name, getattr(found, name)) for name in names])

    monkeypatch.setattr(os, "statvfs", statvfs)


def fail_writes(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let each write of a file raise this error."""

    def write_bytes(path: Path, _content: bytes) -> int:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "write_bytes", write_bytes)


def test_a_new_folder_is_created_with_its_parents(tmp_path: Path) -> None:
    folder = data_folder.prepare(tmp_path / "a" / "b")
    assert folder.is_dir()
    assert list(folder.iterdir()) == []


def test_too_little_space_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tmpfs(tmp_path, "size=2m") as mounted:
        if not mounted:
            report_statvfs(monkeypatch, f_frsize=4096, f_bavail=512)
        assert f"{tmp_path} has 2 MB free, and GitTix needs 200 MB" in refusal(tmp_path)


def test_a_full_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tmpfs(tmp_path, "size=1m") as mounted:
        if mounted:
            with pytest.raises(OSError, match="No space"):
                (tmp_path / "filler").write_bytes(bytes(2**21))
        else:
            fail_writes(monkeypatch, errno.ENOSPC)
        assert "is full. Free some space" in refusal(tmp_path)


def test_too_few_inodes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tmpfs(tmp_path, "size=1g,nr_inodes=50") as mounted:
        if not mounted:
            report_statvfs(monkeypatch, f_files=50, f_favail=48, f_bavail=2**30)
        assert "more files (inodes), and GitTix needs 3,000" in refusal(tmp_path)


def test_a_file_system_without_a_limit_of_inodes_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report_statvfs(monkeypatch, f_files=0, f_favail=0, f_bavail=2**30)
    data_folder.prepare(tmp_path)


def test_a_started_instance_needs_little_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tmpfs(tmp_path, "size=30m") as mounted:
        if not mounted:
            report_statvfs(monkeypatch, f_frsize=4096, f_bavail=7_000)
        (tmp_path / "postgres").mkdir()
        (tmp_path / "postgres" / "PG_VERSION").write_text("18\n")
        data_folder.prepare(tmp_path)


@pytest.mark.parametrize("name", ["", "new"])
def test_a_read_only_file_system_is_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tmpfs(tmp_path, "ro") as mounted:
        if not mounted:
            fail_writes(monkeypatch, errno.EROFS)
        assert "is read-only. Mount it for writing" in refusal(tmp_path / name)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "A file is in the place of the folder" in refusal(tmp_path / "file")
    assert "A file is in the place of the folder" in refusal(tmp_path / "file" / "below")


def test_a_folder_that_no_user_may_create_is_refused() -> None:
    assert "another folder with --data" in refusal(Path("/proc/gittix"))


def test_the_data_of_another_user_are_refused(tmp_path: Path) -> None:
    if not AS_ROOT:
        # Only root gives files away; root's own folder is another user's for anybody else.
        assert "belongs to root. Run this as that user" in refusal(Path("/gittix-data"))
        return
    secrets = tmp_path / "secrets.json"
    secrets.touch()
    os.chown(secrets, NOBODY, -1)
    assert f"The data in {tmp_path} belongs to nobody. Run this as nobody" in refusal(tmp_path)


def test_an_error_of_another_kind_is_not_explained(tmp_path: Path) -> None:
    assert data_folder.explain(OSError(errno.EPIPE, "Broken pipe"), tmp_path) is None


def test_damaged_secrets_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text('{"postgres_password": "x"')
    with pytest.raises(InstanceError, match=r"secrets\.json is damaged"):
        open_instance(tmp_path, PORTS)


async def test_the_command_prints_the_sentence_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    data = tmp_path / "file"
    with tmpfs(tmp_path, "size=2m") as mounted:
        if mounted:
            data = tmp_path / "data"
        status, output = await gittix("up", "--data", str(data), "--port", str(free_port()))
    assert status == 1
    assert output.startswith("gittix: ")
    assert len(output.splitlines()) == 1
