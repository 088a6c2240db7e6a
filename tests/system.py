"""GitTix in the test process: each test starts the parts that it needs, on real Postgres, Redis
and sockets.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import uvicorn
from redis.asyncio import Redis

from backend import bootstrap
from backend.auth.model import User
from backend.auth.tokens import Signer, generate_keys
from backend.embedded.postgres import Postgres
from backend.events.relay import Relay
from backend.kernel import database
from backend.kernel.principal import Principal
from backend.kernel.redis import open_redis
from backend.kernel.settings import Settings, load
from backend.kernel.supervisor import running
from backend.push.server import GatewayServer, uvicorn_config
from backend.stripe_sandbox.app import SandboxSettings
from backend.stripe_sandbox.app import build as build_sandbox
from loadtests.ports import free_port
from workers.main import worker

KEYS = generate_keys()
# Loading the machine's certificates takes longer than a test's requests, and no test uses TLS.
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
STRIPE_KEY = "sk_test_gittix"
WEBHOOK_SECRET = "whsec_gittix"
PUSHER_KEY = "gittix-key"
PUSHER_SECRET = "gittix-secret"


class Person:
    """A signed-in user with its own HTTP client. Its access token is signed directly, which
    avoids the cost of Argon2.
    """

    def __init__(self, user_id: UUID, name: str, client: httpx.AsyncClient, token: str) -> None:
        self.id = user_id
        self.name = name
        self.http = client
        self.token = token

    async def get(self, path: str, **parameters: Any) -> httpx.Response:
        return await self.http.get(path, params=parameters)

    async def post(
        self, path: str, body: Any = None, *, key: str | None = None, **headers: str
    ) -> httpx.Response:
        return await self.http.post(path, json=body, headers=_keyed(key) | _named(headers))

    async def put(self, path: str, body: Any, **headers: str) -> httpx.Response:
        return await self.http.put(path, json=body, headers=_named(headers))

    async def delete(self, path: str, *, key: str | None = None, **headers: str) -> httpx.Response:
        return await self.http.delete(path, headers=_keyed(key) | _named(headers))


class System:
    """One database, one Redis, and the parts of GitTix that a test starts on them."""

    def __init__(
        self, stack: AsyncExitStack, postgres: Postgres, name: str, redis_url: str, folder: Path
    ) -> None:
        self._stack = stack
        self._postgres = postgres
        self._name = name
        self.folder = folder
        self.ports = {part: free_port() for part in ("api", "push", "stripe")}
        self.environment = self._environment(redis_url)
        self._settings: Settings | None = None
        self._redis: Redis | None = None
        self._started = False
        self.url = f"http://127.0.0.1:{self.ports['api']}"
        self.stripe_url = f"http://127.0.0.1:{self.ports['stripe']}"

    @property
    def settings(self) -> Settings:
        if self._settings is None:
            self._settings = load(self.environment)
        return self._settings

    def configure(self, **environment: str) -> None:
        """Change settings before the first part starts."""
        assert not self._started, "a part is running with the settings as they were"
        self.environment |= environment
        self._settings = None

    async def connect(self, role: str | None = None) -> Any:
        """A connection of the owner, or of a service's role."""
        url = self.settings.role_database_url(role) if role else self.settings.database_url
        connection = await database.connect(url, name="tests")
        self._stack.push_async_callback(connection.close)
        # For calls of SQL functions; a service binds the id of its request instead.
        await connection.execute(f"set gittix.correlation = '{uuid4()}'")
        return connection

    def redis(self) -> Redis:
        """The client of this test, which a condition may ask for again and again."""
        if self._redis is None:
            self._redis = open_redis(self.settings.redis_url, name="tests")
            self._stack.push_async_callback(self._redis.aclose)
        return self._redis

    async def start(self, *parts: str) -> "System":
        """Start some of: api, relay, worker, stripe, push. Returns self."""
        for part in parts:
            await self._stack.enter_async_context(self.part(part))
        return self

    @asynccontextmanager
    async def part(self, name: str) -> AsyncIterator[None]:
        """Run one part while the block runs."""
        self._started = True
        async with getattr(self, f"_{name}")():
            yield

    def person(self, name: str = "somebody") -> Person:
        principal = Principal(uuid4(), f"{name}@example.com", name, uuid4())
        token = mint(self.settings, principal)
        client = httpx.AsyncClient(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=20,
            verify=PLAIN,
        )
        self._stack.push_async_callback(client.aclose)
        return Person(principal.user_id, name, client, token)

    def anonymous(self) -> httpx.AsyncClient:
        client = httpx.AsyncClient(base_url=self.url, timeout=20, verify=PLAIN)
        self._stack.push_async_callback(client.aclose)
        return client

    async def events(self, connection: Any) -> list[tuple[str, str]]:
        """The outbox: (type, subject) in the order of its ids."""
        rows = await connection.fetch("select type, subject from events.outbox order by id")
        return [(row["type"], str(row["subject"])) for row in rows]

    @asynccontextmanager
    async def _api(self) -> AsyncIterator[None]:
        app = bootstrap.build("api", bootstrap.settings_for("api", self.environment))
        async with served(
            uvicorn.Server(bootstrap.http_config(app, "127.0.0.1", self.ports["api"]))
        ):
            yield

    @asynccontextmanager
    async def _push(self) -> AsyncIterator[None]:
        app = bootstrap.build("push", bootstrap.settings_for("push", self.environment))
        async with served(GatewayServer(uvicorn_config(app, "127.0.0.1", self.ports["push"]))):
            yield

    @asynccontextmanager
    async def sandbox(self, clock: Callable[[], float] = time.time) -> AsyncIterator[None]:
        """Run the Stripe sandbox with this clock while the block runs."""
        app = build_sandbox(
            SandboxSettings(
                database=self.folder / "stripe.sqlite",
                api_key=STRIPE_KEY,
                webhook_url=f"{self.url}/api/payments/webhook",
                webhook_secret=WEBHOOK_SECRET,
                clock=clock,
            )
        )
        async with served(
            uvicorn.Server(bootstrap.http_config(app, "127.0.0.1", self.ports["stripe"]))
        ):
            yield

    def _stripe(self) -> AbstractAsyncContextManager[None]:
        return self.sandbox()

    @asynccontextmanager
    async def _relay(self) -> AsyncIterator[None]:
        redis = open_redis(self.settings.redis_url, name="tests-relay")
        try:
            async with running(
                ("relay", Relay(self.settings.role_database_url("relay"), redis).run)
            ):
                yield
        finally:
            await redis.aclose()

    @asynccontextmanager
    async def _worker(self) -> AsyncIterator[None]:
        async with worker(self.settings):
            yield

    def _environment(self, redis_url: str) -> dict[str, str]:
        private, public = KEYS
        return {
            "DATABASE_URL": self._postgres.url(database=self._name),
            **{
                f"{role.upper()}_DATABASE_URL": self._postgres.url(
                    role=f"gittix_{role}", database=self._name
                )
                for role in ("auth", "tickets", "orders", "payments", "push", "relay")
            },
            "DATABASE_POOL_SIZE": "8",
            "REDIS_URL": redis_url,
            "JWT_PRIVATE_KEY": private,
            "JWT_PUBLIC_KEYS": public,
            "STRIPE_API_KEY": STRIPE_KEY,
            "STRIPE_WEBHOOK_SECRETS": WEBHOOK_SECRET,
            "STRIPE_API_BASE": f"http://127.0.0.1:{self.ports['stripe']}",
            "PUSHER_APP_ID": "1",
            "PUSHER_KEY": PUSHER_KEY,
            "PUSHER_SECRET": PUSHER_SECRET,
            "PUSHER_HOST": "127.0.0.1",
            "PUSHER_PORT": str(self.ports["push"]),
            "PUSHER_TLS": "false",
            "PUBLIC_ORIGIN": f"http://127.0.0.1:{self.ports['api']}",
            "RATE_LIMITS": "off",
        }


