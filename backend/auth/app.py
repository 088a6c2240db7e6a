"""The auth service as a component: its routes, and a lifespan that opens their resources."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from backend.auth import service as sessions
from backend.auth.limits import Limits
from backend.auth.passwords import Passwords
from backend.auth.routes import ROUTES, Auth, CloseSockets
from backend.auth.tokens import Signer
from backend.events.resources import open_resources
from backend.kernel import database, trusted_proxies
from backend.kernel.database import Pool
from backend.kernel.principal import key_id, load_public_keys
from backend.kernel.settings import Settings, SettingsError
from backend.kernel.supervisor import running
from backend.kernel.web import Component, ComponentState

NEEDS = ("database:auth", "redis_url", "jwt_private_key", "jwt_public_keys")

DAY_SECONDS = 86_400
PURGE = "auth-purge"
PURGE_EVERY_SECONDS = 3600.0


def component(settings: Settings, *, close_sockets: CloseSockets | None = None) -> Component:
    """The auth component. `close_sockets` closes a user's push connections. Raises
    SettingsError.
    """
    signer = _signer(settings)
    proxies = trusted_proxies.parse(settings.trusted_proxies)
    lifetime = timedelta(days=settings.jwt_refresh_days)

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[ComponentState]:
        async with AsyncExitStack() as stack:
            resources = await stack.enter_async_context(open_resources(settings, "auth"))
            passwords = Passwords()
            stack.callback(passwords.close)
            await stack.enter_async_context(
                running((PURGE, lambda: _purge(resources.pool, lifetime)))
            )
            auth = Auth(
                pool=resources.pool,
                wake_relay=resources.wake_relay,
                passwords=passwords,
                limits=Limits(resources.redis, on=settings.rate_limits == "on"),
                signer=signer,
                refresh_lifetime=lifetime,
                secure_cookies=settings.secure_cookies,
                proxies=proxies,
                close_sockets=close_sockets,
            )
            yield ComponentState(auth, resources.checks())

    return Component("auth", ROUTES, lifespan)


def _signer(settings: Settings) -> Signer:
    try:
        signer = Signer(
            settings.jwt_private_key,
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
            access_seconds=settings.jwt_access_seconds,
            session_seconds=settings.jwt_refresh_days * DAY_SECONDS,
        )
        verifiable = {key_id(key) for key in load_public_keys(settings.jwt_public_keys)}
    except ValueError as error:
        raise SettingsError(
            "JWT_PRIVATE_KEY and JWT_PUBLIC_KEYS are not Ed25519 keys in PEM: "
            "print a new pair with `gittix secrets`"
        ) from error
    # Without the matching public key, every sign-in succeeds and every next request fails.
    if key_id(signer.public_key) not in verifiable:
        raise SettingsError(
            "JWT_PUBLIC_KEYS lacks the public key of JWT_PRIVATE_KEY: "
            "add it, or set both from `gittix secrets`"
        )
    return signer


async def _purge(pool: Pool, lifetime: timedelta) -> None:
    while True:
        async with database.transaction(pool) as connection:
            more = await sessions.purge(connection, lifetime)
        await asyncio.sleep(0 if more else PURGE_EVERY_SECONDS)
