"""Creates the data folder, and checks its owner, its permissions and the free space.

A failed check raises an error with one sentence for the user. The checks precede every write, since
Postgres, Redis and SQLite report a full or read-only file system in their own terms and in the
middle of a start.
"""

import errno
import os
import pwd
from pathlib import Path

from backend.embedded import system_user

MB = 2**20
# A new instance takes 50 MB in 1,500 files. Its write-ahead log grows with use, up to 1 GB.
NEW_BYTES, NEW_FILES = 200 * MB, 3_000
STARTED_BYTES, STARTED_FILES = 20 * MB, 100
OTHERWISE = "or choose another folder with --data"
# The system user that runs Postgres for root passes through the folder, and can't list it.
PRIVATE, PASSABLE = 0o700, 0o711


class DataFolderError(Exception):
    """The folder can't be used; the message gives the problem and the remedy."""


def prepare(folder: Path) -> Path:
    """Create the folder unless it exists, and return its absolute path. Raises DataFolderError."""
    folder = folder.expanduser().resolve()
    try:
        if not folder.exists():
            folder.mkdir(parents=True)
            folder.chmod(PASSABLE if system_user.is_needed() else PRIVATE)
        _check_owner(folder)
        _check_writable(folder)
        _check_room(folder)
        _close(folder)
    except OSError as error:
        reason = explain(error, folder) or _unusable(str(folder), error)
        raise DataFolderError(reason) from error
    return folder


def _close(folder: Path) -> None:
    """Remove the permissions of other users from logs and data, which earlier versions left
    readable.
    """
    logs = folder / "logs"
    for path in (logs, *logs.glob("*.log"), *folder.glob("stripe-sandbox.sqlite*")):
        if path.exists() and (mode := path.stat().st_mode & 0o777) & ~PRIVATE:
            path.chmod(mode & PRIVATE)


def explain(error: OSError, folder: Path) -> str | None:
    """Return a sentence for an error of the file system, or None for an error of another kind."""
    path = error.filename if isinstance(error.filename, str) else str(folder)
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return f"The file system of {path} is full. Free some space or files, {OTHERWISE}."
        case errno.EROFS:
            return f"The file system of {path} is read-only. Mount it for writing, {OTHERWISE}."
        case errno.EACCES | errno.EPERM:
            return (
                f"{_user_name(os.geteuid())} may not write {path}, which belongs to "
                f"{_owner(Path(path))}. Run this as that user, {OTHERWISE}."
            )
        case errno.ENOTDIR | errno.EEXIST:
            return f"A file is in the place of the folder {path}. Choose another with --data."
        case errno.ENOLCK | errno.ENOTSUP | errno.EIO | errno.ENAMETOOLONG:
            return _unusable(path, error)
    return None


def _unusable(path: str, error: OSError) -> str:
    return f"{path} can't be used: {error.strerror}. Choose another folder with --data."


def _check_owner(folder: Path) -> None:
    """Raises DataFolderError for the data of another user.

    Root could read it, but Postgres refuses a cluster of another owner, and files that root adds
    would be closed to that owner.
    """
    secrets = folder / "secrets.json"
    if secrets.exists() and (owner := secrets.stat().st_uid) != os.geteuid():
        name = _user_name(owner)
        raise DataFolderError(
            f"The data in {folder} belongs to {name}. Run this as {name}, {OTHERWISE}."
        )


def _check_writable(folder: Path) -> None:
    """Raises OSError when no file can be created in the folder."""
    probe = folder / f".write-{os.getpid()}"
    probe.write_bytes(b"0")
    probe.unlink()


def _check_room(folder: Path) -> None:
    started = (folder / "postgres" / "PG_VERSION").exists()
    size, files = (STARTED_BYTES, STARTED_FILES) if started else (NEW_BYTES, NEW_FILES)
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    if free < size:
        raise DataFolderError(
            f"The file system of {folder} has {free // MB} MB free, and GitTix needs "
            f"{size // MB} MB. Free some space, {OTHERWISE}."
        )
    # File systems without a fixed number of inodes report none in all.
    if found.f_files and found.f_favail < files:
        raise DataFolderError(
            f"The file system of {folder} has room for {found.f_favail:,} more files (inodes), and "
            f"GitTix needs {files:,}. Delete some files, {OTHERWISE}."
        )


def _owner(path: Path) -> str:
    """The owner of the path, or of the nearest parent that this process may examine."""
    for ancestor in (path, *path.parents):
        try:
            return _user_name(ancestor.stat().st_uid)
        except OSError:
            continue
    return "another user"


def _user_name(user_id: int) -> str:
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return f"user {user_id}"
