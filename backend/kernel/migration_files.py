"""The files of `backend/migrations`: numbered migrations, function definitions, recorded digests.

A numbered file runs once in each database and never changes after it has landed. The files under
`functions/` define every function and trigger, and every right of a service's role on tables; a
migrated database has no others.
"""

import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

FILE = re.compile(r"^(\d{4})_(\w+)\.sql$")
FUNCTIONS = "functions"
DIGESTS = "digests.txt"


class MigrationError(Exception):
    """The database and the files disagree; the message describes the difference."""


class Migration(NamedTuple):
    """One file. A file of functions has no version."""

    version: int | None
    name: str
    sql: str

    @property
    def digest(self) -> str:
        return sha256(self.sql.encode()).hexdigest()

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.version:04}_{self.name}"


def state(migrations: Iterable[Migration]) -> str:
    """An identifier of the schema that these migrations create."""
    return sha256(
        "".join(f"{migration} {migration.digest}\n" for migration in migrations).encode()
    ).hexdigest()[:16]


def project_folder() -> Traversable:
    return files("backend.migrations")


def read(folder: Traversable | None = None) -> list[Migration]:
    """The migrations of a folder in the order in which they run; by default the project's own.

    Numbered files are first, by number. Files of functions follow in the order of their paths.
    Postgres resolves the body of a function in SQL when it is created, so such a function calls
    only functions of its own file or of an earlier one. PL/pgSQL resolves calls at run time.
    """
    root = folder or project_folder()
    return [*read_numbered(root), *_read_functions(root / FUNCTIONS, FUNCTIONS)]


def read_numbered(folder: Traversable) -> list[Migration]:
    return sorted(
        Migration(int(match[1]), match[2], entry.read_text())
        for entry in folder.iterdir()
        if (match := FILE.match(entry.name))
    )


def _read_functions(folder: Traversable, path: str) -> Iterator[Migration]:
    if not folder.is_dir():
        return
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        entry_path = f"{path}/{entry.name}"
        if entry.is_dir():
            yield from _read_functions(entry, entry_path)
        elif entry.name.endswith(".sql"):
            yield Migration(None, entry_path, entry.read_text())


def read_digests(folder: Traversable) -> dict[str, set[str]]:
    """The accepted digests of each numbered migration (`0001_name`) in the folder's digest file."""
    digests: dict[str, set[str]] = {}
    for line in (folder / DIGESTS).read_text().splitlines():
        if line and not line.startswith("#"):
            name, digest = line.split()
            digests.setdefault(name, set()).add(digest)
    return digests
