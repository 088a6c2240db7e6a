"""One GitTix behind an ingress for each module; each test has its own show and users."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from backend.embedded.postgres import Postgres
from tests.deploy.fleet import Fleet, running
from tests.deploy.nginx import Nginx
from tests.stores import fresh_system


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def deployed(
    postgres: Postgres, redis_socket: str, folder: Path, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[Fleet, Nginx]]:
    place = folder / request.module.__name__.rpartition(".")[2]
    place.mkdir()
    async with fresh_system(postgres, redis_socket, place) as system, running(system) as found:
        yield found


@pytest.fixture
def fleet(deployed: tuple[Fleet, Nginx]) -> Fleet:
    return deployed[0]


@pytest.fixture
def nginx(deployed: tuple[Fleet, Nginx]) -> Nginx:
    return deployed[1]
