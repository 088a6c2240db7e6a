import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from backend.embedded.postgres import Postgres
from tests import stores
from tests.crash import nursery as nurseries
from tests.crash.nursery import Nursery
from tests.system import System

Fresh = Callable[[], AbstractAsyncContextManager[System]]

_numbers = itertools.count()


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    with nurseries.opened() as opened:
        yield opened


@pytest.fixture
def fresh(postgres: Postgres, redis_socket: str, tmp_path: Path) -> Fresh:
    """What the fixture `system` gives to a test, as often as one wants it, one after another."""

    def opened() -> AbstractAsyncContextManager[System]:
        folder = tmp_path / str(next(_numbers))
        folder.mkdir()
        return stores.fresh_system(postgres, redis_socket, folder)

    return opened
