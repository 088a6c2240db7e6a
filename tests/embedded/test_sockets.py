"""The folder of the Unix sockets: in the data folder, or in the temporary one where it must be."""

import os
import socket
import tempfile
from pathlib import Path

import pytest

from backend.embedded import sockets
from backend.embedded.sockets import SocketFolderError, socket_folder

NOBODY = 65_534


def test_sockets_are_in_the_data_folder(folder: Path) -> None:
    assert socket_folder(folder) == folder / "run"


@pytest.mark.parametrize("name", ["x" * 80, "ü" * 40])
def test_a_path_of_too_many_bytes_is_replaced(folder: Path, name: str) -> None:
    data = folder / name
    data.mkdir()
    chosen = socket_folder(data)
    assert chosen.parent == Path(tempfile.gettempdir())
    assert socket_folder(data) == chosen
    chosen.mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(chosen / "postgres.s.PGSQL.5432"))
    (chosen / "postgres.s.PGSQL.5432").unlink()
    chosen.rmdir()


def test_a_file_system_without_sockets_is_replaced() -> None:
    # sysfs binds no socket, for any user.
    assert socket_folder(Path("/sys/kernel")).parent == Path(tempfile.gettempdir())


def test_no_folder_for_sockets_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "PATH_BYTES", 10)
    with pytest.raises(SocketFolderError, match="Choose a folder with a short path"):
        socket_folder(Path("/sys/kernel"))


def test_a_folder_of_sockets_that_is_a_link_is_refused(folder: Path) -> None:
    target, link = folder / "target", folder / "link"
    target.mkdir()
    link.symlink_to(target)
    with pytest.raises(SocketFolderError, match="belongs to another user"):
        sockets.create(link)


def test_a_folder_of_sockets_of_another_user_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = folder / "foreign"
    foreign.mkdir()
    if os.geteuid() == 0:
        os.chown(foreign, NOBODY, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    with pytest.raises(SocketFolderError, match="belongs to another user"):
        sockets.create(foreign)
