"""One instance and one Chromium a module; each test has a show and visitors of its own."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from backend.embedded import frontend
from backend.embedded.postgres import Postgres
from tests import stores
from tests.embedded import running as embedded
from tests.fork_server import ForkServer
from tests.shop import chromium
from tests.shop.instance import ForkedInstance, Running, forked_instance
from tests.shop.market import Market
from tests.shop.visitor import Visitor, visiting
from tests.system import System

# Long enough for a page to show it, short enough to wait for its end.
HOLD_SECONDS = 15


class Visit(Protocol):
    def __call__(
        self,
        *,
        width: int = 1280,
        dark: bool = False,
        wrong_by_ms: int = 0,
        reduced_motion: bool = False,
    ) -> AbstractAsyncContextManager[Visitor]: ...


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="gtshop-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """Settings of the module's instance beside those below; a module overrides this fixture."""
    return {}


@pytest.fixture(scope="module")
def settings(environment: dict[str, str]) -> dict[str, str]:
    return {
        "HOLD_SECONDS": str(HOLD_SECONDS),
        "PAYMENT_GRACE_SECONDS": str(HOLD_SECONDS),
        "RATE_LIMITS": "off",
    } | environment


@pytest.fixture(scope="module")
def pages(data: Path) -> Path:
    """The folder of the shop's pages. Not within a test's timeout: the first build on a machine
    takes half a minute.
    """
    return frontend.build(frontend.cache_folder(data))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stored(postgres: Postgres, redis_socket: str, folder: Path) -> AsyncIterator[System]:
    """The stores of the module's instance."""
    with tempfile.TemporaryDirectory(dir=folder) as path:
        async with stores.fresh_system(postgres, redis_socket, Path(path)) as system:
            yield system


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def up(
    stored: System, fork_server: ForkServer, pages: Path, settings: dict[str, str]
) -> AsyncIterator[ForkedInstance]:
    async with forked_instance(
        stored, fork_server, FRONTEND_FOLDER=str(pages), **settings
    ) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gittix_up(
    data: Path, pages: Path, settings: dict[str, str]
) -> AsyncIterator[embedded.Running]:
    """`gittix up`, for a module that replaces `up` by it."""
    async with embedded.running(data, "--no-demo", ports=None, **settings) as started:
        await started.until_up()
        yield started


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        found = await playwright.chromium.launch(
            executable_path=chromium.executable(), args=list(chromium.ARGUMENTS)
        )
        yield found
        await found.close()


@pytest_asyncio.fixture(loop_scope="module")
async def market(up: Running) -> AsyncIterator[Market]:
    async with opened_market(up) as market:
        yield market


@asynccontextmanager
async def opened_market(up: Running) -> AsyncIterator[Market]:
    """A market with a seller and a buyer of its own."""
    async with up.visitor() as seller, up.visitor() as buyer:
        market = Market(up, seller, buyer)
        await market.open()
        yield market


@pytest.fixture(scope="module")
def service_worker() -> bool:
    """Whether pages install the service worker, which a module overrides. Each visitor has a new
    browser context, in which the worker loads all pages: a third of the CPU time of a visit.
    """
    return False


@pytest.fixture
def visit(up: Running, browser: Browser, service_worker: bool) -> Visit:
    """Opens a visitor's page: `async with visit(width=360) as ana`."""

    def opened(
        *, width: int = 1280, dark: bool = False, wrong_by_ms: int = 0, reduced_motion: bool = False
    ) -> AbstractAsyncContextManager[Visitor]:
        return visiting(
            browser,
            up.url,
            width=width,
            dark=dark,
            wrong_by_ms=wrong_by_ms,
            reduced_motion=reduced_motion,
            service_worker=service_worker,
        )

    return opened