@asynccontextmanager
async def served(server: uvicorn.Server) -> AsyncIterator[None]:
    """Run a uvicorn server in this event loop while the block runs."""
    task = asyncio.create_task(server._serve())
    try:
        async with asyncio.timeout(15):
            while not server.started:
                if task.done():
                    task.result()
                    raise AssertionError("the server ended before it was up")
                await asyncio.sleep(0.005)
        yield
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, 20)


def mint(settings: Settings, principal: Principal) -> str:
    """An access token as auth signs it."""
    signer = Signer(
        settings.jwt_private_key,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        access_seconds=settings.jwt_access_seconds,
        session_seconds=settings.jwt_refresh_days * 86_400,
    )
    now = datetime.now(UTC)
    user = User(principal.user_id, principal.email, principal.handle, needs_more_time=False)
    return signer.access_token(user, principal.session_id, now)


async def until(condition: Any, *, seconds: float = 5.0) -> Any:
    """Wait for the first truthy value of an async condition."""
    end = time.monotonic() + seconds
    async with asyncio.timeout(seconds):
        while not (value := await condition()):
            # The cancellation may be lost: redis-py swallows it while it connects.
            if time.monotonic() > end:
                raise TimeoutError
            await asyncio.sleep(0.01)
        return value


def _keyed(key: str | None) -> dict[str, str]:
    return {"Idempotency-Key": key} if key else {}


def _named(headers: dict[str, str]) -> dict[str, str]:
    """Keyword arguments as headers: `If_Match` is `If-Match`."""
    return {name.replace("_", "-"): value for name, value in headers.items()}
