import itertools
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from backend.embedded.postgres import Postgres
from tests import stores
from tests.system import System

OpenSystem = Callable[[], AbstractAsyncContextManager[System]]

_numbers = itertools.count()


@pytest.fixture
def open_system(postgres: Postgres, redis_socket: str, tmp_path: Path) -> OpenSystem:
    """Return a function that opens a new system, like the fixture `system`, any number of times."""

    def open_next() -> AbstractAsyncContextManager[System]:
        folder = tmp_path / str(next(_numbers))
        folder.mkdir()
        return stores.fresh_system(postgres, redis_socket, folder)

    return open_next
