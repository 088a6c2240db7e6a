"""The folder of an instance's Unix sockets: inside its data folder, else in the temporary folder.

A Unix socket's path has at most 107 bytes, and some file systems (exFAT, several FUSE and network
file systems) hold no sockets.
"""

import os
import socket
import stat
import tempfile
from hashlib import sha256
from pathlib import Path

PATH_BYTES = 107
# The longest name below the folder is "/postgres/.s.PGSQL.5432", of 23 bytes.
NAME_BYTES = 30


class SocketFolderError(Exception):
    """No folder for the sockets can be used; the message gives the problem and the remedy."""


def socket_folder(data: Path) -> Path:
    """Return the folder for the sockets of the instance in `data`, which must exist.

    Raises SocketFolderError when neither `data` nor the temporary folders can hold sockets.
    """
    name = f"gittix-{sha256(os.fsencode(data)).hexdigest()[:12]}"
    temporary = (Path(tempfile.gettempdir()), Path("/tmp"))  # noqa: S108 - see create()
    for folder in (data / "run", *(parent / name for parent in temporary)):
        if len(os.fsencode(folder)) + NAME_BYTES <= PATH_BYTES and _takes_sockets(folder.parent):
            return folder
    raise SocketFolderError(
        f"Neither {data} nor {tempfile.gettempdir()} can hold Unix sockets. "
        "Choose a folder with a short path on a local disk with --data."
    )


def create(folder: Path) -> None:
    """Create the folder. Others may pass through it: Postgres's own folder is inside.

    Raises SocketFolderError when another user owns it: in the temporary folder, any user may
    create a folder of this name, and would control the sockets in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise SocketFolderError(
            f"The folder for Unix sockets, {folder}, belongs to another user. "
            "Remove it, or set TMPDIR to a folder of your own."
        )
    folder.chmod(0o711)


def _takes_sockets(folder: Path) -> bool:
    """Whether a socket can be bound in the folder."""
    path = folder / f".gittix-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.bind(str(path))
        except OSError:
            return False
        path.unlink()
    return True
