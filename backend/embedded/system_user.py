"""The system user that runs Postgres when GitTix itself runs as root: Postgres refuses to.

The user is created at the first need. It has no login, no home and no group but its own. To let it
pass through a folder that is closed to others (root's home, or a `mktemp -d`), the folder gets a
POSIX ACL entry that allows this one user to search it: neither to list nor to write it. Modes
are never widened for all users, except inside the installed Postgres package, which has no secret.
"""

import errno
import os
import pwd
import stat
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

NAME = "gittix-postgres"

ACL = "system.posix_acl_access"
ACL_VERSION = struct.Struct("<I")
# A tag, permissions and a user's or group's id: linux/posix_acl_xattr.h.
ACL_ENTRY = struct.Struct("<HHI")
ACL_USER_OBJ, ACL_USER, ACL_GROUP_OBJ, ACL_MASK, ACL_OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
ACL_NO_ID = 0xFFFF_FFFF
SEARCH = 0x1

Entry = tuple[int, int, int]


class SystemUserError(Exception):
    """Postgres can't run as its system user here; the message gives the problem and the remedy."""


class Credentials(TypedDict, total=False):
    """The arguments of `subprocess` that set a child's user and groups; empty: the caller's own."""

    user: str
    group: int
    extra_groups: Sequence[int]


def is_needed() -> bool:
    return os.geteuid() == 0


def credentials() -> Credentials:
    """The credentials of Postgres's processes. Without the group, they would keep root's."""
    if not is_needed():
        return {}
    return {"user": NAME, "group": pwd.getpwnam(NAME).pw_gid, "extra_groups": ()}


def create() -> None:
    """Create the user unless it exists. Raises SystemUserError."""
    if not _exists():
        _useradd()


def own(path: Path) -> None:
    """Make the user the owner of `path`. Raises SystemUserError where the file system can't."""
    entry = pwd.getpwnam(NAME)
    try:
        os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.EINVAL, errno.ENOTSUP}:
            raise
        raise SystemUserError(
            f"Postgres can't run as root, and the file system of {path} does not let its system "
            f"user {NAME} own files. Run this as an ordinary user, or choose a folder elsewhere "
            "with --data."
        ) from error


def allow_search(folder: Path) -> list[Path]:
    """Let the user pass through `folder` and its parents. Returns the folders that needed it.

    Raises SystemUserError where the file system keeps no ACLs.
    """
    if _may_search(folder):
        return []
    changed = []
    for needed in (*reversed(folder.parents), folder):
        if not _may_search(needed):
            _grant(needed, pwd.getpwnam(NAME).pw_uid)
            changed.append(needed)
    return changed


def make_readable(package: Path) -> None:
    """Make an installed package readable by all users, which a strict umask had prevented."""
    for folder, _, files in os.walk(package):
        _widen(Path(folder), stat.S_IROTH | stat.S_IXOTH)
        for name in files:
            path = Path(folder, name)
            executable = path.lstat().st_mode & stat.S_IXUSR
            _widen(path, stat.S_IROTH | (stat.S_IXOTH if executable else 0))


def _useradd() -> None:
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", NAME]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
        reason = done.stderr.strip()
    except OSError as error:
        reason = str(error)
    # Another start may have created the user in the meantime.
    if not _exists():
        raise SystemUserError(
            f"Postgres can't run as root, and its system user {NAME} could not be created "
            f"({reason}). Run this as an ordinary user, or create that user first."
        )


def _exists() -> bool:
    try:
        pwd.getpwnam(NAME)
    except KeyError:
        return False
    return True


def _may_search(folder: Path) -> bool:
    """Whether the kernel lets the user pass: modes, groups, ACLs and security modules included."""
    test = ["test", "-x", str(folder)]
    return subprocess.run(test, check=False, cwd="/", **credentials()).returncode == 0  # noqa: S603


def _grant(folder: Path, user_id: int) -> None:
    try:
        os.setxattr(folder, ACL, _pack(_with_search(_entries(folder), user_id)))
    except OSError as error:
        raise SystemUserError(_closed(folder)) from error
    if not _may_search(folder):
        raise SystemUserError(_closed(folder))


def _closed(folder: Path) -> str:
    return (
        f"Postgres can't run as root, and its system user {NAME} can't enter {folder}. "
        "Run this as an ordinary user, or keep GitTix and its data in folders that other users "
        f"may enter, for example: gittix up --data /var/lib/gittix"
    )


def _entries(folder: Path) -> list[Entry]:
    """The folder's ACL; when it has none, the one that its mode stands for."""
    try:
        packed = os.getxattr(folder, ACL)
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
        mode = folder.stat().st_mode
        return [
            (ACL_USER_OBJ, mode >> 6 & 7, ACL_NO_ID),
            (ACL_GROUP_OBJ, mode >> 3 & 7, ACL_NO_ID),
            (ACL_OTHER, mode & 7, ACL_NO_ID),
        ]
    return list(ACL_ENTRY.iter_unpack(packed[ACL_VERSION.size :]))


def _with_search(entries: Sequence[Entry], user_id: int) -> list[Entry]:
    """These entries and one that lets the user search.

    The mask bounds every named user and group. Where there is none yet, the group's own
    permissions become part of it, so that the group keeps its permissions.
    """
    named = {(tag, id_): permissions for tag, permissions, id_ in entries}
    group = named[ACL_GROUP_OBJ, ACL_NO_ID]
    named[ACL_MASK, ACL_NO_ID] = named.get((ACL_MASK, ACL_NO_ID), group) | SEARCH
    named[ACL_USER, user_id] = named.get((ACL_USER, user_id), 0) | SEARCH
    # The kernel accepts the entries only in the order of their tags.
    return sorted((tag, permissions, id_) for (tag, id_), permissions in named.items())


def _pack(entries: Sequence[Entry]) -> bytes:
    return ACL_VERSION.pack(2) + b"".join(ACL_ENTRY.pack(*entry) for entry in entries)


def _widen(path: Path, bits: int) -> None:
    mode = path.lstat().st_mode
    if not stat.S_ISLNK(mode) and mode & bits != bits:
        path.chmod(mode | bits)
