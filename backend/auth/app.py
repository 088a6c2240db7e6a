"""The auth service as a value: its routes, and a lifespan that opens what they need."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from redis.asyncio import Redis

from backend.auth import service as sessions
from backend.auth.limits import Limits
from backend.auth.passwords import Passwords
from backend.auth.routes import ROUTES, Auth, EndSockets
from backend.auth.tokens import Signer
from backend.events.outbox import relay_hint
from backend.kernel import addresses, database
from backend.kernel.database import Pool
from backend.kernel.principal import key_id, load_public_keys
from backend.kernel.redis import open_redis
from backend.kernel.settings import Settings, SettingsError
from backend.kernel.supervised import heartbeat, running
from backend.kernel.web import Service, ServiceState

NEEDS = ("database:auth", "redis_url", "jwt_private_key", "jwt_public_keys")

PURGE = "auth-purge"
PURGE_EVERY_SECONDS = 3600.0


def service(settings: Settings, *, end_sockets: EndSockets | None = None) -> Service:
    """Auth by these settings. `end_sockets` closes a user's push connections. Raises SettingsError."""
    signer = _signer(settings)
    proxies = _proxies(settings)
    lifetime = timedelta(days=settings.jwt_refresh_days)

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[ServiceState]:
        async with AsyncExitStack() as stack:
            pool = await stack.enter_async_context(
                await database.open_pool(
                    settings.noun_database_url("auth"), name="gittix-auth", size=settings.database_pool_size
                )
            )
            redis = open_redis(settings.redis_url, name="gittix-auth")
            stack.push_async_callback(redis.aclose)
            passwords = Passwords()
            stack.callback(passwords.close)
            hint = await stack.enter_async_context(relay_hint(redis))
            await stack.enter_async_context(running((PURGE, lambda: _purge(pool, lifetime))))
            auth = Auth(
                pool=pool,
                hint=hint,
                passwords=passwords,
                limits=Limits(redis, on=settings.rate_limits == "on"),
                signer=signer,
                refresh_lifetime=lifetime,
                secure_cookies=settings.secure_cookies,
                proxies=proxies,
                end_sockets=end_sockets,
            )
            yield ServiceState(
                auth, {"database": lambda: _check_database(pool), "redis": lambda: _check_redis(redis)}
            )

    return Service("auth", ROUTES, lifespan)


def _signer(settings: Settings) -> Signer:
    try:
        signer = Signer(
            settings.jwt_private_key,
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
            access_seconds=settings.jwt_access_seconds,
        )
        verifiable = {key_id(key) for key in load_public_keys(settings.jwt_public_keys)}
    except ValueError as fault:
        raise SettingsError("JWT_PRIVATE_KEY and JWT_PUBLIC_KEYS must be Ed25519 keys in PEM") from fault
    # Else everyone signs in and nobody is signed in.
    if key_id(signer.public_key) not in verifiable:
        raise SettingsError("JWT_PUBLIC_KEYS lacks the public half of JWT_PRIVATE_KEY")
    return signer


def _proxies(settings: Settings) -> tuple[addresses.Network, ...]:
    try:
        return addresses.networks(settings.trusted_proxies)
    except ValueError as fault:
        raise SettingsError("TRUSTED_PROXIES must be addresses and CIDR blocks") from fault


async def _purge(pool: Pool, lifetime: timedelta) -> None:
    while True:
        async with database.transaction(pool) as connection:
            more = await sessions.purge(connection, lifetime)
        heartbeat(PURGE)
        await asyncio.sleep(0 if more else PURGE_EVERY_SECONDS)


async def _check_database(pool: Pool) -> None:
    async with database.connection(pool) as connection:
        await connection.execute("select 1")


async def _check_redis(redis: Redis) -> None:
    await redis.ping()  # type: ignore[misc]  # typed for the blocking client as well
