"""The auth service on a loopback port, started once for this folder, with a database of its own."""

import asyncio
import itertools
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from uuid import UUID, uuid4

import httpx
import pytest
import uvicorn

from backend.auth import app
from backend.embedded.postgres import Postgres
from backend.kernel import database, web
from backend.kernel.database import Connection
from backend.kernel.ended_sessions import EndedSessions
from backend.kernel.principal import TokenVerifier, load_public_keys
from backend.kernel.settings import Settings
from tests import stores
from tests.system import KEYS

ORIGIN = "http://shop.test"
PASSWORD = "correct horse battery"

Serve = Callable[[Settings], AbstractContextManager[str]]
Browse = Callable[[], httpx.AsyncClient]


@pytest.fixture(scope="session")
def database_url(postgres: Postgres) -> str:
    name = f"auth_{os.getpid()}"

    async def clone() -> None:
        async with stores.admin_of(postgres) as admin:
            await stores.clone(admin, name)

    asyncio.run(clone())
    return postgres.url(database=name)


@pytest.fixture(scope="session")
def settings(database_url: str, redis_socket: str) -> Settings:
    private, public = KEYS
    return Settings(
        database_url=database_url,
        redis_url=redis_socket,
        jwt_private_key=private.replace("\n", "\\n"),
        jwt_public_keys=public,
        allowed_origins=ORIGIN,
        trusted_proxies="127.0.0.1",
    )


@pytest.fixture(scope="session")
def closed_sockets() -> list[UUID]:
    """The ids of the users with closed sockets."""
    return []


@pytest.fixture(scope="session")
def serve(closed_sockets: list[UUID]) -> Serve:
    async def close_sockets(user_id: UUID) -> None:
        closed_sockets.append(user_id)
        # Sign-out must succeed although push is unavailable.
        raise ConnectionError("push is unavailable")

    @contextmanager
    def serving(settings: Settings) -> Iterator[str]:
        verifier = TokenVerifier(
            load_public_keys(settings.jwt_public_keys),
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
            ended_sessions=EndedSessions(
                settings.role_database_url("auth"), access_seconds=settings.jwt_access_seconds
            ),
        )
        component = app.component(settings, close_sockets=close_sockets)
        asgi = web.build(
            [component], verifier=verifier, origins=settings.origins, secure=settings.secure_cookies
        )
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            server = uvicorn.Server(
                uvicorn.Config(asgi, log_level="warning", lifespan="on", proxy_headers=False)
            )
            thread = threading.Thread(target=server.run, args=([listening],))
            thread.start()
            try:
                wait_until(lambda: server.started)
                yield f"http://127.0.0.1:{listening.getsockname()[1]}"
            finally:
                server.should_exit = True
                thread.join(10)

    return serving


@pytest.fixture(scope="session")
def base_url(serve: Serve, settings: Settings) -> Iterator[str]:
    with serve(settings) as url:
        yield url


@pytest.fixture
async def browse(base_url: str) -> AsyncIterator[Browse]:
    """Creates browsers, each with its own cookies, all at the address of this test."""
    clients = []
    address = new_address()

    def open_client() -> httpx.AsyncClient:
        clients.append(visitor(base_url, address))
        return clients[-1]

    yield open_client
    for client in clients:
        await client.aclose()


@pytest.fixture
def browser(browse: Browse) -> httpx.AsyncClient:
    return browse()


@pytest.fixture
async def rows(database_url: str) -> AsyncIterator[Connection]:
    """A connection of the database's owner."""
    connection = await database.connect(database_url, name="test")
    yield connection
    await connection.close()


_addresses = (f"198.18.{number >> 8}.{number & 255}" for number in itertools.count(1))


def new_address() -> str:
    return next(_addresses)


def new_email() -> str:
    return f"{uuid4().hex}@example.com"


def visitor(base_url: str, address: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=base_url, headers={"Origin": ORIGIN, "X-Forwarded-For": address}
    )


async def signed_up(client: httpx.AsyncClient, email: str | None = None) -> UUID:
    """Sign up in this browser. Returns the user's id."""
    reply = await client.post(
        "/api/users/signup", json={"email": email or new_email(), "password": PASSWORD}
    )
    assert reply.status_code == 201, reply.text
    return UUID(reply.json()["current_user"]["id"])


async def signed_in_user(client: httpx.AsyncClient) -> str | None:
    """The id of the client's signed-in user."""
    reply = await client.get("/api/users/currentuser")
    assert reply.status_code == 200, reply.text
    user = reply.json()["current_user"]
    return user and str(user["id"])


def wait_until(done: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.01)
